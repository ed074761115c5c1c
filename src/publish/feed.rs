//! The change feeds: one bounded queue a subscriber.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dataflows::metrics::changes::Changes;
use dataflows::metrics::packed::GroupRows;
use dataflows::metrics::value::{GroupKey, Values};
use tokio::sync::mpsc;

use super::{Frontier, Progress};

/// A subscriber may fall behind by so many epochs: some seconds at the shortest epoch.
pub const FEED_EVENTS: usize = 1024;
/// And by so many changed groups, which bounds its memory to some tens of MiB.
pub const FEED_CHANGES: usize = 200_000;

/// What changed of one metric in one epoch.
#[derive(Debug)]
pub struct Event {
    /// Up to where results go with it.
    pub frontier: Frontier,
    /// Positions and tallies of that frontier.
    pub progress: Arc<Progress>,
    /// The groups that changed, with their rows now; none = it is gone.
    pub changes: Vec<(GroupKey, Vec<Values>)>,
}

/// The receiving end of a subscription.
pub struct Feed {
    events: mpsc::Receiver<Arc<Event>>,
    pending: Arc<AtomicUsize>,
}

pub(super) struct Sender {
    events: mpsc::Sender<Arc<Event>>,
    pending: Arc<AtomicUsize>,
}

impl Feed {
    /// The next event; none once the subscriber was too slow and has taken what was queued.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let event = self.events.recv().await;
        self.taken(event)
    }

    /// The next event if one is there.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        let event = self.events.try_recv().ok();
        self.taken(event)
    }

    fn taken(&self, event: Option<Arc<Event>>) -> Option<Arc<Event>> {
        if let Some(e) = &event {
            self.pending.fetch_sub(e.changes.len(), Ordering::Relaxed);
        }
        event
    }
}

impl Sender {
    pub fn closed(&self) -> bool {
        self.events.is_closed()
    }

    fn send(&self, event: &Arc<Event>) -> bool {
        let n = event.changes.len();
        // One event may be larger than the bound; only what piles up behind it is too much.
        let before = self.pending.fetch_add(n, Ordering::Relaxed);
        before <= FEED_CHANGES && self.events.try_send(Arc::clone(event)).is_ok()
    }
}

pub(super) fn pair() -> (Sender, Feed) {
    let (tx, rx) = mpsc::channel(FEED_EVENTS);
    let pending = Arc::<AtomicUsize>::default();
    (Sender { events: tx, pending: Arc::clone(&pending) }, Feed { events: rx, pending })
}

/// Sends an epoch's changes to those who asked for them; says how many were too slow.
pub(super) fn distribute(
    feeds: &mut [Vec<Sender>],
    frontier: Frontier,
    progress: &Arc<Progress>,
    lists: &[Changes],
) -> u64 {
    let mut by_metric: Vec<Vec<(GroupKey, Vec<Values>)>> = Vec::new();
    by_metric.resize_with(feeds.len(), Vec::new);
    for (metric, part) in lists.iter().flat_map(Changes::parts) {
        if feeds.get(metric).is_some_and(|f| !f.is_empty()) {
            let rows = |group: GroupRows<'_>| group.rows().map(|row| row.values()).collect();
            by_metric[metric].extend(part.groups().map(|group| (group.key(), rows(group))));
        }
    }
    let mut lagged = 0;
    for (senders, changes) in feeds.iter_mut().zip(by_metric) {
        if changes.is_empty() {
            continue;
        }
        let event = Arc::new(Event { frontier, progress: Arc::clone(progress), changes });
        senders.retain(|sender| {
            let kept = sender.send(&event);
            lagged += u64::from(!kept && !sender.closed());
            kept
        });
    }
    lagged
}
