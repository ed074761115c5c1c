//! A Java client's `client.properties`, as guides to Kafka print it: what it says is taken over,
//! and each line that has no meaning here is explained.

use std::path::PathBuf;

use super::Secret;
use super::kafka::{self, Kafka, Sasl};

/// What is said of a line that is not taken over.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its number, from 1.
    pub line: usize,
    /// What it is, and what to do.
    pub why: String,
    /// What becomes of it.
    pub weight: Weight,
}

/// What becomes of a line that is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is passed over.
    Passed,
    /// We cannot be let in without it.
    Login,
    /// Nothing is done before it is mended, as is said.
    Wrong(&'static str),
}

/// The protocols, and whether each is encrypted.
const PROTOCOLS: [(&str, bool); 4] =
    [("PLAINTEXT", false), ("SSL", true), ("SASL_PLAINTEXT", false), ("SASL_SSL", true)];

/// The settings of a file's text, in order: line, key, value. Comments are left out; a line that
/// ends in a backslash goes on.
fn settings(text: &str) -> Vec<(usize, String, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let mut whole = line.trim().to_string();
        if whole.is_empty() || whole.starts_with(['#', '!']) {
            continue;
        }
        // Two of them are one that belongs to the text.
        while whole.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1 {
            whole.pop();
            whole += lines.next().map_or("", |(_, more)| more.trim());
        }
        let at = whole.find(['=', ':', ' ', '\t']).unwrap_or(whole.len());
        let value = whole[at..].trim_start_matches([' ', '\t']);
        let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim();
        out.push((n + 1, whole[..at].to_string(), unescaped(value)));
    }
    out
}

/// A value with its escapes undone, as Java reads them.
fn unescaped(value: &str) -> String {
    let mut out = String::new();
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let digits: String = chars.as_str().chars().skip(1).take(4).collect();
        let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
        match (chars.next(), unit) {
            (Some('u'), Some(unit)) => {
                out.extend(char::decode_utf16([unit]).map(|c| c.unwrap_or('\u{fffd}')));
                chars.nth(3);
            }
            (Some(c), _) => out.push(escaped(c)),
            (None, _) => {}
        }
    }
    out
}

/// What a character behind a backslash means.
fn escaped(c: char) -> char {
    match c {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\u{c}',
        other => other,
    }
}

/// The value of an option of a login module: `username="alice"`. A quoted text ends at the quote
/// that it begins with, and what stands behind a backslash belongs to it.
fn option(jaas: &str, name: &str) -> Option<String> {
    let mut chars = jaas.chars();
    let (mut key, mut word) = (None, String::new());
    loop {
        let c = chars.next();
        match c {
            None | Some(';') => return key.filter(|k| k == name).map(|_| word),
            Some(c) if c.is_whitespace() => {
                if key.take().is_some_and(|k| k == name) {
                    return Some(word);
                }
                word.clear();
            }
            Some('=') if key.is_none() => key = Some(std::mem::take(&mut word)),
            Some(quote @ ('"' | '\'')) => {
                while let Some(c) = chars.next().filter(|c| *c != quote) {
                    word.push(if c == '\\' { chars.next().map_or(c, escaped) } else { c });
                }
            }
            Some(c) => word.push(c),
        }
    }
}

/// Whether a protocol is encrypted; none if there is none of this name. Java takes any case.
fn protocol(name: &str) -> Option<bool> {
    let name = name.to_ascii_uppercase();
    PROTOCOLS.iter().find(|p| p.0 == name).map(|p| p.1)
}

