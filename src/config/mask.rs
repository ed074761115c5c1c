//! What of a text is not shown with a problem: the values of keys that hold secrets.
//!
//! Promises: it looks at the text and not at what it means, so that a secret is found in what is
//! no TOML too, where its key is misspelt, and beside the value that a problem is about. What it
//! takes for a secret and is none is starred as well: that harms no one.
//! Limits: what stands behind a comment sign is shown.

use std::ops::Range;

/// The pieces of a text that hide secrets, in bytes and in order.
pub fn hidden(body: &str) -> Vec<Range<usize>> {
    let mut scan = Scan { body, at: 0, header: false, tables: Vec::new(), out: Vec::new() };
    let mut shown = false;
    while let Some(c) = scan.byte(scan.at) {
        match c {
            b'#' => scan.at = scan.line_end(scan.at),
            b'[' if scan.opens_line() => scan.header(),
            b'{' => scan.open(false),
            b'}' => {
                scan.tables.pop();
                scan.at += 1;
            }
            c if c.is_ascii_whitespace() || b"[],=:".contains(&c) => scan.at += 1,
            _ => shown = scan.word(shown),
        }
    }
    scan.out
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A secret.
    Secret,
    /// Where a secret stands: no secret.
    Reference,
    /// Something else.
    Plain,
}

/// What a key holds, as it is written: `"ssl.key.password"`, `PINFLOW_HTTP__TOKEN`.
fn kind(key: &str) -> Kind {
    let key = key.to_lowercase().replace("__", ".");
    let parts: Vec<&str> = key.split('.').map(|p| p.trim_matches([' ', '\t', '"', '\''])).collect();
    let secret = |part: &&str| {
        let misspelt = |of, most| strsim::damerau_levenshtein(part, of) <= most;
        let part_of = ["pass", "token", "secret", "jaas"].iter().any(|s| part.contains(s));
        part_of || misspelt("password", 2) || misspelt("token", 1)
    };
    if matches!(parts.last(), Some(&("env" | "file"))) {
        Kind::Reference
    } else if parts.iter().any(secret) || parts.ends_with(&["key", "pem"]) {
        Kind::Secret
    } else {
        Kind::Plain
    }
}

