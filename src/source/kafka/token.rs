//! Tokens of `OAUTHBEARER`: one that is given, one that a file holds, an unsecured one for tests,
//! or one that is signed for MSK IAM.
//!
//! Promises: making one waits for nobody but the disk; no token is shown.

use std::error::Error;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;

use super::iam::Keeper;
use crate::config::{Sasl, Security};

/// How long a token holds that does not say so itself; milliseconds.
const HOLDS: i64 = 3_600_000;
/// How long one of a file is taken to, so that another one in the file is found soon.
const FILE_HOLDS: i64 = 300_000;

/// The wall clock, by which tokens end.
#[allow(clippy::disallowed_methods, reason = "tokens end by the wall clock")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// The tokens of a source.
pub struct Tokens {
    source: String,
    sasl: Option<Sasl>,
    keeper: OnceLock<Keeper>,
}

impl Tokens {
    /// Those of a way to speak to brokers; nothing is asked for yet.
    pub fn new(source: &str, security: &Security) -> Self {
        let (source, sasl) = (source.to_owned(), security.sasl.clone());
        Tokens { source, sasl, keeper: OnceLock::new() }
    }

    /// Whether what tokens are made of is at hand; where it has to be got, that begins. Clients
    /// that are polled before cannot log in, and try again only after ten seconds.
    pub fn ready(&self) -> Result<bool, String> {
        let Some(iam) = self.sasl.as_ref().and_then(|sasl| sasl.iam.as_ref()) else {
            return Ok(true);
        };
        if self.keeper.get().is_none() {
            let keeper = Keeper::begin(&self.source, iam)
                .map_err(|e| format!("starting the thread that asks for credentials: {e}"))?;
            // Where two began one, the other ends.
            let _ = self.keeper.set(keeper);
        }
        Ok(self.keeper.get().is_some_and(Keeper::ready))
    }

    /// Waits until it is ready, at most so long; what is missing, if it is not.
    pub fn wait(&self, most: Duration) -> Result<(), String> {
        let until = Instant::now() + most;
        while !self.ready()? {
            if Instant::now() >= until {
                let why = format!("AWS has not given credentials in {most:?}");
                return Err(self.trouble().unwrap_or(why));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Why tokens cannot be renewed, if so.
    pub fn trouble(&self) -> Option<String> {
        self.keeper.get().and_then(Keeper::trouble)
    }

    /// How often what they are made of could not be got.
    pub fn failures(&self) -> u64 {
        self.keeper.get().map_or(0, Keeper::failures)
    }

    /// A token as of now.
    pub fn token(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let sasl = self.sasl.as_ref().ok_or("there is no `sasl` to make a token of")?;
        if sasl.iam.is_some() {
            let keeper = self.keeper.get().ok_or("AWS was not asked for credentials yet")?;
            return Ok(keeper.token(now())?);
        }
        token(sasl, now().duration_since(UNIX_EPOCH)?.as_millis() as i64)
    }
}

/// The token that is given or that a file holds now, or an unsecured one for who we say we are.
fn token(sasl: &Sasl, now: i64) -> Result<OAuthToken, Box<dyn Error>> {
    let (token, lifetime_ms) = match (&sasl.token_file, &sasl.password) {
        (Some(path), _) => {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|e| format!("reading the token in `{shown}`: {e}"))?;
            let text = text.trim().to_string();
            if text.is_empty() {
                return Err(format!("reading the token in `{shown}`: the file is blank").into());
            }
            let ends = expiry(&text).unwrap_or(now + FILE_HOLDS);
            (text, ends)
        }
        (None, Some(secret)) => (secret.0.clone(), expiry(&secret.0).unwrap_or(now + HOLDS)),
        (None, None) => {
            let (issued, expires) = (now / 1000, (now + HOLDS) / 1000);
            let claims = serde_json::json!({ "sub": sasl.username, "iat": issued, "exp": expires });
            let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let token = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims.to_string()));
            (token, expires * 1000)
        }
    };
    Ok(OAuthToken { token, principal_name: sasl.username.clone(), lifetime_ms })
}

/// When a JSON web token expires, milliseconds since 1970-01-01 UTC.
fn expiry(token: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["exp"].as_i64()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn bearer() -> Sasl {
        let (username, password) = ("ann".into(), None);
        Sasl { mechanism: "OAUTHBEARER", username, password, token_file: None, iam: None }
    }

    #[test]
    fn tokens_say_when_they_expire() {
        let mut sasl = bearer();
        let made = token(&sasl, 5_000).expect("a token");
        assert_eq!(made.principal_name, "ann");
        assert_eq!(made.lifetime_ms, 5_000 + HOLDS);
        assert_eq!(expiry(&made.token), Some(made.lifetime_ms));
        sasl.password = Some(Secret(made.token.clone()));
        assert_eq!(token(&sasl, 9_000).expect("a token").lifetime_ms, made.lifetime_ms);
        sasl.password = Some(Secret("opaque".into()));
        assert_eq!(token(&sasl, 9_000).expect("a token").lifetime_ms, 9_000 + HOLDS);
        assert!(!format!("{sasl:?}").contains("opaque"));
    }

    /// The token that the file held at the start was sent for ever.
    #[test]
    fn a_token_of_a_file_is_the_one_that_it_holds_now() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("token");
        let first = Some(Secret("first".into()));
        let sasl = Sasl { password: first, token_file: Some(path.clone()), ..bearer() };
        for text in ["first\n", "second"] {
            std::fs::write(&path, text).expect("writable");
            let made = token(&sasl, 0).expect("a token");
            assert_eq!((made.token.as_str(), made.lifetime_ms), (text.trim(), FILE_HOLDS));
        }
        for gone in [false, true] {
            if gone { std::fs::remove_file(&path) } else { std::fs::write(&path, " \n") }
                .expect("writable");
            let error = token(&sasl, 0).map(|t| t.lifetime_ms).expect_err("no token").to_string();
            assert!(error.contains("token`"), "{error}");
        }
    }
}
