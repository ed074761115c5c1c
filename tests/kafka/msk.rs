//! MSK IAM, as far as it can be had without AWS: the real client with the real ways to get
//! credentials, before a real broker. Two things stand in: an endpoint of credentials, as
//! containers have one (and the service that gives roles), and a proxy that takes a token as MSK
//! would and logs in to the broker with one that the broker knows.

#![allow(clippy::disallowed_methods, reason = "credentials and tokens end by the wall clock")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::broker::Broker;
use crate::runs::{Run, Status, create};
use crate::support::generate::Shape;
use crate::support::process::Running;
use crate::topics::{equal, generated, messages, put};
use crate::{config, until};

/// How long credentials of the endpoint hold.
const HOLD: Duration = Duration::from_secs(20);
/// How long a login holds at the broker: then it is to be made again.
const SESSION: u64 = 4;
/// What an endpoint of credentials is asked with.
const PASS: &str = "Basic pass";

/// Where credentials come from.
struct Aws {
    address: String,
    stalls: Arc<AtomicBool>,
}

impl Aws {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stalls, n) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0)));
        let held = stalls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (held, n) = (held.clone(), n.clone());
                std::thread::spawn(move || answer(stream, &held, &n));
            }
        });
        Aws { address, stalls }
    }

    /// Where a command finds credentials: nowhere else but here.
    fn tell(&self, mut command: Command) -> Command {
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("AWS_") {
                command.env_remove(&key);
            }
        }
        command
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/mine", self.address))
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN", PASS)
            .env("AWS_ENDPOINT_URL_STS", &self.address)
            .env("AWS_CONFIG_FILE", "no-such-file")
            .env("AWS_SHARED_CREDENTIALS_FILE", "no-such-file");
        command
    }
}

/// Answers requests of a connection: GET gives credentials, POST a role. Not while it stalls.
fn answer(stream: TcpStream, stalls: &AtomicBool, n: &Mutex<u32>) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut to = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (from.read_line(&mut head).ok()? > 0).then_some(())?;
        }
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).and_then(|l| l.lines().next());
        let mut body = vec![0; length.map_or(0, |l| l.parse().unwrap())];
        from.read_exact(&mut body).ok()?;
        while stalls.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ends = DateTime::<Utc>::from(SystemTime::now() + HOLD);
        let ends = ends.to_rfc3339_opts(SecondsFormat::Secs, true);
        let body = String::from_utf8(body).unwrap();
        let text = if head.starts_with("POST") {
            let role = "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Freader&RoleSessionName=me";
            assert!(body.contains("Action=AssumeRole") && body.contains(role), "{body}");
            assert!(lower.contains("credential=akid"), "signed with what was given: {head}");
            format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ROLE</AccessKeyId>\
                 <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                 <Expiration>{ends}</Expiration></Credentials></AssumeRoleResult>\
                 </AssumeRoleResponse>"
            )
        } else {
            assert!(head.contains(PASS), "{head}");
            let mut n = n.lock().unwrap();
            *n += 1;
            format!(
                "{{\"AccessKeyId\": \"AKID{n}\", \"SecretAccessKey\": \"secret{n}\", \
                 \"Token\": \"session{n}\", \"Expiration\": \"{ends}\"}}"
            )
        };
        write!(to, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).ok()?;
    }
}

/// What stands before a broker's listener that wants a login.
struct Proxy {
    address: String,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (broker, tokens) = (broker.to_owned(), Arc::new(Mutex::new(Vec::new())));
        let seen = tokens.clone();
        std::thread::spawn(move || {
            for ours in listener.incoming().flatten() {
                let Ok(theirs) = TcpStream::connect(&broker) else { continue };
                let (back, forth) = (theirs.try_clone().unwrap(), ours.try_clone().unwrap());
                let (seen, real) = (seen.clone(), theirs.peer_addr().unwrap().port());
                std::thread::spawn(move || forward(ours, theirs, |f| logged_in(f, &seen)));
                std::thread::spawn(move || {
                    forward(back, forth, |f| readdressed(f, real, address.port()));
                });
            }
        });
        Proxy { address: address.to_string(), tokens }
    }

    /// The tokens that came, as what they are: addresses.
    fn tokens(&self) -> Vec<String> {
        self.tokens.lock().unwrap().clone()
    }

    /// Whether a token of these credentials came.
    fn saw(&self, key: &str) -> bool {
        let credential = format!("&X-Amz-Credential={key}%2F");
        self.tokens().iter().any(|t| t.contains(&credential))
    }
}

