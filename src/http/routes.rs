//! The routes, as a table, and what each answers.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::extract::{Path, Query as Params, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use chrono::DateTime;
use dataflows::metrics::declare::Window;
use dataflows::metrics::schema::Schema;
use serde_json::json;

use super::catalogue;
use super::changes;
use super::guard::guard;
use super::reply::{Failure, body, nearest};
use super::{App, limits};
use crate::publish::answer::{Printer, Query, answer, names};
use crate::publish::print::rfc3339;
use crate::publish::{State as Seen, answer::frontier};
use crate::telemetry::{expose, status};

type Shared = State<Arc<App>>;
type Pairs = Params<Vec<(String, String)>>;

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(|| async { page() }))
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/api/v1/metrics", get(all))
        .route("/api/v1/metrics/{name}", get(one))
        .route("/api/v1/metrics/{name}/changes", get(feed))
        .route("/api/v1/posts/{index}", get(post))
        .route("/api/v1/status", get(whole_status))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

const ROUTES: &str = "the routes are /, /metrics, /livez, /readyz, /api/v1/metrics, \
    /api/v1/metrics/{name}, /api/v1/metrics/{name}/changes, /api/v1/posts/{index}, \
    /api/v1/status";

async fn unknown() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path", ROUTES)
}

/// The page; its script and style run under a word that is drawn for each answer.
pub fn page() -> Response {
    let word = |n: u64| RandomState::new().hash_one(n);
    let nonce = format!("{:016x}{:016x}", word(1), word(2));
    let html = include_str!("page.html").replace("NONCE", &nonce);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = body("text/html; charset=utf-8", html);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Renders on a thread that may take its time.
async fn render<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "rendering the answer failed",
            "see the log, and report this as an error of pinflow",
        )
    })
}

async fn metrics(State(app): Shared) -> Result<Response, Failure> {
    let text = render(move || {
        let status = app.parts.status.read().clone();
        expose::scrape(&app.parts.machine, &app.parts.published, &status, &app.parts.labels)
    });
    Ok(body("text/plain; version=0.0.4; charset=utf-8", text.await?))
}

async fn livez(State(app): Shared) -> Response {
    let silent = app.parts.machine.silent();
    let alive = silent.is_none_or(|s| s < limits::SILENCE);
    let reasons: Vec<String> = silent
        .filter(|_| !alive)
        .map(|s| format!("the engine's loop has not turned for {s:.0} s; restart the process"))
        .into_iter()
        .collect();
    let code = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "alive": alive, "reasons": reasons }))).into_response()
}

async fn readyz(State(app): Shared) -> Response {
    let (at, seen, _) = app.parts.published.now();
    let status = app.parts.status.read().clone();
    let mut reasons = Vec::new();
    if status.stopping {
        reasons.push("an orderly stop has begun".to_owned());
    }
    if seen == Seen::Withheld {
        reasons.extend(withheld(&status));
    }
    let ready = reasons.is_empty();
    if seen == Seen::CatchingUp {
        reasons.push("results are served while catching up".into());
    }
    reasons.extend(status.reading_held.map(str::to_owned));
    if let Some(trouble) = &status.checkpoints.trouble {
        reasons.push(format!("checkpoints: {}; {}", trouble.error, trouble.hint));
    }
    let troubles = status.sources.iter().filter_map(|s| {
        let trouble = s.trouble.as_ref()?;
        Some(format!("source {}: {}; {}", s.name, trouble.error, trouble.hint))
    });
    reasons.extend(troubles);
    let frontier = json!({ "run": at.run, "epoch": at.epoch, "now": rfc3339(at.now) });
    let state = if status.stopping { json!("stopping") } else { json!(seen) };
    let answer = json!({
        "ready": ready,
        "state": state,
        "frontier": frontier,
        "reasons": reasons,
        "awaited": status.awaited,
    });
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (code, Json(answer)).into_response();
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Why results are withheld, in sentences.
fn withheld(status: &status::Status) -> Vec<String> {
    let await_one = |a: &status::Awaited| {
        let (source, partition) = (&a.source, &a.partition);
        format!(
            "results are withheld until {source} {partition} has been read to position {} \
             (now at {})",
            a.until, a.position
        )
    };
    let mut reasons: Vec<String> = status.awaited.iter().take(10).map(await_one).collect();
    if status.awaited.len() > 10 {
        reasons.push(format!("and {} further partitions", status.awaited.len() - 10));
    }
    if reasons.is_empty() {
        reasons.push("results are withheld until the first epoch is complete".into());
    }
    if let Some(until) = status.withheld_until {
        reasons.push(format!("at the latest until {}", rfc3339(until)));
    }
    reasons
}

/// Refuses to show results while they are withheld.
fn shown(app: &App) -> Result<(), Failure> {
    if app.parts.published.state() != Seen::Withheld {
        return Ok(());
    }
    let reasons = withheld(&app.parts.status.read());
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        reasons.join("; "),
        "ask again in a second; /readyz says how far it is",
    ))
}

