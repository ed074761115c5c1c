//! How brokers are spoken to: encryption, and who we say we are.
//!
//! Promises: what is valid can be used as it is: files are there and hold what they should, and
//! MSK IAM has a region. No secret stands in the configuration itself.

use std::path::{Path, PathBuf};

use super::load::Env;
use super::section::Section;
use super::{Secret, build};

/// How brokers are spoken to.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Encrypted.
    pub tls: bool,
    /// Who we say we are.
    pub sasl: Option<Sasl>,
    /// Certificates that brokers are checked with; none = the system's.
    pub ca: Option<PathBuf>,
    /// Our certificate,
    pub certificate: Option<PathBuf>,
    /// and its key.
    pub key: Option<PathBuf>,
    /// What the key is locked with.
    pub key_password: Option<Secret>,
}

/// Who we say we are.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// The mechanism, as librdkafka calls it.
    pub mechanism: &'static str,
    /// The name.
    pub username: String,
    /// The password; for `OAUTHBEARER` the token, unless an unsecured one is made.
    pub password: Option<Secret>,
    /// The file that a token is read from anew whenever one is needed.
    pub token_file: Option<PathBuf>,
    /// The token is signed with credentials of AWS; then the mechanism is `OAUTHBEARER`.
    pub iam: Option<Iam>,
}

/// Where the credentials that MSK IAM wants come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iam {
    /// The brokers' region.
    pub region: String,
    /// The role that is taken on, if any.
    pub role: Option<String>,
    /// What its session is called; none = a name is made up.
    pub role_session: Option<String>,
    /// The profile whose credentials are used; none = the usual chain.
    pub profile: Option<String>,
}

/// The mechanism that is none of librdkafka's.
pub const IAM: &str = "AWS_MSK_IAM";
/// What it is for librdkafka.
pub const BEARER: &str = "OAUTHBEARER";

/// The mechanisms, and what they are for librdkafka.
const MECHANISMS: [(&str, &str); 5] = [
    ("PLAIN", "PLAIN"),
    ("SCRAM-SHA-256", "SCRAM-SHA-256"),
    ("SCRAM-SHA-512", "SCRAM-SHA-512"),
    (BEARER, BEARER),
    (IAM, BEARER),
];

/// A mechanism, as librdkafka calls it.
pub fn mechanism(name: &str) -> Option<&'static str> {
    MECHANISMS.iter().find(|m| m.0 == name).map(|m| m.1)
}

/// A login of which only the mechanism is known.
pub fn login(mechanism: &'static str) -> Sasl {
    Sasl { mechanism, username: String::new(), password: None, token_file: None, iam: None }
}

/// What `tls` and `sasl` of a source say, laid over what a Java client's file did.
pub fn security(s: &Section<'_>, env: &Env, plain: Security) -> Security {
    let t = s.section("tls", &["source.kafka.tls"]);
    let path = |key: &str| t.filled(key).map(PathBuf::from);
    let sasl = if s.has("sasl") { Some(sasl(s, env)) } else { plain.sasl };
    // MSK takes such a login on encrypted connections only.
    let iam = s.has("sasl") && sasl.as_ref().is_some_and(|s| s.iam.is_some());
    let security = Security {
        tls: t.flag("enabled").unwrap_or(plain.tls || s.has("tls") || iam),
        sasl,
        ca: path("ca").or(plain.ca),
        certificate: path("certificate").or(plain.certificate),
        key: path("key").or(plain.key),
        key_password: build::secret(&t, "key_password", env).or(plain.key_password),
    };
    if security.certificate.is_some() != security.key.is_some() {
        let hint = "our own certificate and its key go together";
        s.problems.error(s.place_of("tls"), "one of `certificate` and `key` is missing", hint);
    }
    for (key, path) in
        [("ca", &security.ca), ("certificate", &security.certificate), ("key", &security.key)]
    {
        if let Some(path) = path {
            check_pem(s, &t, key, path);
        }
    }
    security
}

/// Notes a file of certificates or keys that cannot be read, or holds none.
fn check_pem(s: &Section<'_>, t: &Section<'_>, key: &str, path: &Path) {
    // Authorities may stand in a folder of hashed names.
    if key == "ca" && path.is_dir() {
        return;
    }
    let shown = path.display();
    let message = match std::fs::read(path) {
        Ok(bytes) if bytes.windows(11).any(|w| w == b"-----BEGIN ") => return,
        Ok(_) => format!("the file of `{key}`, `{shown}`, holds no PEM (-----BEGIN ...)"),
        Err(error) => format!("the file of `{key}`, `{shown}`, cannot be read: {error}"),
    };
    let place = match t.get(key) {
        Some(node) => &node.place,
        None => s.place_of("client_properties"),
    };
    let hint = "name a PEM file; openssl and keytool -exportcert -rfc write them";
    s.problems.error(place, message, hint);
}

