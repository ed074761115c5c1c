//! Dead letters to a topic too: one thread for each source that names a topic reads the durable
//! letters of the state and sends them there.
//!
//! Promises: at least once. A letter is sent only once the cut that holds it is durable; how far
//! the sending has come is part of the next cut, so after a crash what was sent since is sent
//! again, with the same key. Nothing waits for it: while the brokers are away letters stay on the
//! disk, that is said in the status, and they are sent when the brokers are back.
//! Limits: `WINDOW` bytes of letters are in memory and on their way at a time.

mod topic;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};

use self::topic::{Topic, Undelivered};
use crate::config::Kafka;
use crate::engine::clock::wall;
use crate::store::StoreError;
use crate::store::dead::{Extent, Letter, stretch};
use crate::store::disk::Disk;
use crate::telemetry::status::{Sending, Trouble};

pub use self::topic::{ARRIVAL, REASON, RULED, STATE, TRUNCATED, id_of_key, key};

/// Bytes of letters that are sent at a time.
const WINDOW: usize = 1 << 20;
/// How often it looks for letters where none wait.
const LOOK: Duration = Duration::from_millis(100);
/// How long it waits after a failure.
const RETRY: Duration = Duration::from_secs(1);
/// The end waits for letters that are not delivered yet as long as some are delivered within so
/// long.
const PARTING: Duration = Duration::from_secs(10);

/// What letters are sent of, and where to.
#[derive(Clone)]
pub struct Route {
    /// The source whose letters they are.
    pub source: String,
    /// Its brokers.
    pub kafka: Kafka,
    /// The topic.
    pub topic: String,
    /// The state's id, which letters carry.
    pub state: String,
}

/// The disk that the letters are on.
#[derive(Clone)]
pub struct Place {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The state's folder.
    pub dir: PathBuf,
}

/// How far the sending has come, for all to see.
pub struct Sent {
    route: Route,
    /// Up to where letters may be sent.
    durable: Mutex<Extent>,
    /// Up to which byte of them they have been delivered.
    at: AtomicU64,
    letters: AtomicU64,
    failures: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
    stop: AtomicBool,
}

impl Sent {
    /// The source, and how the sending of its letters does.
    pub fn status(&self) -> (&str, Sending) {
        let waiting = self.durable.lock().len.saturating_sub(self.at.load(Relaxed));
        let sending = Sending {
            topic: self.route.topic.clone(),
            sent: self.letters.load(Relaxed),
            waiting_bytes: waiting,
            failures: self.failures.load(Relaxed),
            trouble: self.trouble.lock().clone(),
        };
        (&self.route.source, sending)
    }

    /// Notes what is wrong, and says it where it is news.
    fn troubled(&self, error: String) {
        let mut trouble = self.trouble.lock();
        if trouble.as_ref().is_none_or(|t| t.error != error) {
            let (source, topic) = (&*self.route.source, &*self.route.topic);
            if trouble.is_none() {
                warn!(source, topic, error, "dead letters cannot be sent; it is tried again");
            }
            let hint = "see that the brokers and the topic are there and that we may write to it; \
                        the letters stay on the disk and are sent then";
            *trouble = Some(Trouble { error, hint: hint.into(), at: wall() });
        }
    }