async fn all(State(app): Shared) -> Response {
    let (at, ..) = app.parts.published.now();
    let mut text = String::from("{\"frontier\":");
    frontier(&mut text, at);
    let schemas = app.parts.published.schemas();
    let list: Vec<_> = schemas.iter().map(catalogue::entry).collect();
    text.push_str(",\"metrics\":");
    text.push_str(&json!(list).to_string());
    text.push('}');
    body("application/json", text)
}

fn find(app: &App, name: &str) -> Result<usize, Failure> {
    app.parts.published.find(name).ok_or_else(|| {
        let known = app.parts.published.schemas().iter().map(|s| &*s.name);
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("there is no metric {name:?}"),
            nearest(name, known, "/api/v1/metrics lists them"),
        )
    })
}

/// What a request for rows asks for.
struct Asked {
    query: Query,
    csv: bool,
    positions: bool,
}

/// The place of the key that a parameter names, beside those that are no keys.
fn key(schema: &Schema, own: &[&str], name: &str) -> Result<usize, Failure> {
    schema.keys.iter().position(|key| key.name == name).ok_or_else(|| {
        let known = own.iter().copied().chain(schema.keys.iter().map(|k| &*k.name));
        let all = format!("parameters are the metric's keys, {}", own.join(", "));
        let error = format!("metric {} has no key {name:?}", schema.name);
        Failure::new(StatusCode::BAD_REQUEST, error, nearest(name, known, &all))
    })
}

/// What may be asked of rows, and of their changes.
const OF_ROWS: [&str; 4] = ["window", "limit", "format", "positions"];
const OF_CHANGES: [&str; 2] = ["window", "positions"];

/// Parameters that say one thing, once.
const SINGLE: [&str; 3] = ["limit", "format", "positions"];

/// Refuses those that are given twice.
fn once(pairs: &[(String, String)]) -> Result<(), Failure> {
    for single in SINGLE {
        if pairs.iter().filter(|(name, _)| name == single).count() > 1 {
            return Err(bad(format!("{single} is given twice"), "give it once, or leave it out"));
        }
    }
    Ok(())
}

fn bad(error: String, hint: impl Into<String>) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, error, hint)
}

fn asked(
    app: &App,
    metric: usize,
    own: &[&str],
    pairs: Vec<(String, String)>,
) -> Result<Asked, Failure> {
    let schema = &app.parts.published.schemas()[metric];
    let mut asked = Asked { query: Query::default(), csv: false, positions: false };
    let known = names(schema);
    once(&pairs)?;
    for (name, value) in pairs {
        match &*name {
            name if OF_ROWS.contains(&name) && !own.contains(&name) => {
                let error = format!("a change feed has no parameter {name:?}");
                let all = format!("it has the metric's keys, {}", own.join(", "));
                return Err(bad(error, all));
            }
            "window" if known.contains(&value) => asked.query.windows.push(value),
            "window" => asked.query.starts.push(start(schema, &known, &value)?),
            "limit" => {
                let limit = value.parse().map_err(|_| {
                    bad(format!("limit={value} is no number"), "write limit=10, or leave it out")
                })?;
                asked.query.limit = Some(limit);
            }
            "format" => match &*value {
                "json" => asked.csv = false,
                "csv" => asked.csv = true,
                _ => return Err(bad(format!("there is no format {value:?}"), "json or csv")),
            },
            "positions" => asked.positions = positions(&value)?,
            _ => asked.query.keys.push((key(schema, own, &name)?, value)),
        }
    }
    if asked.query.windows.iter().collect::<BTreeSet<_>>().len() > 1 {
        let error = "no row is in several windows at once".to_owned();
        return Err(bad(error, "name one window, or leave window out to have all of them"));
    }
    Ok(asked)
}

