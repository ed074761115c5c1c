//! What the world may see: the results of all metrics as of one frontier.
//!
//! Promises: an epoch becomes visible all at once, for all metrics; a [`Reading`] shows one
//! frontier and never changes; taking one holds up the writer for a reference count per few
//! groups, never for the rendering. Every subscriber sees its snapshot and then each change after
//! it, in order, none twice; one that is too slow is cut off and told so.
//! Limits: a subscriber may fall behind by [`FEED_EVENTS`] epochs and [`FEED_CHANGES`] groups.

pub mod answer;
pub mod edges;
mod feed;
pub mod print;
mod progress;
pub mod rank;
#[cfg(test)]
pub mod samples;
mod table;
mod take;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dataflows::metrics::changes::Changes;
use dataflows::metrics::schema::Schema;
use parking_lot::{Mutex, RwLock};

pub use dataflows::metrics::packed::Row;
pub use feed::{Event, FEED_CHANGES, FEED_EVENTS, Feed};
pub use progress::{Place, Progress};
pub use table::Table;

/// Up to where the published results go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    /// The number of starts on this state.
    pub run: u64,
    /// The epoch.
    pub epoch: u64,
    /// The clock, microseconds since 1970-01-01 UTC.
    pub now: i64,
    /// A bounded run has come to its end: windows that slide over arrivals go up to the least
    /// multiple beyond `now`.
    pub ended: bool,
}

/// Whether results may be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not yet: after a restart the sources' ends of the start have not been reached.
    #[default]
    Withheld,
    /// Yes, though those ends have not been reached; answers say so.
    CatchingUp,
    /// Yes.
    Live,
}

/// What readers see, whole.
struct Shown {
    frontier: Frontier,
    state: State,
    progress: Arc<Progress>,
    tables: Vec<Table>,
}

/// The published results.
pub struct Published {
    schemas: Arc<[Schema]>,
    shown: RwLock<Shown>,
    /// By metric. Locked before `shown`, so that a subscriber misses nothing.
    feeds: Mutex<Vec<Vec<feed::Sender>>>,
    epochs: AtomicU64,
    changes: AtomicU64,
    lagged: AtomicU64,
}

/// A consistent picture of one metric.
#[derive(Clone)]
pub struct Reading {
    /// All schemas; [`Reading::schema`] is this metric's.
    schemas: Arc<[Schema]>,
    metric: usize,
    /// Up to where it goes.
    pub frontier: Frontier,
    /// Whether it may be seen.
    pub state: State,
    /// Positions and tallies at that frontier.
    pub progress: Arc<Progress>,
    /// The rows.
    pub table: Table,
}

/// A consistent picture of everything.
pub struct Picture {
    /// Up to where it goes.
    pub frontier: Frontier,
    /// Whether results may be seen.
    pub state: State,
    /// Positions and tallies at that frontier.
    pub progress: Arc<Progress>,
    /// The metrics, in the order of the plan.
    pub readings: Vec<Reading>,
}

/// Tells empty tables how many groups come to each.
fn expect(tables: &mut [Table], lists: &[Changes]) {
    if tables.iter().all(|table| table.groups() > 0) {
        return;
    }
    let mut of_metric = vec![0; tables.len()];
    for (metric, part) in lists.iter().flat_map(Changes::parts) {
        of_metric.get_mut(metric).into_iter().for_each(|n| *n += part.with_rows());
    }
    tables.iter_mut().zip(of_metric).for_each(|(table, changes)| table.expect(changes));
}

impl Reading {
    /// The shape of the rows.
    pub fn schema(&self) -> &Schema {
        &self.schemas[self.metric]
    }
}

impl Published {
    /// Nothing yet, withheld, for metrics of these schemas in the order of the plan.
    pub fn new(schemas: Vec<Schema>) -> Self {
        let tables = schemas.iter().map(Table::new).collect();
        let feeds = schemas.iter().map(|_| Vec::new()).collect();
        Published {
            schemas: schemas.into(),
            shown: RwLock::new(Shown {
                frontier: Frontier::default(),
                state: State::default(),
                progress: Arc::default(),
                tables,
            }),
            feeds: Mutex::new(feeds),
            epochs: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            lagged: AtomicU64::new(0),
        }
    }

