//! The little HTTP that commands need to ask a running daemon.
//!
//! Limits: `http://` alone; answers of at most [`ANSWER_MAX`] bytes; [`PATIENCE`] for each step.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Failure, exit};

/// The largest answer that is read.
const ANSWER_MAX: u64 = 1 << 30;

/// How long connecting, sending and each read may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon to ask.
#[derive(Clone, Debug)]
pub struct Client {
    /// `host:port`.
    authority: String,
    token: Option<String>,
}

impl Client {
    /// The daemon at a URL.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let hint = "write it like http://127.0.0.1:8765";
        let bad = || Failure::new(exit::USAGE, format!("`{url}` is not the URL of a daemon"), hint);
        let authority = url.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '@', ' ']) {
            return Err(bad());
        }
        let port = authority.rsplit(':').next().is_some_and(|p| p.parse::<u16>().is_ok());
        let authority = if port { authority.to_string() } else { format!("{authority}:80") };
        Ok(Client { authority, token })
    }

    /// The body of the answer to a GET.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        let answer = self.exchange(path).map_err(|error| {
            let message = format!("asking http://{}{path}: {error}", self.authority);
            let hint = "is the daemon running? start it with `pinflow run`, or give its --url; \
                        a finished run's state is read with --state DIR";
            Failure::new(exit::UNAVAILABLE, message, hint)
        })?;
        let garbled = || {
            let message = format!("http://{} does not answer in HTTP", self.authority);
            Failure::new(exit::UNAVAILABLE, message, "does another program listen there?")
        };
        let split = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(garbled)?;
        let head = String::from_utf8_lossy(&answer[..split]);
        let body = String::from_utf8_lossy(&answer[split + 4..]).into_owned();
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse::<u16>().ok());
        match status.ok_or_else(garbled)? {
            200 => Ok(body),
            status => Err(refused(status, path, body.trim(), self.token.is_some())),
        }
    }

    fn exchange(&self, path: &str) -> std::io::Result<Vec<u8>> {
        let mut last = std::io::Error::other("its name has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.send(stream, path),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn send(&self, mut stream: TcpStream, path: &str) -> std::io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let token = self.token.as_ref();
        let token = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
        // HTTP/1.0: the answer ends where the connection does, never in chunks.
        let host = &self.authority;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// What an answer other than 200 means.
fn refused(status: u16, path: &str, body: &str, with_token: bool) -> Failure {
    let answer = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let of = |name: &str| answer.get(name)?.as_str().filter(|text| !text.is_empty());
    let said = of("error").unwrap_or_else(|| body.lines().next().unwrap_or_default());
    let (code, hint) = match status {
        400 | 404 if of("error").is_none() => (exit::USAGE, "is it a pinflow that listens there?"),
        401 | 403 if with_token => (exit::CONFIG, "the token that was sent is not the daemon's"),
        401 | 403 => (
            exit::CONFIG,
            "put the daemon's token into PINFLOW_TOKEN, or name the variable that holds it with \
             --token-env",
        ),
        400 | 404 => (exit::USAGE, "`pinflow results` lists the metrics that there are"),
        503 => (exit::TRY_AGAIN, "it is catching up after a restart; try again soon"),
        _ => (exit::UNAVAILABLE, "see the daemon's log"),
    };
    // What the daemon says of tokens is for those who write requests themselves.
    let hint = of("hint").filter(|_| code != exit::CONFIG).unwrap_or(hint);
    Failure::new(code, format!("the daemon answers {path} with {status}: {said}"), hint)
}

/// A text as a part of a path or a query.
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
