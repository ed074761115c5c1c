//! `pinflow status`: how a daemon does in a few lines; everything with `--all` or as JSON.
//!
//! Limits: the summary has at most [`LINES`] lines; what has no room is counted.

use chrono::DateTime;
use serde_json::Value;

use super::commands::{client, print};
use super::{Failure, ReportFormat, StatusArgs, logging};
use crate::config::Env;
use crate::engine::clock::wall;
use crate::results;

/// So many lines a summary has at most.
const LINES: usize = 15;
/// So many sources are shown, each of which may have a trouble of two lines.
const SOURCES: usize = 3;

/// Prints the status of a daemon, or of a state that nobody runs.
pub fn status(args: &StatusArgs, env: &Env) -> Result<(), Failure> {
    let body = match &args.ask.state {
        Some(dir) => {
            // What is damaged is said in the log.
            logging::start(None)?;
            format!("{:#}", crate::engine::stored_status(dir)?)
        }
        None => client(&args.ask, &args.config, env)?.get("/api/v1/status")?,
    };
    if args.json || args.format == ReportFormat::Json {
        return print(&format!("{}\n", body.trim_end()));
    }
    match serde_json::from_str::<Value>(&body) {
        Ok(value) if args.all => print(&results::outline(&value)),
        Ok(value) => print(&summary(&value, wall())),
        Err(_) => print(&body),
    }
}

/// The summary of a status; `now` in microseconds since 1970-01-01 UTC.
fn summary(status: &Value, now: i64) -> String {
    let number = |path: &str| count(status.pointer(path));
    let bytes = |path: &str| size(status.pointer(path));
    let mut lines = read(status);
    lines.extend([
        format!(
            "memory: state {}, queued {}; disk {}; dead letters {}",
            bytes("/memory/state_bytes"),
            bytes("/memory/queued_bytes"),
            bytes("/checkpoints/disk_bytes"),
            bytes("/dead_letters/bytes")
        ),
        format!("checkpoint {}: {}", number("/checkpoints/cut"), age(status, now)),
    ]);
    lines.extend(trouble("  ", &status["checkpoints"]["trouble"]));
    if let Some(who) = status.pointer("/frontier/held_by").and_then(Value::as_str) {
        lines.push(format!("held back: {who}"));
    }
    let mut sources = sources(status);
    // The worst come first; they are what is asked for.
    sources.sort_by_key(|source| !source.failing);
    let more = sources.len().saturating_sub(SOURCES);
    lines.extend(sources.into_iter().take(SOURCES).flat_map(|source| source.lines));
    lines.truncate(LINES - 1 - usize::from(more > 0));
    if more > 0 {
        lines.push(format!("and {more} more sources"));
    }
    lines.push("--all shows everything, --json as JSON".into());
    lines.join("\n") + "\n"
}

/// What was read and how far results are; of a run that has published nothing only that.
fn read(status: &Value) -> Vec<String> {
    let text = |path: &str| status.pointer(path).and_then(Value::as_str).unwrap_or("unknown");
    let number = |path: &str| count(status.pointer(path));
    if number("/frontier/run") == "0" {
        let state = text("/state");
        return vec![format!("{state}: nothing is published yet; what was read before is kept")];
    }
    vec![
        format!(
            "{}, run {}, epoch {}, results of {}",
            text("/state"),
            number("/frontier/run"),
            number("/frontier/epoch"),
            text("/frontier/now")
        ),
        format!(
            "records: {} read, {} rejected, {} in flight; posts: {}",
            number("/totals/read"),
            number("/totals/rejected"),
            number("/totals/in_flight"),
            number("/posts/held")
        ),
    ]
}

/// What is said of a source.
struct Said {
    failing: bool,
    lines: Vec<String>,
}

fn sources(status: &Value) -> Vec<Said> {
    let partitions = status["partitions"].as_array().map_or(&[][..], Vec::as_slice);
    let mut names: Vec<&str> = Vec::new();
    let known = status["sources"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |list: &'_ [Value], key: &str| -> Vec<String> {
        list.iter().filter_map(|one| one[key].as_str().map(str::to_owned)).collect()
    };
    let (listed, read) = (of(known, "name"), of(partitions, "source"));
    for name in listed.iter().chain(&read) {
        if !names.contains(&&**name) {
            names.push(name);
        }
    }
    let one = |name: &&str| {
        let source = known.iter().find(|s| s["name"] == **name).unwrap_or(&Value::Null);
        let mine: Vec<&Value> = partitions.iter().filter(|p| p["source"] == **name).collect();
        let state = source["state"].as_str().unwrap_or("stored");
        let mut lines = vec![format!("source {name}: {state}, {}", lag(&mine))];
        let failing = mine.iter().filter(|p| !p["trouble"].is_null());
        let first = failing.clone().next().map_or(&Value::Null, |p| &p["trouble"]);
        lines.extend(match trouble("  ", &source["trouble"]) {
            none if none.is_empty() => trouble(&format!("  {} of them: ", failing.count()), first),
            whole => whole,
        });
        if let Some(sending) = source["dead_letters"].as_object() {
            lines.extend(trouble("  dead letters: ", &sending["trouble"]));
        }
        Said { failing: lines.len() > 1, lines }
    };
    names.iter().map(one).collect()
}

