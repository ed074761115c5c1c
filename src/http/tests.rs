//! The routes and the bounds of the port, through real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{HttpError, Parts, PostLookup, Server, limits, serve};
use crate::config::{Http, Labels, Secret};
use crate::publish::samples::{at, change, popularity};
use crate::publish::{Published, State};
use crate::telemetry::Machine;
use crate::telemetry::status::Trouble;

/// Knows post 7 alone.
struct Seven;

impl PostLookup for Seven {
    fn lookup(&self, index: u64) -> oneshot::Receiver<Option<Value>> {
        let (tx, rx) = oneshot::channel();
        let _ = tx.send((index == 7).then(|| json!({ "index": 7 })));
        rx
    }
}

pub fn parts(published: Published) -> Parts {
    Parts {
        published: Arc::new(published),
        status: Arc::default(),
        machine: Arc::new(Machine::new()),
        posts: Arc::new(Seven),
        labels: Arc::new(Labels {
            named: std::collections::BTreeMap::new(),
            max_series: 20_000,
            max_series_per_metric: 12_000,
        }),
    }
}

pub fn config(token: Option<&str>, max_connections: usize) -> Http {
    let token = token.map(|token| Secret(token.into()));
    Http { listen: None, token, insecure: false, max_connections }
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn start(token: Option<&str>, max_connections: usize) -> (Server, Parts) {
    let parts = parts(popularity());
    parts.published.show(
        at(1),
        Arc::default(),
        vec![change(Some("France"), "art", 3), change(Some("Peru"), "art", 5)],
    );
    parts.published.set_state(State::Live);
    let server = serve(&config(token, max_connections), local(), parts.clone()).expect("serves");
    (server, parts)
}

/// An answer: status, head, body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

fn send(addr: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.into() }
}

fn ask(addr: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let lines = format!("host: localhost\r\nconnection: close\r\n{headers}");
    send(addr, &format!("{method} {path} HTTP/1.1\r\n{lines}\r\n"))
}

pub fn get(addr: SocketAddr, path: &str) -> Answer {
    ask(addr, "GET", path, "")
}

const ROUTES: [&str; 8] = [
    "/",
    "/metrics",
    "/readyz",
    "/api/v1/metrics",
    "/api/v1/metrics/category_popularity",
    "/api/v1/metrics/category_popularity/changes",
    "/api/v1/posts/7",
    "/api/v1/status",
];

#[test]
fn every_route_answers() {
    let (server, _parts) = start(None, 16);
    let page = get(server.addr, "/");
    assert_eq!(page.status, 200);
    let policy = "content-security-policy: default-src 'none'; script-src 'nonce-";
    assert!(page.head.contains(policy), "{}", page.head);
    assert!(page.head.contains("x-content-type-options: nosniff"));
    assert!(page.body.len() < 40 * 1024, "{} bytes", page.body.len());
    assert!(!page.body.contains("NONCE") && page.body.contains("<title>pinflow"));
    assert_eq!(get(server.addr, "/livez").json(), json!({ "alive": true, "reasons": [] }));
    let ready = get(server.addr, "/readyz");
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    let metrics = get(server.addr, "/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"));
    assert!(metrics.body.contains("\npinflow_frontier_epoch 1\n"), "{}", metrics.body);
    let list = get(server.addr, "/api/v1/metrics").json();
    assert_eq!(list["metrics"][0]["of"], "arrivals+geo");
    assert_eq!(list["metrics"][0]["windows"][0]["name"], "5min");
    let post = get(server.addr, "/api/v1/posts/7");
    assert_eq!((post.status, post.json()), (200, json!({ "index": 7 })));
    let status = get(server.addr, "/api/v1/status").json();
    assert_eq!((&status["state"], &status["frontier"]["epoch"]), (&json!("live"), &json!(1)));
}