/// Hands on frames, changed, until one side is gone.
fn forward(mut from: TcpStream, mut to: TcpStream, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let mut length = [0; 4];
    while from.read_exact(&mut length).is_ok() {
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        if from.read_exact(&mut frame).is_err() {
            break;
        }
        let frame = change(frame);
        let length = (frame.len() as u32).to_be_bytes();
        if to.write_all(&[&length[..], &frame].concat()).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}

/// A request, with the token of MSK IAM in it taken out and one for alice put in.
fn logged_in(frame: Vec<u8>, seen: &Mutex<Vec<String>>) -> Vec<u8> {
    const SASL_AUTHENTICATE: [u8; 2] = [0, 36];
    if frame[..2] != SASL_AUTHENTICATE {
        return frame;
    }
    // Key, version, correlation, the client's name; then the length of what the mechanism says.
    let body = 10 + u16::from_be_bytes([frame[8], frame[9]]) as usize;
    let said = String::from_utf8(frame[body + 4..].to_vec()).unwrap();
    let (before, rest) = said.split_once("auth=Bearer ").unwrap();
    let (token, after) = rest.split_once('\u{1}').unwrap();
    let address = URL_SAFE_NO_PAD.decode(token).expect("a token of MSK is base64 without padding");
    seen.lock().unwrap().push(String::from_utf8(address).unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = format!(r#"{{"sub":"alice","iat":{now},"exp":{}}}"#, now + SESSION);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims));
    let said = format!("{before}auth=Bearer {token}\u{1}{after}");
    let length = (said.len() as u32).to_be_bytes();
    [&frame[..body], &length, said.as_bytes()].concat()
}

/// An answer in which the broker stands where the proxy does.
fn readdressed(mut frame: Vec<u8>, real: u16, ours: u16) -> Vec<u8> {
    let port = |port: u16| u32::from(port).to_be_bytes();
    let wanted = [b"127.0.0.1", &port(real)[..]].concat();
    for at in 0..frame.len().saturating_sub(wanted.len() - 1) {
        if frame[at..].starts_with(&wanted) {
            frame[at + 9..at + 13].copy_from_slice(&port(ours));
        }
    }
    frame
}

/// `sasl` for MSK IAM, not encrypted, as the proxy is not.
fn settings(more: &str) -> Vec<String> {
    let sasl = format!("mechanism = \"AWS_MSK_IAM\", region = \"eu-west-1\"{more}");
    let sasl = format!("source.kafka.sasl={{ {sasl} }}");
    ["--set", &sasl, "--set", "source.kafka.tls.enabled=false"].map(String::from).to_vec()
}

#[test]
fn msk_iam_logs_in_with_credentials_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "m", 2);
    let records = generated("m", &Shape::bench(300, 5), 2, false);
    put(&broker.address(), &records);
    let (aws, proxy) = (Aws::start(), Proxy::start(&broker.secured()[0]));
    let profiles = dir.path().join("profiles");
    let text = "[profile p]\naws_access_key_id = PROFILE\naws_secret_access_key = s\n";
    std::fs::write(&profiles, text).unwrap();
    let config = config(dir.path());
    let role = ", role = \"arn:aws:iam::1:role/reader\", role_session = \"me\"";
    // The key in the environment, what is written of it, the key that is used.
    let cases = [
        ("", "", "AKID1"),
        ("ENV", "", "ENV"),
        ("NO", ", profile = \"p\"", "PROFILE"),
        ("", role, "ROLE"),
    ];
    for (n, (set, written, key)) in cases.into_iter().enumerate() {
        let run = Run::new(&config, &proxy.address, "m", &dir.path().join(n.to_string()));
        let settings = settings(written);
        let more: Vec<&str> =
            ["--until", "latest"].into_iter().chain(settings.iter().map(String::as_str)).collect();
        let mut command = aws.tell(run.command(&more));
        command.env("AWS_CONFIG_FILE", &profiles);
        if !set.is_empty() {
            command.env("AWS_ACCESS_KEY_ID", set).env("AWS_SECRET_ACCESS_KEY", "s");
        }
        Running::start(command).wait(Duration::from_mins(2)).ok();
        equal(&config, &run.out, &messages("kafka", &records));
        assert!(proxy.saw(key), "{key}: {:?}", proxy.tokens());
    }
    for token in proxy.tokens() {
        let begins = "https://kafka.eu-west-1.amazonaws.com/?Action=kafka-cluster%3AConnect&";
        assert!(token.starts_with(begins), "{token}");
        assert!(token.contains("%2Feu-west-1%2Fkafka-cluster%2Faws4_request"), "{token}");
        assert!(token.contains("&X-Amz-Expires=900&"), "{token}");
    }
}

fn well(status: &Status) -> Option<()> {
    status.trouble().is_none().then_some(())
}

/// Nothing is lost while an endpoint stalls that credentials are to be renewed at: it is said, and
/// those at hand are used.
#[test]
fn credentials_are_renewed_before_they_end_and_a_stall_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "m", 2);
    let records = generated("m", &Shape::bench(300, 5), 2, false);
    let n = records.len() as u64;
    put(&broker.address(), &records);
    let (aws, proxy) = (Aws::start(), Proxy::start(&broker.secured()[0]));
    let config = config(dir.path());
    let run = Run::new(&config, &proxy.address, "m", &dir.path().join("run"));
    let mut command = aws.tell(run.serving());
    // It stalls from the start: that is said too.
    aws.stalls.store(true, SeqCst);
    let mut daemon = Running::start({
        command.args(settings(""));
        command
    });
    let trouble = until(&run, &mut daemon, "nothing comes", Status::trouble);
    assert!(trouble.contains("AWS"), "{trouble}");
    assert!(proxy.tokens().is_empty(), "{:?}", proxy.tokens());
    aws.stalls.store(false, SeqCst);
    until(&run, &mut daemon, "all is read", |s| (s.read() == n).then_some(()));
    until(&run, &mut daemon, "all is well", well);
    assert!(proxy.saw("AKID1"));
    aws.stalls.store(true, SeqCst);
    let trouble = until(&run, &mut daemon, "it is to be renewed", Status::trouble);
    assert!(trouble.contains("those at hand hold until"), "{trouble}");
    let before = proxy.tokens().len();
    put(&broker.address(), &records);
    until(&run, &mut daemon, "all is read", |s| (s.read() == 2 * n).then_some(()));
    aws.stalls.store(false, SeqCst);
    until(&run, &mut daemon, "it was renewed", |_| {
        let renewed = proxy.tokens().iter().skip(before).any(|t| !t.contains("=AKID1%2F"));
        renewed.then_some(())
    });
    until(&run, &mut daemon, "all is well", well);
    put(&broker.address(), &records);
    until(&run, &mut daemon, "all is read", |s| (s.read() == 3 * n).then_some(()));
    daemon.terminate();
    let ended = daemon.wait(Duration::from_mins(1)).ok();
    assert!(!ended.stderr.contains("secret1") && !ended.stderr.contains("session1"));
}
