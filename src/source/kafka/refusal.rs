//! What keeps brokers and us apart, as far as librdkafka's words tell: what to do about it, and
//! whether to wait is of no use.
//!
//! Limits: a connection that is closed without a word may be a listener that wants something else
//! of us, or a proxy whose broker is not there yet: that is told at once, and waited for.

use rdkafka::error::RDKafkaErrorCode;

use crate::config::Security;

/// What to do, and whether it has to be done before anything can come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What to do.
    pub hint: String,
    /// To wait does not help.
    pub definite: bool,
}

fn likely(hint: &str) -> Refusal {
    Refusal { hint: hint.into(), definite: false }
}

fn definite(hint: impl Into<String>) -> Refusal {
    Refusal { hint: hint.into(), definite: true }
}

/// What an error that librdkafka reports means; none if it tells nothing new.
pub fn of(code: Option<RDKafkaErrorCode>, reason: &str, security: &Security) -> Option<Refusal> {
    let says = |what: &str| reason.contains(what);
    Some(match code {
        Some(RDKafkaErrorCode::Authentication) => login(reason, security),
        _ if says("verify failed") && says("mismatch") => definite(
            "the certificate is of another name: write `brokers` as the certificate names them",
        ),
        _ if says("verify failed") => definite(
            "name the certificate of the authority that signed the brokers': \
             tls = { ca = \"ca.pem\" }",
        ),
        _ if says("PLAINTEXT broker listener") || says("wrong version number") => likely(
            "the port seems not to speak TLS: write the one that does in `brokers`, or leave \
             `tls` out",
        ),
        _ if security.tls && says(" alert ") => {
            likely("the brokers do not take our certificate: see `certificate` and `key` of `tls`")
        }
        _ if says("Failed to resolve") => likely("see the names in `brokers`"),
        _ if says("Connection refused") => likely("see that a broker listens there, and `brokers`"),
        _ if says("in state UP") => return closed(reason, security),
        _ => return None,
    })
}

/// What a login that failed means.
fn login(reason: &str, security: &Security) -> Refusal {
    let sasl = security.sasl.as_ref();
    if reason.contains("Failed to acquire SASL OAUTHBEARER token") {
        return likely("see where the token comes from: `sasl`");
    }
    if reason.contains("mechanism handshake failed") {
        return definite(
            "the listener has another `mechanism`, or no login at all: see `sasl`, and the port in \
             `brokers`",
        );
    }
    if let Some(iam) = sasl.and_then(|sasl| sasl.iam.as_ref()) {
        return definite(format!(
            "see that who we are may kafka-cluster:Connect to this cluster, that it is in {}, and \
             that our clock is right",
            iam.region
        ));
    }
    definite(match sasl.map(|sasl| sasl.mechanism) {
        Some("OAUTHBEARER") => "see that the token is one for these brokers, and has not expired",
        _ => "see `username`, `password` and `mechanism` of `sasl`",
    })
}

/// What a connection means that the other side closed, as librdkafka logs it.
pub fn closed(text: &str, security: &Security) -> Option<Refusal> {
    if text.contains("in state APIVERSION_QUERY") && !security.tls {
        return Some(likely(
            "the port may be one that speaks TLS: write tls = {}, or the port that does not in \
             `brokers`",
        ));
    }
    // Whoever has to log in is thrown out at the first question.
    let soon = text.rsplit("(after ").next().and_then(|after| after.split_once("ms in state UP"));
    let soon = soon.is_some_and(|(ms, _)| ms.parse().is_ok_and(|ms: u32| ms < 2000));
    if soon && security.sasl.is_none() {
        let hint = "the port may want a login: write `sasl`, or another port in `brokers`";
        return Some(likely(hint));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Iam, Sasl};
    use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL as Ssl};

    fn sasl(iam: Option<Iam>) -> Security {
        let mechanism = if iam.is_some() { "OAUTHBEARER" } else { "PLAIN" };
        let (username, password) = (String::new(), None);
        let sasl = Sasl { mechanism, username, password, token_file: None, iam };
        Security { sasl: Some(sasl), ..Security::default() }
    }

    /// What was seen of librdkafka 2.12 before Apache Kafka 4.1.
    #[test]
    fn what_librdkafka_says_is_understood() {
        let plain = Security::default;
        let tls = || Security { tls: true, ..Security::default() };
        let iam = Some(Iam { region: "eu-west-3".into(), ..Iam::default() });
        for (code, reason, security, hint, definite) in [
            (Authentication, "Authentication failed: Invalid username", sasl(None), "pass", true),
            (Authentication, "error: {\"status\":\"invalid_token\"}", sasl(iam), "eu-west-3", true),
            (Authentication, "SASL PLAIN mechanism handshake failed: X", sasl(None), "mech", true),
            (
                Authentication,
                "Failed to acquire SASL OAUTHBEARER token: reading",
                sasl(None),
                "token",
                false,
            ),
            (Ssl, "certificate verify failed: broker certificate could", tls(), "ca =", true),
            (Ssl, "certificate verify failed: IP address mismatch", tls(), "another name", true),
            (
                Ssl,
                "Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker \
                 listener? (after 7ms in state SSL_HANDSHAKE)",
                tls(),
                "TLS",
                false,
            ),
            (
                BrokerTransportFailure,
                "Connect to x failed: Connection refused",
                plain(),
                "there",
                false,
            ),
            (
                BrokerTransportFailure,
                "Send failed: SSL transport error: Broken pipe (after 1ms in state UP)",
                tls(),
                "login",
                false,
            ),
        ] {
            let got = of(Some(code), reason, &security).unwrap_or_else(|| panic!("{reason}"));
            assert!(got.hint.contains(hint), "{reason}: {}", got.hint);
            assert_eq!(got.definite, definite, "{reason}");
        }
        let gone =
            "x/1: Disconnected: receive 0 after POLLIN (after 1ms in state APIVERSION_QUERY)";
        assert!(closed(gone, &plain()).is_some_and(|r| r.hint.contains("tls = {}")));
        assert_eq!(closed(gone, &tls()), None);
        let login = "x/1: Disconnected: receive 0 after POLLIN (after 3ms in state UP)";
        assert!(closed(login, &plain()).is_some_and(|r| r.hint.contains("`sasl`")));
        assert_eq!(closed(login, &sasl(None)), None);
        let late = "x/1: Disconnected: receive 0 after POLLIN (after 90000ms in state UP)";
        assert_eq!(closed(late, &plain()), None);
    }
}