/// Lays a file's settings over those of a source; what is said of lines that are not taken over.
pub fn lay_over(text: &str, kafka: &mut Kafka) -> Vec<Said> {
    let mut said = Vec::new();
    let settings = settings(text);
    let get = |key: &str| settings.iter().find(|s| s.1 == key).map(|s| s.2.as_str());
    let pem = |of: &str| get(&format!("ssl.{of}.type")).is_some_and(|t| t == "PEM");
    for (line, key, value) in &settings {
        let mut explain = |why: &str| {
            said.push(Said { line: *line, why: format!("`{key}` {why}"), weight: weight(key) });
        };
        match key.as_str() {
            "bootstrap.servers" => {
                kafka.brokers = value.split(',').map(|b| b.trim().to_string()).collect();
            }
            "group.id" => kafka.group.clone_from(value),
            "security.protocol" => match protocol(value) {
                Some(tls) => kafka.security.tls = tls,
                None => explain(&format!("cannot be `{value}`")),
            },
            "sasl.mechanism" => match kafka::mechanism(value) {
                Some(mechanism) => login(kafka).mechanism = mechanism,
                None if value == "AWS_MSK_IAM" => explain(
                    "names MSK IAM, which is not built in: create a SCRAM user for pinflow, \
                     with mechanism SCRAM-SHA-512",
                ),
                None => explain("names a mechanism that is not known here"),
            },
            "sasl.jaas.config" if value.contains("IAMLoginModule") => {
                explain("is for MSK IAM, which is not built in");
            }
            "sasl.jaas.config" => {
                let sasl = login(kafka);
                sasl.username = option(value, "username").unwrap_or_default();
                sasl.password = option(value, "password").map(Secret);
            }
            "ssl.truststore.location" if pem("truststore") => {
                kafka.security.ca = Some(PathBuf::from(value));
            }
            "ssl.truststore.location" => explain(
                "is a Java key store, which is not read; the system's certificates are used, \
                 which know the public authorities, Amazon's too. Others: export them as PEM \
                 (keytool -exportcert -rfc) and name the file in tls = { ca = \"...\" }",
            ),
            "ssl.keystore.location" if pem("keystore") => {
                kafka.security.certificate = Some(PathBuf::from(value));
                kafka.security.key = Some(PathBuf::from(value));
            }
            "ssl.keystore.location" => explain(
                "is a Java key store, which is not read; export certificate and key as PEM and \
                 name them in tls = { certificate = \"...\", key = \"...\" }",
            ),
            "ssl.key.password" => kafka.security.key_password = Some(Secret(value.clone())),
            "ssl.endpoint.identification.algorithm" => {
                let value = if value.is_empty() { "none" } else { value };
                kafka.properties.insert(key.clone(), Secret(value.into()));
            }
            "ssl.truststore.type" | "ssl.keystore.type" => {}
            "ssl.truststore.password" | "ssl.keystore.password" => {
                explain("is that of a Java key store, which is not read");
            }
            "sasl.client.callback.handler.class" => {
                explain("names a Java class; nothing is loaded here");
            }
            "auto.offset.reset" => explain("is `start` here"),
            _ => explain("is not a setting that pinflow takes from this file"),
        }
    }
    said
}

/// What becomes of a line with this key, if it is not taken over.
fn weight(key: &str) -> Weight {
    match key {
        "sasl.mechanism" => Weight::Login,
        "security.protocol" => Weight::Wrong(
            "write PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL: it says whether what we send, the \
             login too, is encrypted",
        ),
        _ => Weight::Passed,
    }
}