fn sasl(s: &Section<'_>, env: &Env) -> Sasl {
    let a = s.section("sasl", &["source.kafka.sasl"]);
    if !a.has("mechanism") {
        a.missing("mechanism");
    }
    let named = a.text("mechanism").unwrap_or_default();
    let mechanism = a.choice("mechanism", &MECHANISMS).unwrap_or(MECHANISMS[0].1);
    let (needed, foreign, hint): (&[&str], &[&str], _) = match named {
        IAM => (&[], &["username", "password"], "AWS_MSK_IAM asks AWS for credentials instead"),
        BEARER => (&[], &ROLE, ROLE_HINT),
        _ if mechanism == BEARER => (&[], &[], ""),
        _ => (&["username", "password"], &ROLE, ROLE_HINT),
    };
    for key in needed.iter().filter(|key| !a.has(key)) {
        a.missing(key);
    }
    for key in foreign.iter().filter(|key| a.has(key)) {
        let message = format!("`{key}` means nothing with the mechanism {named}");
        a.problems.error(a.place_of(key), message, hint);
    }
    if named == IAM {
        return Sasl { iam: Some(iam(&a)), ..login(mechanism) };
    }
    let password = build::secret(&a, "password", env);
    let token_file = build::secret_file(&a, "password").filter(|_| mechanism == BEARER);
    let username = a.filled("username").unwrap_or_default().to_string();
    Sasl { username, password, token_file, ..login(mechanism) }
}

/// The keys of MSK IAM.
const ROLE: [&str; 4] = ["region", "role", "role_session", "profile"];
const ROLE_HINT: &str = "it belongs to mechanism = \"AWS_MSK_IAM\"";

fn iam(a: &Section<'_>) -> Iam {
    let text = |key: &str| a.filled(key).map(str::to_string);
    let iam = Iam {
        region: text("region").unwrap_or_default(),
        role: text("role"),
        role_session: text("role_session"),
        profile: text("profile"),
    };
    if iam.role.as_ref().is_some_and(|role| !role.starts_with("arn:")) {
        let message = "`role` is not the name of a role as AWS writes it (ARN)";
        let hint = "for example role = \"arn:aws:iam::123456789012:role/reader\"";
        a.problems.error(a.place_of("role"), message, hint);
    }
    if iam.role_session.is_some() && iam.role.is_none() {
        let hint = "name the `role` whose session it is, or remove it";
        a.problems.error(a.place_of("role_session"), "`role_session` has no role", hint);
    }
    iam
}

/// Settles the region of MSK IAM: what is written, else what a broker's name says, else what the
/// environment does.
pub fn region(s: &Section<'_>, env: &Env, brokers: &[String], security: &mut Security) {
    let Some(iam) = security.sasl.as_mut().and_then(|sasl| sasl.iam.as_mut()) else { return };
    let environment =
        || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| env.get(*name));
    if iam.region.is_empty() {
        let named = brokers.iter().find_map(|broker| named_region(broker));
        let found = named.map(str::to_string).or_else(|| environment().cloned());
        iam.region = found.unwrap_or_default().trim().to_string();
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let place = s.place_of(if s.has("sasl") { "sasl" } else { "client_properties" });
    if iam.region.is_empty() {
        let message = "AWS_MSK_IAM wants the region of the brokers, and their names do not tell it";
        let hint = "write sasl = { mechanism = \"AWS_MSK_IAM\", region = \"eu-central-1\" }, or \
                    set AWS_REGION";
        s.problems.error(place, message, hint);
    } else if !iam.region.chars().all(good) {
        let message = format!("`{}` is not a region of AWS", iam.region);
        s.problems.error(place, message, "for example region = \"eu-central-1\"");
    }
}

/// The region in the name of an MSK broker: `b-1.x.y.c2.kafka.eu-central-1.amazonaws.com:9098`.
fn named_region(broker: &str) -> Option<&str> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.strip_suffix(".amazonaws.com").or(host.strip_suffix(".amazonaws.com.cn"))?;
    let (rest, region) = host.rsplit_once('.')?;
    let service = rest.rsplit('.').next()?;
    ["kafka", "kafka-serverless"].contains(&service).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_name_tells_its_region() {
        for (broker, want) in [
            ("b-1.demo.ab12cd.c2.kafka.eu-central-1.amazonaws.com:9098", Some("eu-central-1")),
            ("boot-x1.c3.kafka-serverless.us-east-1.amazonaws.com:9098", Some("us-east-1")),
            ("b-1.x.kafka.cn-north-1.amazonaws.com.cn:9098", Some("cn-north-1")),
            ("b-1.x.s3.eu-central-1.amazonaws.com:9098", None),
            ("kafka.example.com:9098", None),
            ("127.0.0.1:9098", None),
        ] {
            assert_eq!(named_region(broker), want, "{broker}");
        }
    }
}
