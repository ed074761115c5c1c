//! The bounds of the port, in one place.

use std::time::Duration;

/// Threads that read requests and write answers.
pub const THREADS: usize = 2;
/// Threads that render answers; further ones wait.
pub const RENDERERS: usize = 2;
/// A request's head must be there within this time, also the next one on a kept connection; the
/// tests do not wait for so long.
pub const HEAD: Duration = Duration::from_millis(if cfg!(test) { 400 } else { 10_000 });
/// An answer must be rendered within this time.
pub const ANSWER: Duration = Duration::from_secs(10);
/// A client that takes nothing for this long is cut off.
pub const STALL: Duration = Duration::from_secs(15);
/// A connection that is no change feed is closed after this time; the client opens another.
pub const AGE: Duration = Duration::from_mins(5);
/// And then has this long to end its request.
pub const GRACE: Duration = Duration::from_secs(15);
/// How long an orderly stop waits for answers under way.
pub const STOP: Duration = Duration::from_secs(2);
/// A request's head, bytes: line and headers.
pub const HEAD_BYTES: usize = 16 * 1024;
/// A request's path and query, bytes.
pub const URL_BYTES: usize = 4096;
/// Headers of a request.
pub const HEADERS: usize = 64;
/// A body that comes with a GET is not read; a larger one ends the connection.
pub const BODY_BYTES: u64 = 16 * 1024;
/// Connections that the system queues for us.
pub const BACKLOG: u32 = 1024;
/// A change feed says at least this often up to where results go.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// The engine's loop has to turn at least this often for `/livez`, seconds.
pub const SILENCE: f64 = 30.0;
/// How long a worker may take to look a post up.
pub const LOOKUP: Duration = Duration::from_secs(5);
