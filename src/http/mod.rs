//! The one port: page, API, change feeds, `/metrics`, health.
//!
//! Promises: only GET and HEAD, nothing here changes anything; what is shown is of one frontier per
//! answer; a slow or hostile client costs a connection out of a bounded number, never the
//! dataflow; with a token, every route but `/livez` asks for it.
//! Limits: see [`limits`].
//! What can go wrong: the address is taken, or would expose results to others unasked.

mod accept;
mod catalogue;
mod changes;
mod guard;
mod io;
pub mod limits;
mod reply;
mod routes;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::sync::{oneshot, watch};

use crate::config::{self, Labels, Secret};
use crate::publish::Published;
use crate::telemetry::{Machine, SharedStatus};

/// Looks up posts in the state of record; answers when a worker has looked.
pub trait PostLookup: Send + Sync {
    /// The post of an index with its three sides and where each came from; none = not held.
    /// A dropped sender means that nobody can answer now.
    fn lookup(&self, index: u64) -> oneshot::Receiver<Option<serde_json::Value>>;
}

/// What the routes show.
#[derive(Clone)]
pub struct Parts {
    /// Results.
    pub published: Arc<Published>,
    /// The engine's status.
    pub status: SharedStatus,
    /// Machine metrics.
    pub machine: Arc<Machine>,
    /// Posts.
    pub posts: Arc<dyn PostLookup>,
    /// Bounds of label sets at `/metrics`.
    pub labels: Arc<Labels>,
}

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Exit 78.
    #[error(
        "listening on {addr} would show results to other machines; \
         set http.token, or http.insecure = true if that is meant"
    )]
    Exposed {
        /// The address.
        addr: SocketAddr,
    },
    /// Exit 69.
    #[error("listening on {addr}: {source}; {}", elsewhere(source))]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Exit 71: no threads.
    #[error("starting the threads of the HTTP port: {source}; raise the limit of threads")]
    Threads {
        /// What the system says.
        source: std::io::Error,
    },
}

/// The way on where an address cannot be listened on, by what the system says of it.
fn elsewhere(why: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match why.kind() {
        AddrInUse => "stop what holds the port, or set http.listen",
        AddrNotAvailable => "set http.listen to an address that this machine has",
        PermissionDenied => "set http.listen to a port that this user may open, such as 8765",
        _ => "set http.listen to another address",
    }
}

/// Everything that the routes share.
struct App {
    parts: Parts,
    token: Option<Secret>,
    /// Bound to loopback without a token: names that lead here from elsewhere are refused.
    local_only: bool,
    subscribers: AtomicUsize,
    max_subscribers: usize,
    stop: watch::Receiver<bool>,
}

/// A running server; dropping it stops it.
pub struct Server {
    /// Where it listens, with the port that was chosen if 0 was asked for.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
    accepting: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    /// Ends change feeds, lets answers under way finish for a moment, closes the port.
    pub fn stop(&mut self) {
        let _ = self.stop.send(true);
        let Some(runtime) = self.runtime.take() else { return };
        if let Some(accepting) = self.accepting.take() {
            runtime.block_on(async {
                let _ = tokio::time::timeout(limits::STOP, accepting).await;
            });
        }
        runtime.shutdown_timeout(limits::STOP);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts serving; none of the caller's threads is used.
pub fn serve(config: &config::Http, addr: SocketAddr, parts: Parts) -> Result<Server, HttpError> {
    if !addr.ip().is_loopback() && config.token.is_none() && !config.insecure {
        return Err(HttpError::Exposed { addr });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits::THREADS)
        .max_blocking_threads(limits::RENDERERS)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|source| HttpError::Threads { source })?;
    let listener = {
        let _inside = runtime.enter();
        accept::listen(addr).map_err(|source| HttpError::Bind { addr, source })?
    };
    let bound = listener.local_addr().map_err(|source| HttpError::Bind { addr, source })?;
    let (stop, stopped) = watch::channel(false);
    let app = Arc::new(App {
        local_only: bound.ip().is_loopback() && config.token.is_none(),
        token: config.token.clone(),
        subscribers: AtomicUsize::new(0),
        max_subscribers: (config.max_connections / 2).max(1),
        stop: stopped,
        parts,
    });
    let loop_ = accept::run(listener, Arc::clone(&app), config.max_connections.max(1));
    let accepting = runtime.spawn(loop_);
    Ok(Server { addr: bound, stop, runtime: Some(runtime), accepting: Some(accepting) })
}
