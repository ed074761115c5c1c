//! Credentials of AWS for MSK IAM: one thread gets them, renews them before they end, and says
//! where that fails. Tokens are signed with those at hand, so that nobody waits for an endpoint.
//!
//! Promises: an endpoint that stalls is waited for at most [`PATIENCE`] at a time and asked again;
//! until the credentials at hand end they are used. The thread ends soon after its owner does.
//! Limits: profiles that want single sign-on are refused, by name.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::tls;
use parking_lot::Mutex;
use rdkafka::client::OAuthToken;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::presign;
use crate::config::Iam;

/// How long an answer is waited for at a time. First calls of a machine's endpoint can be slow.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing is said of one that does not come.
const SLOW: Duration = Duration::from_secs(3);
/// How soon a failure is tried again: first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How soon credentials are asked for again that do not end: a file of them may have changed.
const LASTING: Duration = Duration::from_mins(10);
/// What is left of credentials that are used, at least.
const LEFT: Duration = Duration::from_secs(1);

/// The credentials of a source, kept fresh.
pub struct Keeper {
    iam: Iam,
    held: Arc<Held>,
    /// Dropped with it, which ends the thread.
    _end: oneshot::Sender<()>,
}

/// What the thread has got.
#[derive(Default)]
struct Held {
    credentials: Mutex<Option<Credentials>>,
    /// Why they cannot be renewed, if so.
    trouble: Mutex<Option<String>>,
    failures: Mutex<u64>,
}

impl Held {
    /// Keeps why there are no new credentials; the first of several reasons in a row is logged.
    fn failed(&self, source: &str, what: String) {
        if self.trouble.lock().replace(what.clone()).is_none() {
            warn!(source, what, "it is tried again; credentials at hand are used until they end");
        }
    }
}

impl Keeper {
    /// Begins to get credentials, for a source of a name.
    pub fn begin(source: &str, iam: &Iam) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let held = Arc::new(Held::default());
        let (end, ended) = oneshot::channel::<()>();
        let (name, wanted, keeps) = (source.to_owned(), iam.clone(), held.clone());
        std::thread::Builder::new().name(format!("iam {source}")).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = keep(&name, &wanted, &keeps) => {}
                }
            });
            // A lookup of a name may still be under way on a thread of its own.
            runtime.shutdown_background();
        })?;
        Ok(Keeper { iam: iam.clone(), held, _end: end })
    }

    /// Whether credentials were got so far.
    pub fn ready(&self) -> bool {
        self.held.credentials.lock().is_some()
    }

    /// Why credentials cannot be got or renewed, and how long those at hand hold.
    pub fn trouble(&self) -> Option<String> {
        let why = self.held.trouble.lock().clone()?;
        let expiry = self.held.credentials.lock().as_ref().map(Credentials::expiry);
        Some(match expiry {
            None => why,
            Some(None) => format!("{why}; those at hand go on being used"),
            Some(Some(at)) => format!("{why}; those at hand hold until {}", shown(at)),
        })
    }

    /// How often they could not be got.
    pub fn failures(&self) -> u64 {
        *self.held.failures.lock()
    }

    /// A token as of now, signed with what is at hand.
    pub fn token(&self, now: SystemTime) -> Result<OAuthToken, String> {
        let credentials = self.held.credentials.lock().clone();
        let why = || self.trouble().unwrap_or_else(|| "AWS has not given credentials yet".into());
        let credentials = credentials.ok_or_else(why)?;
        let ends = credentials.expiry().unwrap_or(now + presign::HOLDS);
        if ends < now + LEFT {
            return Err(format!("the AWS credentials have ended: {}", why()));
        }
        let token = presign::token(&credentials, &self.iam.region, now)
            .map_err(|why| format!("signing a token for {}: {why}", self.iam.region))?;
        let until = ends.min(now + presign::HOLDS).duration_since(UNIX_EPOCH).unwrap_or_default();
        // A name has to be given, and is not sent.
        let principal_name = "pinflow".into();
        Ok(OAuthToken { token, principal_name, lifetime_ms: until.as_millis() as i64 })
    }
}

/// A time as it is shown.
fn shown(at: SystemTime) -> String {
    let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    crate::publish::print::rfc3339(micros as i64)
}

/// Gets credentials, and again before they end, for ever.
async fn keep(source: &str, iam: &Iam, held: &Held) {
    let provider = tls::rustls_provider::CryptoMode::Ring;
    let provider = tls::Provider::Rustls(provider);
    let http = aws_smithy_http_client::Builder::new().tls_provider(provider).build_https();
    let mut again = AGAIN.0;
    loop {
        let asked = async {
            // Put together anew, so that files are read anew.
            let from = provider_of(iam, http.clone()).await;
            from.provide_credentials().await
        };
        let mut asked = std::pin::pin!(asked);
        let mut answer = tokio::time::timeout(SLOW, asked.as_mut()).await;
        if answer.is_err() {
            held.failed(source, format!("asking AWS for credentials{}: no answer yet", whose(iam)));
            answer = tokio::time::timeout(PATIENCE, asked.as_mut()).await;
        }
        let why = match answer {
            Ok(Ok(credentials)) => {
                let pause = early(credentials.expiry());
                *held.credentials.lock() = Some(credentials);
                again = AGAIN.0;
                if held.trouble.lock().take().is_some() {
                    info!(source, "AWS gives credentials again");
                }
                tokio::time::sleep(pause).await;
                continue;
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer in {PATIENCE:?}"),
        };
        *held.failures.lock() += 1;
        held.failed(source, format!("asking AWS for credentials{}: {why}", whose(iam)));
        tokio::time::sleep(again).await;
        again = (again * 2).min(AGAIN.1);
    }
}

/// Whose credentials they are, where that was said.
fn whose(iam: &Iam) -> String {
    let profile = iam.profile.as_ref().map(|p| format!(" of profile `{p}`"));
    let role = iam.role.as_ref().map(|r| format!(" for role {r}"));
    format!("{}{}", profile.unwrap_or_default(), role.unwrap_or_default())
}

/// Where credentials come from.
async fn provider_of(
    iam: &Iam,
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
) -> SharedCredentialsProvider {
    let region = Region::new(iam.region.clone());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(region.clone());
    if let Some(profile) = &iam.profile {
        // What is named holds over the environment.
        let config = ProviderConfig::default().with_http_client(http).with_region(Some(region));
        let from = ProfileFileCredentialsProvider::builder().configure(&config);
        let from = from.profile_name(profile).build();
        loader = loader.profile_name(profile).credentials_provider(from);
    }
    let config = loader.load().await;
    let Some(role) = &iam.role else {
        return config.credentials_provider().expect("the usual chain is one");
    };
    let session = iam.role_session.as_deref().unwrap_or("pinflow");
    let role = AssumeRoleProvider::builder(role).session_name(session).configure(&config);
    SharedCredentialsProvider::new(role.build().await)
}

/// How soon credentials that end then are renewed: at four fifths of what is left of them.
fn early(ends: Option<SystemTime>) -> Duration {
    let left =
        ends.map_or(LASTING, |at| at.duration_since(super::token::now()).unwrap_or_default());
    (left * 4 / 5).max(AGAIN.0)
}

/// An error with what it came of, none of it twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text += ": ";
            text += &said;
        }
        source = inner.source();
    }
    text
}
