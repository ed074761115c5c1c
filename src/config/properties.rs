//! A Java client's `client.properties`, as guides to Kafka print it: what it says is taken over,
//! and each line that has no meaning here is explained.

use std::path::PathBuf;

use super::Secret;
use super::kafka::Kafka;
use super::security::{self, Iam};

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

/// The options of a login module, in order: `username="alice"`. A quoted text ends at the quote
/// that it begins with, and what stands behind a backslash belongs to it.
fn options(jaas: &str) -> Vec<(String, String)> {
    let (mut out, mut chars) = (Vec::new(), jaas.chars());
    let (mut key, mut word): (Option<String>, _) = (None, String::new());
    loop {
        match chars.next() {
            None | Some(';') => {
                out.extend(key.map(|key| (key, word)));
                return out;
            }
            Some(c) if c.is_whitespace() => {
                let word = std::mem::take(&mut word);
                out.extend(key.take().map(|key| (key, word)));
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

/// Whether a protocol is encrypted, and whether it logs in; none if there is none of this name.
/// Java takes any case.
fn protocol(name: &str) -> Option<(bool, bool)> {
    let name = name.to_ascii_uppercase();
    PROTOCOLS.iter().find(|p| p.0 == name).map(|p| (p.1, name.starts_with("SASL_")))
}

/// Lays a file's settings over those of a source; what is said of lines that are not taken over.
pub fn lay_over(text: &str, kafka: &mut Kafka) -> Vec<Said> {
    let mut said = Vec::new();
    let settings = settings(text);
    let get = |key: &str| settings.iter().find(|s| s.1 == key).map(|s| s.2.as_str());
    let pem = |of: &str| get(&format!("ssl.{of}.type")).is_some_and(|t| t == "PEM");
    let spoken = get("security.protocol");
    let login = Login {
        // What Java speaks where nothing is said is PLAINTEXT.
        without: spoken.map_or(Some("PLAINTEXT"), |name| Some(name).filter(|_| !logs_in(name))),
        iam: settings.iter().any(|s| is_iam(&s.1, &s.2)),
    };
    for (line, key, value) in &settings {
        let mut explain = |why: &str| {
            let weight = if login.without.is_some() && key.starts_with("sasl.") {
                Weight::Passed
            } else {
                weight(key)
            };
            said.push(Said { line: *line, why: format!("`{key}` {why}"), weight });
        };
        match key.as_str() {
            "bootstrap.servers" => {
                kafka.brokers = value.split(',').map(|b| b.trim().to_string()).collect();
            }
            "group.id" => kafka.group.clone_from(value),
            "security.protocol" => match protocol(value) {
                Some((tls, _)) => kafka.security.tls = tls,
                None => explain(&format!("cannot be `{value}`")),
            },
            key if key.starts_with("sasl.") => {
                for why in login.line(key, value, kafka) {
                    explain(&why);
                }
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
            "auto.offset.reset" => explain("is `start` here"),
            _ => explain("is not a setting that pinflow takes from this file"),
        }
    }
    said
}

/// Whether a protocol logs in; one that there is not is an error anyhow.
fn logs_in(name: &str) -> bool {
    protocol(name).is_none_or(|p| p.1)
}

/// Whether a line is of one of the two ways in which guides set up MSK IAM.
fn is_iam(key: &str, value: &str) -> bool {
    match key {
        "sasl.mechanism" => value == security::IAM,
        "sasl.jaas.config" => value.contains("IAMLoginModule"),
        _ => key.ends_with("callback.handler.class") && value.contains(".msk.auth.iam."),
    }
}

/// What a file's login is.
struct Login<'a> {
    /// The protocol, if it does not log in.
    without: Option<&'a str>,
    /// It is MSK IAM.
    iam: bool,
}

impl Login<'_> {
    /// Takes a line about the login over; what is to be explained of it.
    fn line(&self, key: &str, value: &str, kafka: &mut Kafka) -> Vec<String> {
        if let Some(protocol) = self.without {
            return vec![format!(
                "is of a login, and with security.protocol {protocol} there is none; SASL_SSL or \
                 SASL_PLAINTEXT would log in"
            )];
        }
        let sasl = kafka.security.sasl.get_or_insert_with(|| security::login("PLAIN"));
        let one = |why: &str| vec![why.to_string()];
        match key {
            "sasl.mechanism" => match security::mechanism(value) {
                Some(mechanism) => {
                    sasl.mechanism = mechanism;
                    if self.iam {
                        sasl.iam.get_or_insert_default();
                    }
                    Vec::new()
                }
                None => one("names a mechanism that is not known here"),
            },
            "sasl.jaas.config" if self.iam => {
                iam(&options(value), sasl.iam.get_or_insert_default())
            }
            "sasl.jaas.config" => {
                for (name, value) in options(value) {
                    match name.as_str() {
                        "username" | "unsecuredLoginStringClaim_sub" => sasl.username = value,
                        "password" => sasl.password = Some(Secret(value)),
                        _ => {}
                    }
                }
                Vec::new()
            }
            _ if is_iam(key, value) => Vec::new(),
            _ if key.ends_with("handler.class") => {
                one("names a Java class; nothing is loaded here")
            }
            _ => one("is not a setting that pinflow takes from this file"),
        }
    }
}

/// Takes the options of a login module for MSK IAM over; what is to be explained of them.
fn iam(options: &[(String, String)], into: &mut Iam) -> Vec<String> {
    let mut said = Vec::new();
    for (name, value) in options {
        match name.as_str() {
            "awsProfileName" => into.profile = Some(value.clone()),
            "awsRoleArn" => into.role = Some(value.clone()),
            "awsRoleSessionName" => into.role_session = Some(value.clone()),
            "awsStsRegion" => said.push(
                "asks for the role in a region of its own (awsStsRegion): here it is asked for in \
                 that of the brokers"
                    .into(),
            ),
            _ => said.push(format!("has an option that is not known here: {name}")),
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

    const IAM: &str = "bootstrap.servers=b-1.x.c2.kafka.eu-central-1.amazonaws.com:9098\n\
        security.protocol=SASL_SSL\n\
        sasl.mechanism=AWS_MSK_IAM\n\
        sasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required \\\n    \
        awsRoleArn=\"arn:aws:iam::1:role/r\" awsRoleSessionName=\"me\" \
        awsStsRegion=\"us-east-1\";\n\
        sasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler\n";

    fn laid(text: &str) -> (Kafka, Vec<Said>) {
        let mut kafka = crate::config::kafka::plain();
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
    fn a_guides_file_for_iam_is_understood() {
        let (kafka, said) = laid(IAM);
        let lines: Vec<usize> = said.iter().map(|s| s.line).collect();
        assert_eq!(lines, [4], "{said:?}");
        assert!(said[0].why.contains("awsStsRegion"), "{}", said[0].why);
        assert_eq!(said[0].weight, Weight::Passed);
        assert!(kafka.security.tls);
        let sasl = kafka.security.sasl.expect("a login");
        assert_eq!(sasl.mechanism, "OAUTHBEARER");
        let (role, role_session) = (Some("arn:aws:iam::1:role/r".into()), Some("me".into()));
        assert_eq!(sasl.iam, Some(Iam { role, role_session, ..Iam::default() }));
    }

    /// The other way in which guides write it, and the shortest.
    #[test]
    fn iam_is_known_by_its_handler_and_by_its_module() {
        let handler = "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler";
        let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
        let (kafka, said) = laid(&format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\n\
             sasl.jaas.config={bearer} required awsProfileName=\"p\";\n\
             sasl.login.callback.handler.class={handler}\n\
             sasl.client.callback.handler.class={handler}\n"
        ));
        assert!(said.is_empty(), "{said:?}");
        let profile = kafka.security.sasl.and_then(|s| s.iam).and_then(|iam| iam.profile);
        assert_eq!(profile.as_deref(), Some("p"));
    }

    /// The login went out although the protocol has none.
    #[test]
    fn the_protocol_decides_whether_there_is_a_login() {
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule required";
        for protocol in ["security.protocol=SSL\n", "security.protocol=plaintext\n", ""] {
            let (kafka, said) = laid(&format!(
                "{protocol}sasl.mechanism=PLAIN\n\
                 sasl.jaas.config={module} username=\"a\" password=\"hunter2\";\n"
            ));
            assert!(kafka.security.sasl.is_none(), "{protocol}");
            let after = protocol.lines().count();
            let lines: Vec<usize> = said.iter().map(|s| s.line).collect();
            assert_eq!(lines, [after + 1, after + 2], "{protocol}{said:?}");
            assert!(said.iter().all(|s| s.why.contains("SASL_SSL")), "{said:?}");
            assert!(said.iter().all(|s| !s.why.contains("hunter2")), "{said:?}");
        }
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
            let text = format!(
                "security.protocol=SASL_SSL\n\
                 sasl.jaas.config={module} password={written} username=\"bob\";\n"
            );
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