struct Scan<'a> {
    body: &'a str,
    at: usize,
    /// It is below the header of a secret's table.
    header: bool,
    /// The inline tables that are open, and whether each is that of a secret.
    tables: Vec<bool>,
    out: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.body.as_bytes().get(at).copied()
    }

    fn text(&self, span: Range<usize>) -> &str {
        self.body.get(span).unwrap_or_default()
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.body.as_bytes().get(from..).unwrap_or_default();
        rest.iter().position(|b| *b == b'\n').map_or(self.body.len(), |i| from + i)
    }

    fn skip_blanks(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(|b| b == b' ' || b == b'\t') {
            at += 1;
        }
        at
    }

    fn opens_line(&self) -> bool {
        let before = self.text(0..self.at);
        before.rsplit('\n').next().unwrap_or_default().trim().is_empty()
    }

    /// Goes to the end of a header.
    fn header(&mut self) {
        let line = self.at..self.line_end(self.at);
        let text = self.text(line.clone());
        let len = text.find(']').unwrap_or(text.len());
        self.header = kind(text[..len].trim_start_matches('[')) == Kind::Secret;
        self.tables.clear();
        self.at += len.max(1);
    }

    fn in_secret(&self) -> bool {
        self.tables.last().copied().unwrap_or(self.header)
    }

    fn open(&mut self, secret: bool) {
        self.tables.push(secret || self.in_secret());
        self.at += 1;
    }

    /// Behind a key or a value, which is hidden in a secret's table unless it is `shown`; whether
    /// the next is.
    fn word(&mut self, shown: bool) -> bool {
        let start = self.at;
        self.at = self.end(start);
        let next = self.skip_blanks(self.at);
        if !matches!(self.byte(next), Some(b'=' | b':')) {
            if self.in_secret() && !shown {
                self.out.push(start..self.at);
            }
            return false;
        }
        let kind = kind(self.text(start..self.at));
        self.at = self.skip_blanks(next + 1);
        if kind == Kind::Secret || (kind == Kind::Plain && self.in_secret()) {
            self.secret();
        }
        kind == Kind::Reference
    }

    /// Hides the value that begins here.
    fn secret(&mut self) {
        let start = self.at;
        let mut end = match self.byte(start) {
            Some(b'{') => return self.open(true),
            Some(b'"' | b'\'') => self.end(start),
            _ => start,
        };
        // Where a text that is not quoted ends only its author knows.
        let next = self.byte(self.skip_blanks(end));
        if end == start || next.is_some_and(|b| !b",}]#\r\n".contains(&b)) {
            end = self.line_end(end);
        }
        self.out.push(start..end);
        self.at = end;
    }

    /// Where the text or the word ends that begins at `start`; always behind it.
    fn end(&self, start: usize) -> usize {
        let bytes = self.body.as_bytes();
        let quote = bytes[start];
        if quote != b'"' && quote != b'\'' {
            let ends = |b: &u8| b.is_ascii_whitespace() || b"=:,[]{}#\"'".contains(b);
            let len = bytes[start..].iter().position(ends);
            return len.map_or(bytes.len(), |len| start + len.max(1));
        }
        let long = bytes[start..].starts_with(&[quote; 3]);
        let mut at = start + if long { 3 } else { 1 };
        while let Some(b) = self.byte(at) {
            match b {
                b'\\' if quote == b'"' => at += 2,
                b'\n' if !long => return at,
                b if b == quote && !long => return at + 1,
                b if b == quote && bytes[at..].starts_with(&[quote; 3]) => {
                    let more = bytes[at..].iter().take(5).take_while(|b| **b == quote).count();
                    return at + more;
                }
                _ => at += 1,
            }
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in which what is hidden is starred.
    fn starred(body: &str) -> String {
        let mut bytes = body.as_bytes().to_vec();
        for span in hidden(body) {
            bytes[span].fill(b'*');
        }
        String::from_utf8(bytes).expect("whole characters")
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        for body in [
            r#"password = "hunter2""#,
            r#"sasl = { mechanism = "SCRAM", username = "a", password = "hunter2" }"#,
            r#"sasl = { password = "hunter2", mechanism = "SCRAM" }"#,
            r#"sasl = { password = "hun\"hunter2", mechanism = "SCRAM" }"#,
            "sasl = { password = 'it's hunter2', mechanism = \"SCRAM\" }",
            "sasl = { password = hun,hunter2, mechanism = \"SCRAM\" }",
            "sasl = { \"password\" : 'hunter2', mechanism = \"SCRAM\" }",
            "sasl = { passwrod = \"hunter2\" mechanism = \"SCRAM\" }",
            "sasl = { password = \"\"\"x\nhunter2\"\"\", mechanism = \"SCRAM\" }",
            "sasl = { password = { value = \"hunter2\" } }",
            "sasl = { password = { \"hunter2\" } }",
            "properties = { \"ssl.key.password\" = \"hunter2\", \"ssl.key.pem\" = 'hunter2' }",
            "properties = { \"sasl.oauthbearer.client.secret\" = \"hunter2\" }",
            "[http.token]\nvalue = \"hunter2\"",
            "[source.kafka.sasl.password]\nvalue = 'hunter2'\n[http]\nlisten = \"a\"",
            "PINFLOW_HTTP__TOKEN=hunter2",
            "PINFLOW_HTTP__TOKN=x hunter2",
            "PINFLOW_SOURCE__KAFKA__SASL={ mechanism = \"SCRAM\", password = \"hunter2\" }",
            "PINFLOW_SOURCE__KAFKA__SASL={ mechanism = \"SCRAM\", password = \"hunter2",
            "source.kafka.sasl={ mechanism = \"SCRAM\", password=hunter2}",
            "http.token = [\"hunter2\"]",
            "token = \"\u{e9}hunter2",
        ] {
            let got = starred(body);
            assert!(!got.contains("hunter2") && got.contains('*'), "{body}\n{got}");
            assert_eq!(got.contains("SCRAM"), shows_mechanism(body), "{body}\n{got}");
        }
    }

    /// Whether the mechanism stands where it is told from a secret.
    fn shows_mechanism(body: &str) -> bool {
        let unclear = ["it's", "hun,", "passwrod"].iter().any(|u| body.contains(u));
        body.contains("SCRAM") && !unclear
    }

    #[test]
    fn all_else_is_shown() {
        for body in [
            "password = { env = \"KAFKA_PASSWORD\" }\nlisten = \"127.0.0.1:1\"",
            "sasl = { password = { file = 'secret.txt' }, mechanism = \"SCRAM\" } # it's so",
            "[http.token]\nenv = \"TOKEN\"\n[http]\nlisten = \"a\"",
            "PINFLOW_HTTP__TOKEN__ENV=NAME",
            "engine.wokers=3",
            "names = [\n  [\"a\", \"b\"],\n]\nx = { y = { z = 1 } }",
        ] {
            assert_eq!(starred(body), body);
        }
        for (name, body) in super::super::BUILTIN {
            assert_eq!(starred(body), body, "{name}");
        }
    }
}
