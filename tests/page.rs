//! The page in a real browser: what it shows is what the API answers.
//!
//! Chromium must be there (`make` installs it); `CHROMIUM` names another browser of its kind.

#![allow(clippy::unwrap_used)]

#[allow(unused)]
mod oracle;
mod support;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::generate::{Shape, write};
use support::http::Api;
use support::port::free_port;
use support::process::{Running, command};

/// A daemon over files that do not change, so that the page and the API show the same.
struct Still {
    daemon: Running,
    api: Api,
    port: u16,
    _dir: tempfile::TempDir,
}

fn still() -> Still {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    std::fs::create_dir(path("in")).unwrap();
    write(&Shape { malformed: 30, ..Shape::dirty(400, 3) }, &dir.path().join("in"));
    std::fs::write(path("in/user.jsonl.gz"), "this was never packed").unwrap();
    let port = free_port();
    let config = support::config("default.toml").to_str().unwrap().to_string();
    let (input, state, listen) = (path("in"), path("state"), format!("127.0.0.1:{port}"));
    let args = ["run", "--config", &config, "--input", &input, "--state", &state];
    let mut daemon = Running::start(command(args.iter().chain(&["--listen", &listen])));
    let api = Api::new(port);
    api.wait("/readyz", &mut daemon, Duration::from_mins(1));
    // The window that slides over arrivals has them at its next step, ten seconds at most.
    let path = "/api/v1/metrics/category_popularity?window=5min";
    let whole = |api: &Api| {
        let read = api.json("/api/v1/status").unwrap()["totals"]["read"].as_u64();
        let rows = api.json(path).unwrap()["windows"][0]["rows"].as_array().map(Vec::len);
        read >= Some(1200) && rows >= Some(20)
    };
    for _ in 0..300 {
        if whole(&api) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(whole(&api), "all lines are read and counted in the last minutes");
    Still { daemon, api, port, _dir: dir }
}

/// The page's elements after its scripts have run for some seconds, as a browser sees them.
fn dom(port: u16, size: &str) -> String {
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".into());
    let profile = tempfile::tempdir().unwrap();
    let user_data = format!("--user-data-dir={}", profile.path().display());
    let done = Command::new(&browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args([&*user_data, &format!("--window-size={size}"), "--virtual-time-budget=8000"])
        .args(["--dump-dom", &format!("http://127.0.0.1:{port}/")])
        .output()
        .unwrap_or_else(|e| panic!("{browser} cannot be run ({e}): install it, see the Makefile"));
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && text.contains("</html>"), "{browser} showed nothing");
    text
}

/// The attributes of the elements that have a certain one.
fn elements(dom: &str, with: &str) -> Vec<BTreeMap<String, String>> {
    let mut out = Vec::new();
    for piece in dom.split('<').skip(1) {
        let tag = piece.split('>').next().unwrap();
        let mut found = BTreeMap::new();
        let mut rest = tag;
        while let Some((name, after)) = rest.split_once("=\"") {
            let (value, tail) = after.split_once('"').unwrap_or((after, ""));
            let name = name.rsplit(' ').next().unwrap().to_string();
            let value = value.replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&");
            found.insert(name, value);
            rest = tail;
        }
        if found.contains_key(with) {
            out.push(found);
        }
    }
    out
}

fn value(of: &BTreeMap<String, String>) -> f64 {
    of["data-value"].parse().unwrap()
}

fn by_id(dom: &str, id: &str) -> f64 {
    let all = elements(dom, "id");
    let found = all.iter().find(|e| e["id"] == id && e.contains_key("data-value"));
    value(found.unwrap_or_else(|| panic!("#{id} shows no value")))
}

fn close(what: &str, shown: f64, right: &Value) {
    let right = right.as_f64().unwrap_or_else(|| panic!("{what}: {right}"));
    assert!((shown - right).abs() < 1e-6, "{what}: the page shows {shown}, the API {right}");
}

#[test]
fn page_shows_what_the_api_answers() {
    let still = still();
    let dom = dom(still.port, "1280,900");
    let status = still.api.json("/api/v1/status").unwrap();
    close("records read", by_id(&dom, "read"), &status["totals"]["read"]);
    close("posts held", by_id(&dom, "posts"), &status["posts"]["held"]);
    let outcomes = elements(&dom, "data-outcome");
    assert_eq!(outcomes.len(), 5, "every outcome is shown");
    for outcome in &outcomes {
        let name = &outcome["data-outcome"];
        close(name, value(outcome), &status["totals"][name]);
    }
    let reasons = elements(&dom, "data-reason");
    let reasons: Vec<_> = reasons.iter().filter(|e| e.contains_key("data-value")).collect();
    let rejects = status["rejects"].as_array().unwrap();
    assert!(reasons.len() == rejects.len() && reasons.len() >= 3, "{} reasons", reasons.len());
    for reject in rejects {
        let reason = reject["reason"].as_str().unwrap();
        let shown = reasons.iter().find(|e| e["data-reason"] == reason);
        close(reason, value(shown.unwrap()), &reject["count"]);
    }
    assert!(dom.contains("Failing: files"), "a damaged file is not said at the top");
    medians(&still.api, &dom);
    popularity(&still.api, &dom);
    still.daemon.terminate();
    still.daemon.wait(Duration::from_secs(30)).ok();
}

fn medians(api: &Api, dom: &str) {
    let answer = api.json("/api/v1/metrics/median_followers_by_age_group").unwrap();
    let rows = answer["windows"][0]["rows"].as_array().unwrap();
    let shown = elements(dom, "data-group");
    assert!(shown.len() >= 3, "age groups are shown");
    for group in &shown {
        let name = &group["data-group"];
        let row = rows.iter().find(|r| r["age_group"] == **name).unwrap();
        let measure = row.as_object().unwrap().iter().find(|(key, _)| *key != "age_group");
        close(name, value(group), measure.unwrap().1);
    }
}

/// The cells of categories by country are those of the API's window.
fn popularity(api: &Api, dom: &str) {
    let cells = elements(dom, "data-category");
    let cells: Vec<_> = cells.iter().filter(|c| value(c) > 0.5).collect();
    assert!(cells.len() >= 20, "only {} cells are shown", cells.len());
    let window = &cells[0]["data-window"];
    let path = format!("/api/v1/metrics/category_popularity?window={window}");
    let answer = api.json(&path).unwrap();
    let rows = answer["windows"][0]["rows"].as_array().unwrap();
    for cell in cells {
        let (country, category) = (&cell["data-country"], &cell["data-category"]);
        let fits = |r: &&Value| {
            let text = |key: &str| r[key].as_str().unwrap_or("").to_string();
            text("country") == *country && text("category") == *category
        };
        let row = rows.iter().find(fits);
        let row = row.unwrap_or_else(|| panic!("{country}, {category} is not in the API"));
        close(&format!("{country}, {category}"), value(cell), &row["count"]);
    }
}

#[test]
fn page_is_whole_on_a_phone_and_needs_nobody_else() {
    let still = still();
    let dom = dom(still.port, "390,844");
    assert!(elements(&dom, "data-category").len() >= 20, "the table is there");
    assert!(dom.contains("width=device-width"), "it is made for phones too");
    let (_, html) = still.api.get("/").unwrap();
    for away in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!html.contains(away), "the page asks others for something: {away}");
    }
    assert!(html.contains("prefers-color-scheme"), "it has a dark form");
}