    /// The schemas, in the order of the plan.
    pub fn schemas(&self) -> &[Schema] {
        &self.schemas
    }

    /// The place of a metric in the plan.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.schemas.iter().position(|s| s.name == name)
    }

    /// Shows an epoch: all changes, the frontier, positions and tallies at once.
    pub fn apply(&self, frontier: Frontier, progress: Arc<Progress>, changes: Changes) {
        self.apply_lists(frontier, progress, vec![changes], false);
    }

    /// The same where the changes come in several lists, a worker's each, no group twice.
    /// Nothing is expected to follow the `last`, though it may.
    pub fn apply_lists(
        &self,
        frontier: Frontier,
        progress: Arc<Progress>,
        mut lists: Vec<Changes>,
        last: bool,
    ) {
        let mut feeds = self.feeds.lock();
        let followed = feeds.iter().any(|f| !f.is_empty());
        let count = lists.iter().map(Changes::len).sum::<usize>();
        {
            let mut shown = self.shown.write();
            shown.tables.iter_mut().for_each(Table::sort_out);
            if last {
                shown.tables.iter_mut().for_each(Table::list);
            } else {
                expect(&mut shown.tables, &lists);
            }
            if followed {
                let differing = |changes| take::differing(changes, &mut shown.tables);
                lists = lists.into_iter().map(differing).collect();
            } else {
                take::take_all(&mut shown.tables, std::mem::take(&mut lists));
            }
            shown.frontier = frontier;
            shown.progress = Arc::clone(&progress);
        }
        self.epochs.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(count as u64, Ordering::Relaxed);
        if followed {
            let lagged = feed::distribute(&mut feeds, frontier, &progress, &lists);
            self.lagged.fetch_add(lagged, Ordering::Relaxed);
        }
    }

    /// Says whether results may be seen.
    pub fn set_state(&self, state: State) {
        self.shown.write().state = state;
    }

    /// The frontier, whether results may be seen, and positions and tallies of that frontier.
    pub fn now(&self) -> (Frontier, State, Arc<Progress>) {
        let shown = self.shown.read();
        (shown.frontier, shown.state, Arc::clone(&shown.progress))
    }

    /// The frontier up to which every feed has been given what changed; none while an epoch is
    /// given, which nobody should wait for.
    pub fn given(&self) -> Option<Frontier> {
        let _feeds = self.feeds.try_lock()?;
        Some(self.shown.read().frontier)
    }

    /// Whether results may be seen.
    pub fn state(&self) -> State {
        self.shown.read().state
    }

    /// A picture of one metric, by its place in the plan.
    pub fn read(&self, metric: usize) -> Option<Reading> {
        let shown = self.shown.read();
        let table = shown.tables.get(metric)?.clone();
        Some(self.reading(&shown, metric, table))
    }

    /// A picture of everything at one frontier.
    pub fn read_all(&self) -> Picture {
        let shown = self.shown.read();
        let all = shown.tables.iter().enumerate();
        Picture {
            frontier: shown.frontier,
            state: shown.state,
            progress: Arc::clone(&shown.progress),
            readings: all.map(|(n, table)| self.reading(&shown, n, table.clone())).collect(),
        }
    }

    fn reading(&self, shown: &Shown, metric: usize, table: Table) -> Reading {
        Reading {
            schemas: Arc::clone(&self.schemas),
            metric,
            frontier: shown.frontier,
            state: shown.state,
            progress: Arc::clone(&shown.progress),
            table,
        }
    }

    /// A picture of a metric and, from there on, its changes.
    pub fn subscribe(&self, metric: usize) -> Option<(Reading, Feed)> {
        let mut feeds = self.feeds.lock();
        let reading = self.read(metric)?;
        let (sender, feed) = feed::pair();
        let list = feeds.get_mut(metric)?;
        list.retain(|f| !f.closed());
        list.push(sender);
        Some((reading, feed))
    }

    /// Epochs shown, changes in them, and subscribers cut off for being too slow.
    pub fn counts(&self) -> (u64, u64, u64) {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        (get(&self.epochs), get(&self.changes), get(&self.lagged))
    }
}
