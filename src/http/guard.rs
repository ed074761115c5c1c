//! What every request must pass: limits, host, token, method.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::accept::declared;
use super::reply::Failure;
use super::{App, limits, routes};

/// Checks a request, answers it in time, counts it, and adds the headers that every answer has.
pub async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let mut response = match check(&app, &request) {
        Err(failure) if failure.status == StatusCode::UNAUTHORIZED && route == "/" => {
            // The page holds no data: it is shown to ask for the token.
            let mut page = routes::page();
            *page.status_mut() = failure.status;
            let asks = failure.into_response();
            if let Some(value) = asks.headers().get(header::WWW_AUTHENTICATE) {
                page.headers_mut().insert(header::WWW_AUTHENTICATE, value.clone());
            }
            page
        }
        Err(failure) => failure.into_response(),
        Ok(()) => match tokio::time::timeout(limits::ANSWER, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("answering took longer than {} s", limits::ANSWER.as_secs()),
                "ask for less with limit=, window= or a key, or ask again later",
            )
            .into_response(),
        },
    };
    let machine = &app.parts.machine;
    let code = response.status();
    machine.http_requests.with_label_values(&[&*route, code.as_str()]).inc();
    let took = begun.elapsed().as_secs_f64();
    machine.http_seconds.with_label_values(&[&*route]).inc_by(took);
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(header::CACHE_CONTROL, fixed("no-store"));
    response
}

fn check(app: &App, request: &Request) -> Result<(), Failure> {
    let url = request.uri();
    let length = url.path().len() + url.query().map_or(0, str::len);
    if length > limits::URL_BYTES {
        return Err(Failure::new(
            StatusCode::URI_TOO_LONG,
            format!("the path and query have {length} bytes"),
            format!("use at most {}", limits::URL_BYTES),
        ));
    }
    let headers = request.headers();
    if url.path() != "/livez" {
        if app.local_only {
            local(headers)?;
        }
        if let Some(token) = &app.token {
            authorized(headers, &token.0)?;
        }
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} is not supported", request.method()),
            "use GET or HEAD: nothing can be changed over this port",
        ));
    }
    if declared(headers).is_some_and(|bytes| bytes > limits::BODY_BYTES) {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request has a body",
            "send GET requests without one",
        ));
    }
    Ok(())
}

fn authorized(headers: &HeaderMap, token: &str) -> Result<(), Failure> {
    let given = headers.get(header::AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
    let (scheme, given) = given.split_at(given.len().min(7));
    if scheme.eq_ignore_ascii_case(b"bearer ") && same(given.trim_ascii(), token.as_bytes()) {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNAUTHORIZED,
        "this port asks for a token",
        "send the header `Authorization: Bearer ...` with the token of http.token",
    ))
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |acc, (a, b)| acc | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

/// A page of elsewhere can make a browser call a name of its own that leads to 127.0.0.1 and
/// read the answer; it cannot make it call `localhost` or an address under its own name.
fn local(headers: &HeaderMap) -> Result<(), Failure> {
    let Some(host) = headers.get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        format!("the host {name:?} is not this machine's"),
        "call localhost or an address, or set http.token to be called by other names",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_tokens() {
        for (host, good) in [
            ("localhost:8765", true),
            ("127.0.0.1:8765", true),
            ("[::1]:8765", true),
            ("LOCALHOST", true),
            ("evil.example:8765", false),
            ("localhost.evil.example", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(local(&headers).is_ok(), good, "{host}");
        }
        for (given, good) in [
            ("Bearer s3cret", true),
            ("bearer s3cret", true),
            ("Bearer s3cre", false),
            ("Bearer s3cret2", false),
            ("Basic s3cret", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(given));
            assert_eq!(authorized(&headers, "s3cret").is_ok(), good, "{given}");
        }
    }
}