/// Who we say we are, to be filled in.
fn login(kafka: &mut Kafka) -> &mut Sasl {
    kafka.security.sasl.get_or_insert_with(|| Sasl {
        mechanism: "PLAIN",
        username: String::new(),
        password: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAM: &str = "# for MSK\n\
        bootstrap.servers=b-1:9096, b-2:9096\n\
        security.protocol = SASL_SSL\n\
        sasl.mechanism: SCRAM-SHA-512\n\
        sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n    \
        username=\"alice\" \\\n    password=\"s3;cret\";\n\
        ssl.truststore.location=/tmp/kafka.client.truststore.jks\n\
        max.poll.records=500\n";

    const IAM: &str = "security.protocol=SASL_SSL\n\
        sasl.mechanism=AWS_MSK_IAM\n\
        sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required awsRoleArn=\"a\";\n\
        sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n";

    fn laid(text: &str) -> (Kafka, Vec<Said>) {
        let mut kafka = kafka::plain();
        let said = lay_over(text, &mut kafka);
        (kafka, said)
    }

    #[test]
    fn a_guides_file_for_scram_is_understood() {
        let (kafka, said) = laid(SCRAM);
        assert_eq!(kafka.brokers, ["b-1:9096", "b-2:9096"]);
        assert!(kafka.security.tls && kafka.security.ca.is_none());
        let sasl = kafka.security.sasl.as_ref().expect("a login");
        assert_eq!((sasl.mechanism, &*sasl.username), ("SCRAM-SHA-512", "alice"));
        assert_eq!(sasl.password.as_ref().map(|p| &*p.0), Some("s3;cret"));
        assert!(!format!("{kafka:?}").contains("s3;cret"));
        let lines: Vec<usize> = said.iter().map(|s| s.line).collect();
        assert_eq!(lines, [8, 9], "{said:?}");
        assert!(said[0].why.contains("tls = { ca ="), "{}", said[0].why);
        assert!(said.iter().all(|s| !s.why.contains("s3;cret")));
    }

    #[test]
    fn each_line_of_a_guides_file_for_iam_is_explained() {
        let (_, said) = laid(IAM);
        let lines: Vec<usize> = said.iter().map(|s| s.line).collect();
        assert_eq!(lines, [2, 3, 4], "{said:?}");
        assert_eq!(said[0].weight, Weight::Login);
        assert!(said[0].why.contains("SCRAM-SHA-512"), "{}", said[0].why);
    }

    #[test]
    fn pem_stores_are_taken_over() {
        let (kafka, said) = laid(
            "security.protocol SSL\nssl.truststore.type=PEM\nssl.truststore.location=ca.pem\n\
             ssl.keystore.type=PEM\nssl.keystore.location=me.pem\nssl.key.password=x\n\
             ssl.endpoint.identification.algorithm=\n",
        );
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(kafka.security.ca, Some("ca.pem".into()));
        assert_eq!(kafka.security.key, Some("me.pem".into()));
        assert_eq!(kafka.properties["ssl.endpoint.identification.algorithm"].0, "none");
    }

    /// It was taken for one that is not encrypted, and the login went out in clear.
    #[test]
    fn a_protocol_in_any_case_is_known_and_another_is_wrong() {
        for (name, tls) in
            [("sasl_ssl", true), ("Ssl", true), ("plaintext", false), ("SASL_plaintext", false)]
        {
            let (kafka, said) = laid(&format!("security.protocol={name}\n"));
            assert_eq!((kafka.security.tls, said.len()), (tls, 0), "{name}: {said:?}");
        }
        for name in ["SASL_SLL", "TLS", ""] {
            let (_, said) = laid(&format!("security.protocol={name}\n"));
            assert!(matches!(said[0].weight, Weight::Wrong(_)), "{name}: {said:?}");
            assert!(said[0].why.contains(&format!("`{name}`")), "{}", said[0].why);
        }
    }

    /// A password was cut at the first quote of either kind, and kept its backslashes.
    #[test]
    fn a_password_is_what_java_makes_of_it() {
        for (written, meant) in [
            (r#""it's""#, "it's"),
            (r#"'say "it"'"#, r#"say "it""#),
            (r#""a\\"b""#, r#"a"b"#),
            (r#""a\\\\b""#, r"a\b"),
            (r#""a\=b\u00e9""#, "a=b\u{e9}"),
            (r#""a username=x;y""#, "a username=x;y"),
            ("bare==", "bare=="),
        ] {
            let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
            let text = format!("sasl.jaas.config={module} password={written} username=\"bob\";\n");
            let (kafka, _) = laid(&text);
            let sasl = kafka.security.sasl.expect("a login");
            let got = (sasl.password.map(|p| p.0), sasl.username);
            assert_eq!(got, (Some(meant.to_string()), "bob".to_string()), "{written}");
        }
        let (kafka, _) = laid("ssl.key.password=a\\\\\ngroup.id=g\n");
        assert_eq!(kafka.security.key_password.map(|p| p.0).as_deref(), Some("a\\"));
        assert_eq!(kafka.group, "g");
    }
}