/// The start of a window that is asked for by it, however the moment is written.
fn start(schema: &Schema, known: &[String], value: &str) -> Result<i64, Failure> {
    match DateTime::parse_from_rfc3339(value) {
        Ok(start) if !known.is_empty() => Ok(start.timestamp_micros()),
        _ => {
            let hint = if known.is_empty() {
                "it has no windows; leave window out".into()
            } else {
                format!(
                    "its windows are {}; or give a start as shown, with + written as %2B",
                    known.join(", ")
                )
            };
            Err(bad(format!("metric {} has no window {value:?}", schema.name), hint))
        }
    }
}

/// Whether positions are asked for.
fn positions(value: &str) -> Result<bool, Failure> {
    match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(bad(format!("positions={value} says neither yes nor no"), "write positions=1")),
    }
}

async fn one(
    State(app): Shared,
    Path(name): Path<String>,
    Params(pairs): Pairs,
) -> Result<Response, Failure> {
    let metric = find(&app, &name)?;
    let asked = asked(&app, metric, &OF_ROWS, pairs)?;
    shown(&app)?;
    let unknown = || Failure::new(StatusCode::NOT_FOUND, "no such metric", "see /api/v1/metrics");
    let reading = app.parts.published.read(metric).ok_or_else(unknown)?;
    let frontier = reading.frontier;
    let Asked { query, csv, positions } = asked;
    let text = render(move || {
        let names = names(reading.schema());
        let parts = answer(&reading, &names, &query);
        let printer = Printer::new(reading.schema());
        if csv { printer.csv(&parts) } else { printer.answer(&reading, &parts, positions) }
    })
    .await?;
    let kind = if csv { "text/csv; charset=utf-8; header=present" } else { "application/json" };
    let mut response = body(kind, text);
    let stands = format!("{}/{}/{}", frontier.run, frontier.epoch, rfc3339(frontier.now));
    if let Ok(value) = HeaderValue::from_str(&stands) {
        response.headers_mut().insert("pinflow-frontier", value);
    }
    Ok(response)
}

async fn feed(
    State(app): Shared,
    Path(name): Path<String>,
    Params(pairs): Pairs,
) -> Result<Response, Failure> {
    let metric = find(&app, &name)?;
    let Asked { query, positions, .. } = asked(&app, metric, &OF_CHANGES, pairs)?;
    let schema = &app.parts.published.schemas()[metric];
    if !query.starts.is_empty() && schema.windows.iter().any(Window::slides) {
        let error = "the start of a window that slides moves with now".to_owned();
        return Err(bad(error, "give the name of the window, or leave window out"));
    }
    shown(&app)?;
    Ok(changes::changes(app, metric, query, positions))
}

async fn post(State(app): Shared, Path(index): Path<String>) -> Result<Response, Failure> {
    let fits = index.parse::<u64>().ok().filter(|i| *i < 1 << 63);
    let Some(number) = fits else {
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!("{index:?} is no index"),
            "an index is a whole number from 0, less than 2^63",
        ));
    };
    shown(&app)?;
    let looked = tokio::time::timeout(limits::LOOKUP, app.parts.posts.lookup(number)).await;
    match looked {
        Ok(Ok(Some(post))) => Ok(Json(post).into_response()),
        Ok(Ok(None)) => Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("there is no post {number}"),
            "no side of it has been read, or it has not been published yet",
        )),
        _ => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no worker looked post {number} up in time"),
            "ask again; /api/v1/status says what holds the workers",
        )),
    }
}

async fn whole_status(State(app): Shared, headers: HeaderMap) -> Result<Response, Failure> {
    let pretty = headers.get(header::ACCEPT).is_some_and(|a| a.as_bytes().starts_with(b"text/"));
    let text = render(move || {
        let status = app.parts.status.read().clone();
        let (at, seen, progress) = app.parts.published.now();
        let view = status::view(&status, at, seen, &progress);
        if pretty { format!("{view:#}") } else { view.to_string() }
    });
    Ok(body("application/json", text.await?))
}