/// It was refused with 405.
#[test]
fn head_is_answered_like_get_without_the_body() {
    let (server, parts) = start(Some("s3cret"), 16);
    for route in ROUTES.into_iter().chain(["/livez", "/nothing"]) {
        for token in ["authorization: Bearer s3cret\r\n", ""] {
            let head = ask(server.addr, "HEAD", route, token);
            assert_eq!(head.body, "", "{route}");
            if route.ends_with("/changes") && !token.is_empty() {
                assert_eq!(head.status, 200);
                assert!(head.head.contains("content-type: text/event-stream"), "{}", head.head);
                continue;
            }
            let get = ask(server.addr, "GET", route, token);
            assert_eq!(head.status, get.status, "{route}");
            let fixed = |head: &str| {
                let lines = head.lines().filter(|l| !l.starts_with("date:"));
                // Scrapes and nonces differ from answer to answer.
                let lines = lines.filter(|l| !l.contains("nonce-") && !l.contains("length:"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(fixed(&head.head), fixed(&get.head), "{route}");
            assert!(head.head.contains("content-length: "), "{route}: {}", head.head);
        }
    }
    let begun = Instant::now();
    while parts.machine.http_subscribers.get() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a HEAD is no subscriber");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn results_as_json_and_csv() {
    let (server, _parts) = start(None, 16);
    let one =
        |query: &str| get(server.addr, &format!("/api/v1/metrics/category_popularity{query}"));
    let both = one("").json();
    assert_eq!(both["windows"].as_array().map(Vec::len), Some(2));
    let rows = &both["windows"][0]["rows"];
    assert_eq!(rows[0], json!({ "country": "Peru", "category": "art", "count": 5 }));
    let some = one("?country=France&window=5min&limit=1&positions=1").json();
    assert_eq!(some["positions"], json!({}));
    assert_eq!(some["windows"].as_array().map(Vec::len), Some(1));
    assert_eq!(some["windows"][0]["rows"][0]["count"], 3);
    // Equal moments are equal, however they are written.
    for start in ["2018-03-04T05:01:00Z", "2018-03-04T06:01:00.000%2B01:00"] {
        let found = one(&format!("?window=5min&window={start}")).json();
        assert_eq!(found["windows"][0]["window"], "5min", "{start}");
    }
    let csv = one("?format=csv&window=5min&limit=1");
    assert!(csv.head.contains("content-type: text/csv"));
    assert!(csv.head.contains("pinflow-frontier: 1/1/2018-03-04t05:06:07z"), "{}", csv.head);
    let edges = "2018-03-04T05:01:00Z,2018-03-04T05:06:00Z";
    let want = format!("window,start,end,country,category,count\n5min,{edges},Peru,art,5\n");
    assert_eq!(csv.body, want);
}

#[test]
fn mistakes_are_explained() {
    let (server, _parts) = start(None, 16);
    let check = |path: &str, status: u16, part: &str| {
        let answer = get(server.addr, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let both = format!("{} {}", answer.json()["error"], answer.json()["hint"]);
        assert!(both.contains(part), "{path}: {both}");
    };
    check("/nothing", 404, "the routes are");
    check("/api/v1/metrics/category_popularty", 404, "did you mean category_popularity?");
    check("/api/v1/metrics/category_popularity?contry=x", 400, "did you mean country?");
    check("/api/v1/metrics/category_popularity?limit=x", 400, "limit=10");
    check("/api/v1/metrics/category_popularity?format=xml", 400, "json or csv");
    check("/api/v1/metrics/category_popularity?window=7h", 400, "its windows are 5min, 1h");
    check("/api/v1/metrics/category_popularity?window=5min&window=1h", 400, "name one window");
    for (query, part) in [
        ("window=month&window=2018-01-01T00:00:00%2B00:00", "has no window"),
        ("window=Tuesday", "has no window"),
        ("limit=1&limit=2", "limit is given twice"),
        ("format=csv&format=json", "format is given twice"),
        ("positions=foo", "positions=1"),
    ] {
        check(&format!("/api/v1/metrics/category_popularity?{query}"), 400, part);
    }
    for (query, part) in [
        ("positions=foo", "positions=1"),
        ("limit=3", "has no parameter"),
        ("contry=x", "did you mean country?"),
        ("window=7h", "its windows are 5min, 1h"),
        ("window=2018-03-04T05:01:00Z", "moves with now"),
    ] {
        check(&format!("/api/v1/metrics/category_popularity/changes?{query}"), 400, part);
    }
    check("/api/v1/posts/8", 404, "there is no post 8");
    check("/api/v1/posts/-1", 400, "is no index");
    let answer = ask(server.addr, "POST", "/api/v1/status", "content-length: 0\r\n");
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    let other = send(
        server.addr,
        "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(other.status, 403);
}

#[test]
fn the_token_is_asked_for_everywhere_but_at_livez() {
    let (server, _parts) = start(Some("s3cret"), 16);
    for route in ROUTES {
        for headers in ["", "authorization: Bearer wrong\r\n"] {
            let answer = ask(server.addr, "GET", route, headers);
            assert_eq!(answer.status, 401, "{route}");
            assert!(answer.head.contains("www-authenticate: bearer"), "{}", answer.head);
            assert!(!answer.body.contains("s3cret"));
        }
        if !route.ends_with("/changes") {
            let answer = ask(server.addr, "GET", route, "authorization: Bearer s3cret\r\n");
            assert_eq!(answer.status, 200, "{route}");
        }
        assert_eq!(ask(server.addr, "DELETE", route, "").status, 401, "{route}");
    }
    assert_eq!(get(server.addr, "/livez").status, 200);
    assert_eq!(get(server.addr, "/nothing").status, 401);
}

#[test]
fn what_to_do_about_an_address_follows_from_what_is_wrong_with_it() {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, OutOfMemory, PermissionDenied};
    for (kind, part) in [
        (AddrInUse, "stop what holds the port"),
        (AddrNotAvailable, "an address that this machine has"),
        (PermissionDenied, "a port that this user may open"),
        (OutOfMemory, "another address"),
    ] {
        let said = HttpError::Bind { addr: local(), source: kind.into() }.to_string();
        assert!(said.starts_with("listening on 127.0.0.1:0: ") && said.contains(part), "{said}");
        assert_eq!(said.contains("stop what holds"), kind == AddrInUse, "{said}");
    }
}

#[test]
fn an_open_address_needs_a_token() {
    let open = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = serve(&config(None, 4), open, parts(popularity()));
    assert!(matches!(refused.err(), Some(HttpError::Exposed { .. })));
    let insecure = Http { insecure: true, ..config(None, 4) };
    assert!(serve(&insecure, open, parts(popularity())).is_ok());
    assert!(serve(&config(Some("t"), 4), open, parts(popularity())).is_ok());
}

#[test]
fn withheld_results_are_not_shown() {
    let (server, parts) = start(None, 16);
    parts.published.set_state(State::Withheld);
    for route in [ROUTES[2], ROUTES[4], ROUTES[5], ROUTES[6]] {
        let answer = get(server.addr, route);
        assert_eq!(answer.status, 503, "{route}");
        assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
    }
    assert!(!get(server.addr, "/metrics").body.contains("pinflow_world"));
    parts.published.set_state(State::CatchingUp);
    assert_eq!(get(server.addr, ROUTES[4]).json()["catching_up"], true);
    assert_eq!(get(server.addr, "/readyz").json()["state"], "catching_up");
}

/// It said nothing of it: results are served, and grow old.
#[test]
fn what_holds_reading_back_is_said_beside_ready() {
    let (server, parts) = start(None, 16);
    let held = "nothing is read until there is room";
    {
        let mut status = parts.status.write();
        status.reading_held = Some(held);
        let (error, hint) = ("no space left".into(), "free space".into());
        status.checkpoints.trouble = Some(Trouble { error, hint, at: 0 });
    }
    let ready = get(server.addr, "/readyz");
    let reasons = json!([held, "checkpoints: no space left; free space"]);
    assert_eq!((ready.status, &ready.json()["reasons"]), (200, &reasons));
    assert!(get(server.addr, "/metrics").body.contains("\npinflow_reading_held 1\n"));
}

#[test]
fn bounds_hold() {
    let (server, _parts) = start(None, 16);
    let long = format!("/api/v1/metrics?x={}", "y".repeat(limits::URL_BYTES));
    assert_eq!(get(server.addr, &long).status, 414);
    let many = format!("x: {}\r\n", "y".repeat(limits::HEAD_BYTES));
    assert_eq!(ask(server.addr, "GET", "/", &many).status, 431);
    let body = ask(server.addr, "GET", "/", "content-length: 99999\r\n");
    assert_eq!((body.status, body.head.contains("connection: close")), (413, true));
    let chunked = ask(server.addr, "GET", "/", "transfer-encoding: chunked\r\n");
    assert_eq!(chunked.status, 413);
    assert_eq!(send(server.addr, "nonsense\r\n\r\n").status, 400);
}

#[test]
fn silent_and_slow_clients_lock_nobody_out() {
    let (server, parts) = start(None, 8);
    let begun = Instant::now();
    let mut slow: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(server.addr).expect("connects")).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nx: ");
    }
    for _ in 0..5 {
        assert_eq!(get(server.addr, "/metrics").status, 200);
    }
    assert!(parts.machine.http_refused.get() >= 32);
    // All of them are closed, those within the cap after the time for a head.
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("set");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // A client sees the end a moment before it is counted.
    while parts.machine.http_connections.get() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(30), "connections are still counted");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads events from a feed until the text holds what is wanted.
fn until(stream: &mut TcpStream, text: &mut String, wanted: &str) {
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let n = stream.read(&mut buffer).expect("more events");
        assert!(n > 0, "the feed ended: {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

#[test]
fn a_change_feed_goes_on_from_its_snapshot() {
    let (mut server, parts) = start(None, 2);
    let mut stream = TcpStream::connect(server.addr).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let head = "HTTP/1.1\r\nhost: localhost\r\n\r\n";
    write!(stream, "GET {}?positions=1 {head}", ROUTES[5]).expect("sent");
    let mut text = String::new();
    until(&mut stream, &mut text, "event: snapshot");
    until(&mut stream, &mut text, r#""category":"art","count":5}"#);
    assert!(text.contains("content-type: text/event-stream"));
    assert!(text.contains(r#""positions":{}"#));
    // Half of the connections may be feeds.
    assert_eq!(get(server.addr, ROUTES[5]).status, 503);
    parts.published.show(at(2), Arc::default(), vec![change(Some("Peru"), "art", 0)]);
    until(&mut stream, &mut text, "event: change");
    until(&mut stream, &mut text, r#""rows":[],"gone":[{"country":"Peru","category":"art"}]"#);
    assert!(text.contains("id: 1/2"), "{text}");
    parts.published.show(at(3), Arc::default(), Vec::new());
    until(&mut stream, &mut text, "event: frontier");
    let begun = Instant::now();
    server.stop();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(server.addr).is_err());
}

#[test]
fn a_change_feed_tells_of_what_is_asked_for() {
    let (server, parts) = start(None, 2);
    let mut stream = TcpStream::connect(server.addr).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let query = "country=Chile&window=5min";
    write!(stream, "GET {}?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n", ROUTES[5]).expect("sent");
    let mut text = String::new();
    until(&mut stream, &mut text, "event: snapshot");
    until(&mut stream, &mut text, r#""rows":[]}]}"#);
    for (epoch, country) in [(2, "Peru"), (3, "Chile")] {
        parts.published.show(at(epoch), Arc::default(), vec![change(Some(country), "art", 7)]);
    }
    until(&mut stream, &mut text, r#"{"country":"Chile","category":"art","count":7}"#);
    assert_eq!(text.matches("event: change").count(), 1, "{text}");
    assert!(text.contains("id: 1/3") && !text.contains("Peru"), "{text}");
}
