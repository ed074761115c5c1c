//! `pinflow emulate`: sends the three records of each post, as the emulators of the seed systems
//! do, to standard output, to files, or to Kafka; and fills the tables that they read.
//!
//! A [`feed::Feed`] has the posts, [`draw::Draws`] say which comes next, [`pace::Pacer`] when, and
//! a [`target::Target`] takes the records.
//!
//! Promises: equal options send equal records in equal order; at a signal what was taken is
//! brought to its place before the end is told.

pub mod draw;
pub mod feed;
mod join;
pub mod mysql;
pub mod pace;
mod progress;
mod python;
pub mod stop;
mod table;
pub mod target;

use std::io::Write as _;
use std::time::{Duration, Instant};

use dataflows::record::Stream;

use self::draw::{Draws, Order};
use self::feed::{Feed, Post};
use self::pace::{Pace, Pacer};
use self::progress::Progress;
use self::stop::Stop;
use self::target::{Record, Target};
use crate::cli::Failure;

/// The fields that an index may stand in, the first that does holds.
const KEYS: [&str; 3] = ["index", "ind", "idx"];

/// A pause is slept in steps of so much, so that a signal is soon heard.
const STEP: Duration = Duration::from_millis(50);

/// What is sent, in which order, how fast.
#[derive(Clone, Debug)]
pub struct Options {
    /// How posts are chosen.
    pub order: Order,
    /// Equal seeds draw equal posts and pauses.
    pub seed: u64,
    /// At most so many posts; none = until they end, or for ever.
    pub count: Option<u64>,
    /// How fast.
    pub pace: Pace,
    /// Which records of a post are sent, one after the other.
    pub streams: Vec<Stream>,
    /// Whether a line on the terminal tells how far it is.
    pub progress: bool,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Posts.
    pub posts: u64,
    /// Draws that no post was there for.
    pub missing: u64,
    /// Records of pin, geo, user.
    pub records: [u64; 3],
    /// A signal ended it.
    pub stopped: bool,
}

impl Sent {
    /// The records of all streams.
    pub fn sum(&self) -> u64 {
        self.records.iter().sum()
    }
}

/// Sends until the posts end, so many were sent, nobody wants more, or a signal comes.
pub fn run(
    feed: &mut dyn Feed,
    target: &mut dyn Target,
    options: &Options,
    stop: &Stop,
) -> Result<Sent, Failure> {
    let posts = feed.posts();
    let draws = Draws::new(options.order, options.seed, posts);
    let most = options.count.unwrap_or(u64::MAX);
    let ends = options.order == Order::Sequence;
    let total = options.count.into_iter().chain(posts.filter(|_| ends)).min();
    let mut progress = Progress::new(options.progress, total);
    let mut pacer = Pacer::new(options.pace, options.seed);
    let mut sent = Sent::default();
    let mut post = Post::default();
    for draw in draws.take(usize::try_from(most).unwrap_or(usize::MAX)) {
        let due = pacer.due(sent.sum(), draw.sleep_seconds);
        if !wait(due, target, stop)? {
            break;
        }
        if !feed.fetch(draw.place, &mut post)? {
            sent.missing += 1;
        } else if send(&post, target, options, &mut sent)? {
            sent.posts += 1;
        } else {
            break;
        }
        progress.update(&sent);
    }
    progress.finish();
    sent.records = target.finish()?;
    sent.stopped = stop.asked();
    Ok(sent)
}

/// Says something to who watches: standard output is for the records.
pub fn tell(what: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(std::io::stderr(), "pinflow: {what}");
}

/// Sends a post's records; says whether anybody wants more.
fn send(
    post: &Post,
    target: &mut dyn Target,
    options: &Options,
    sent: &mut Sent,
) -> Result<bool, Failure> {
    for stream in &options.streams {
        let Some(bytes) = post.record(*stream) else { continue };
        if !target.send(Record { stream: *stream, index: post.index, bytes })? {
            return Ok(false);
        }
        sent.records[*stream as usize] += 1;
    }
    Ok(true)
}

/// Waits until something is due; says whether it is to be sent, which it is not after a signal.
fn wait(due: Option<Instant>, target: &mut dyn Target, stop: &Stop) -> Result<bool, Failure> {
    while let Some(due) = due {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || stop.asked() {
            break;
        }
        target.idle(left.min(STEP))?;
    }
    Ok(!stop.asked())
}
