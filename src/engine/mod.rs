//! The engine: it owns the timely workers and everything around them, from the first cut of a
//! state to the orderly end.
//!
//! ```text
//! sources -> workers (read, decode, assemble, measure) -> coordinator -> published
//!                     ^ epochs, ticks                         |-> keeper -> state, outputs
//! ```
//!
//! Threads: one a worker, the coordinator (the caller's), the keeper, one for signals; HTTP has
//! its own. Promises: a panic anywhere ends the process, and the newest cut is the recovery.

mod book;
mod build;
pub mod clock;
mod coordinator;
mod cuts;
mod differences;
mod discovery;
mod epochs;
mod error;
mod fingerprint;
mod keeper;
mod memory;
mod messages;
mod outputs;
mod posts;
mod rebuild;
mod recompute;
mod refuse;
mod repeats;
mod report;
mod setup;
mod sources;
mod start;
mod worker;
mod writer;

use std::time::Duration;

pub use build::epoch_bytes;
pub use epochs::UNDER_WAY;
pub use error::EngineError;
pub use keeper::DEAD_LETTERS;
pub use recompute::{recompute, stored_posts, stored_status};
pub use setup::{From, Replayed, replay, run};

use crate::config::{Clock, Config};

/// How often results become visible while records keep coming.
const PUBLISH: Duration = Duration::from_millis(50);
/// How often the clock is shown to move when nothing comes.
const IDLE: Duration = Duration::from_millis(500);

/// How fast and how long the engine runs.
#[derive(Clone, Debug)]
pub struct Pace {
    /// An epoch is sealed so long after its first record.
    pub epoch: Duration,
    /// Where fewer bytes of messages are in the dataflow full epochs hold little: so many are in
    /// [`UNDER_WAY`] that are full of bytes.
    pub under_way_bytes: u64,
    /// Results become visible so often while records keep coming.
    pub publish: Duration,
    /// An epoch without data comes so often, if `now` follows the wall clock.
    pub idle: Duration,
    /// `now` follows the wall clock.
    pub wall: bool,
    /// A cut is due so often, or at so many bytes of changed slots.
    pub cut_interval: Duration,
    /// See there.
    pub cut_bytes: usize,
    /// There are cuts before the end (not where bags are joined, which cannot be restored; nor in a
    /// replay, which is one step).
    pub cuts_between: bool,
    /// Results are withheld at most so long after a restart.
    pub withhold: Duration,
    /// An orderly stop may take so long.
    pub shutdown: Duration,
    /// The run ends when everything is read.
    pub bounded: bool,
    /// The state keeps whether they did.
    pub marks_end: bool,
}

impl Pace {
    /// The pace that a configuration asks for.
    pub fn new(config: &Config, one_cut: bool) -> Self {
        Pace {
            epoch: config.engine.epoch,
            under_way_bytes: (UNDER_WAY * epoch_bytes(config)) as u64,
            publish: PUBLISH,
            idle: IDLE,
            wall: config.engine.clock == Clock::Wall,
            cut_interval: config.state.cut_interval,
            cut_bytes: config.state.cut_bytes,
            cuts_between: !one_cut,
            withhold: config.engine.withhold,
            shutdown: config.engine.shutdown_timeout,
            bounded: false,
            marks_end: true,
        }
    }
}