/// How many partitions there are and how far behind they are together.
fn lag(partitions: &[&Value]) -> String {
    let known: Vec<u64> = partitions.iter().filter_map(|p| p["lag"].as_u64()).collect();
    let seconds = partitions.iter().filter_map(|p| p["lag_seconds"].as_f64());
    let unknown = partitions.len() - known.len();
    let behind = match (known.is_empty(), unknown) {
        (true, _) => "lag unknown".to_owned(),
        (false, 0) => format!("lag {}", known.iter().sum::<u64>()),
        (false, n) => format!("lag {}, of {n} unknown", known.iter().sum::<u64>()),
    };
    let oldest = seconds.fold(0.0, f64::max);
    let since = if oldest > 0.0 { format!(", {oldest:.0} s") } else { String::new() };
    format!("{} partitions, {behind}{since}", partitions.len())
}

/// A trouble in two lines, if it is one.
fn trouble(before: &str, trouble: &Value) -> Vec<String> {
    let Some(error) = trouble["error"].as_str() else { return Vec::new() };
    let hint = trouble["hint"].as_str().unwrap_or_default();
    vec![format!("{before}{error}"), format!("    {hint}")]
}

fn age(status: &Value, now: i64) -> String {
    let at = status.pointer("/checkpoints/last_at").and_then(Value::as_str);
    let at = at.and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    at.map_or("its age is unknown".into(), |at| {
        format!("{:.1} s ago", (now - at.timestamp_micros()).max(0) as f64 / 1e6)
    })
}

fn count(value: Option<&Value>) -> String {
    value.and_then(Value::as_u64).map_or("unknown".into(), |n| n.to_string())
}

fn size(value: Option<&Value>) -> String {
    value.and_then(Value::as_u64).map_or("unknown".into(), |bytes| match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(sources: usize) -> Value {
        let trouble = json!({"error": "asking", "hint": "look", "at": "x"});
        let source = |n: usize| {
            let letters = json!({"trouble": trouble});
            let wrong = if n > 0 { trouble.clone() } else { Value::Null };
            json!({"name": format!("s{n}"), "state": "moving", "trouble": wrong,
                   "dead_letters": letters})
        };
        let partition = |n: usize| {
            let lag = if n == 1 { Value::Null } else { json!(n + 1) };
            json!({"source": format!("s{n}"), "lag": lag, "lag_seconds": 2.0, "trouble": null})
        };
        json!({
            "state": "live",
            "frontier": {"run": 1, "epoch": 7, "now": "n", "held_by": "someone"},
            "totals": {"read": 5, "rejected": 1, "in_flight": 0},
            "posts": {"held": 3},
            "memory": {"state_bytes": 20480, "queued_bytes": 0},
            "checkpoints": {"cut": 4, "last_at": "1970-01-01T00:00:01Z", "disk_bytes": 9,
                            "trouble": trouble},
            "dead_letters": {"bytes": 11},
            "sources": (0..sources).map(source).collect::<Vec<_>>(),
            "partitions": (0..sources).map(partition).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn a_summary_is_short_and_says_what_is_wrong() {
        let said = summary(&seen(2), 3_500_000);
        for part in [
            "live, run 1, epoch 7, results of n",
            "records: 5 read, 1 rejected",
            "state 20 KiB",
            "checkpoint 4: 2.5 s ago",
            "held back: someone",
            "source s0: moving, 1 partitions, lag 1, 2 s",
            "source s1: moving, 1 partitions, lag unknown",
            "  asking",
            "    look",
        ] {
            assert!(said.contains(part), "{part} is not in\n{said}");
        }
        for sources in 0..20 {
            let said = summary(&seen(sources), 0);
            assert!(said.lines().count() <= LINES, "{said}");
            assert!(said.ends_with("--all shows everything, --json as JSON\n"), "{said}");
            assert_eq!(said.contains("more sources"), sources > SOURCES, "{said}");
        }
        assert!(summary(&json!({}), 0).contains("unknown"));
        let mut young = seen(1);
        young["frontier"] = json!({"run": 0, "epoch": 0, "now": "1970-01-01T00:00:00Z"});
        let said = summary(&young, 0);
        assert!(said.starts_with("live: nothing is published yet"), "{said}");
        assert!(!said.contains("records") && !said.contains("1970"), "{said}");
    }
}
