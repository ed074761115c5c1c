//! Why an engine ends before its time.

use dataflows::assemble::codec::CodecError;

use crate::cli::Failure;
use crate::cli::exit;
use crate::http::HttpError;
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::store::StoreError;

/// Why an engine ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The durable state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The HTTP port.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The state's contents are not what its checksums say.
    #[error("reading the state: {0}")]
    Codec(#[from] CodecError),
    /// A thread died.
    #[error("a thread of the engine died: {0}")]
    Died(String),
    /// Results could not be written.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl EngineError {
    /// Whether the same may succeed later without a restart.
    pub fn is_transient(&self) -> bool {
        match self {
            EngineError::Store(e) => e.is_transient(),
            EngineError::Sink(e) => e.is_transient(),
            _ => false,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        let message = error.to_string();
        match error {
            EngineError::Failed(failure) => failure,
            EngineError::Store(e) => Failure::new(e.exit_code(), message, ""),
            EngineError::Sink(e) => Failure::new(e.exit_code(), message, ""),
            EngineError::Source(SourceError::Unavailable { .. }) => {
                Failure::new(exit::UNAVAILABLE, message, "see that it is there and readable")
            }
            EngineError::Source(SourceError::Unreachable { hint, .. }) => {
                Failure::new(exit::UNAVAILABLE, message, hint)
            }
            EngineError::Source(SourceError::Refused { .. }) => {
                Failure::new(exit::DATA, message, "mend the file or take it away, then run again")
            }
            EngineError::Source(SourceError::Changed { .. }) => {
                let hint = "put back what was there; or read everything anew with another --state, \
                            or with --rebuild (and --accept-gap, where there is less now)";
                Failure::new(exit::DATA, message, hint)
            }
            EngineError::Http(e) => {
                let code = match e {
                    HttpError::Exposed { .. } => exit::CONFIG,
                    HttpError::Bind { .. } => exit::UNAVAILABLE,
                    HttpError::Threads { .. } => exit::SOFTWARE,
                };
                Failure::new(code, message, "")
            }
            EngineError::Codec(_) => {
                Failure::new(exit::DATA, message, "read everything anew with --rebuild")
            }
            EngineError::Died(_) => {
                let hint = "start again: it goes on from the newest checkpoint";
                Failure::new(exit::SOFTWARE, message, hint)
            }
        }
    }
}