    fn well(&self) {
        if self.trouble.lock().take().is_some() {
            let (source, topic) = (&*self.route.source, &*self.route.topic);
            info!(source, topic, "dead letters are sent again");
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// The thread that sends the letters of a source.
pub struct Outlet {
    sent: Arc<Sent>,
    thread: JoinHandle<()>,
}

/// Under which name the place up to which letters were sent is kept: another topic gets them all.
pub fn name(route: &Route) -> String {
    format!("{}>{}", route.source, route.topic)
}

impl Outlet {
    /// Goes on at a byte of the letters of a state.
    pub fn start(
        route: Route,
        place: Place,
        durable: Extent,
        at: u64,
    ) -> Result<Self, std::io::Error> {
        let sent = Arc::new(Sent {
            route,
            durable: Mutex::new(durable),
            at: AtomicU64::new(at),
            letters: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            trouble: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let mut sender = Sender { sent: sent.clone(), place, topic: None, most: topic::MOST };
        let thread = std::thread::Builder::new().name(format!("letters {}", sent.route.source));
        let thread = thread.spawn(move || {
            while !sender.sent.stopped() {
                sender.turn();
            }
        })?;
        Ok(Outlet { sent, thread })
    }

    /// What others see of it.
    pub fn sent(&self) -> Arc<Sent> {
        self.sent.clone()
    }

    /// Its name in the mark.
    pub fn name(&self) -> String {
        name(&self.sent.route)
    }

    /// Up to which byte letters have been delivered.
    pub fn at(&self) -> u64 {
        self.sent.at.load(Relaxed)
    }

    /// Letters up to there are durable, and so is that.
    pub fn durable(&self, extent: Extent) {
        *self.sent.durable.lock() = extent;
        self.thread.thread().unpark();
    }

    /// The end: waits for what is not delivered yet as long as that goes on.
    pub fn finish(self) -> u64 {
        let wanted = self.sent.durable.lock().len;
        let (mut seen, mut since) = (self.at(), Instant::now());
        while self.at() < wanted && since.elapsed() < PARTING && !self.thread.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
            if self.at() != seen {
                (seen, since) = (self.at(), Instant::now());
            }
        }
        self.sent.stop.store(true, Relaxed);
        self.thread.thread().unpark();
        let at = self.at();
        if at < wanted {
            let (source, topic) = (&*self.sent.route.source, &*self.sent.route.topic);
            let bytes = wanted - at;
            warn!(source, topic, bytes, "dead letters wait on the disk; the next start sends them");
        }
        // A panic of it has been printed.
        let _ = self.thread.join();
        at
    }
}

/// What the thread has.
struct Sender {
    sent: Arc<Sent>,
    place: Place,
    topic: Option<Topic>,
    /// A larger payload is cut before it is sent; bytes.
    most: usize,
}

impl Sender {
    /// Sends the next letters, or waits.
    fn turn(&mut self) {
        let (extent, at) = (*self.sent.durable.lock(), self.sent.at.load(Relaxed));
        if at >= extent.len {
            std::thread::park_timeout(LOOK);
            return;
        }
        let lines = match self.read(extent, at) {
            Ok(lines) => lines,
            // The letters have moved to another file meanwhile.
            Err(_) if self.sent.durable.lock().n != extent.n => return,
            Err(error) => return self.failed(error.to_string()),
        };
        let end = lines.last().map_or(extent.len, |line| line.1);
        let source = &self.sent.route.source;
        let mine = lines.into_iter().filter_map(|line| line.0).filter(|l| l.source == *source);
        let mine: Vec<Letter> = mine.collect();
        if !mine.is_empty() && !self.deliver(&mine) {
            return;
        }
        self.sent.letters.fetch_add(mine.len() as u64, Relaxed);
        self.sent.at.store(end, Relaxed);
    }

    fn read(&self, extent: Extent, at: u64) -> Result<Vec<(Option<Letter>, u64)>, StoreError> {
        stretch(&*self.place.disk, &self.place.dir, extent, at, WINDOW)
    }

    /// Whether letters have been delivered, all of them.
    fn deliver(&mut self, letters: &[Letter]) -> bool {
        let topic = match self.topic.take() {
            Some(topic) => Ok(topic),
            None => Topic::open(&self.sent.route, self.most),
        };
        let mut topic = match topic {
            Ok(topic) => topic,
            Err(what) => {
                self.failed(what);
                return false;
            }
        };
        let silent = |what| self.sent.troubled(what);
        match topic.deliver(letters, &self.sent.stop, silent) {
            Ok(()) => {
                self.topic = Some(topic);
                self.sent.well();
                return true;
            }
            Err(Undelivered::Stopped) => {}
            // It is tried again with a producer that knows nothing of this failure.
            Err(Undelivered::TooLarge) if self.most > topic::LEAST => {
                self.most /= 2;
                let (topic, most) = (&*self.sent.route.topic, self.most);
                warn!(topic, most, "the topic takes no letters as large; they are cut for it");
            }
            Err(Undelivered::TooLarge) => self.failed("a letter is too large".into()),
            Err(Undelivered::Failed(what)) => self.failed(what),
        }
        false
    }

    fn failed(&self, what: String) {
        self.sent.failures.fetch_add(1, Relaxed);
        self.sent.troubled(what);
        let until = Instant::now() + RETRY;
        while !self.sent.stopped() && Instant::now() < until {
            std::thread::park_timeout(LOOK);
        }
    }
}
