//! Starting the threads: workers, keeper, signals.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use dataflows::decode::DecodeOptions;
use dataflows::graph::{self, Restore};
use dataflows::metrics::plan::Plan;
use parking_lot::Mutex;

use super::EngineError;
use super::keeper::{Keeper, Task};
use super::messages::{Event, Shared, ToWorker};
use super::worker::{Bounds, Feeder};
use crate::telemetry::process;

/// Tasks that may wait for the keeper; beyond them the coordinator waits, and with it everyone.
const TASKS: usize = 64;

/// What every worker is started with.
pub struct Setup {
    /// The plan.
    pub plan: Arc<Plan>,
    /// How records are decoded.
    pub options: DecodeOptions,
    /// What the state holds.
    pub restore: Arc<Restore>,
    /// What all see.
    pub shared: Arc<Shared>,
    /// Bounds of a worker's share of an epoch.
    pub bounds: Bounds,
}

/// Running workers: a line to each, and what to join at the end.
pub struct Workers {
    /// Lines and threads, by number.
    pub lines: Vec<(Sender<ToWorker>, Thread)>,
    /// Joins when all have exited.
    pub guards: timely::communication::WorkerGuards<()>,
}

/// Starts the workers; returns when all have taken back their share of the state.
pub fn workers(n: usize, setup: Setup, events: &Sender<Event>) -> Result<Workers, EngineError> {
    #[allow(clippy::disallowed_methods, reason = "ticks of at most UNDER_WAY epochs, and lookups")]
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..n).map(|_| unbounded()).unzip();
    let receivers: Mutex<Vec<Option<Receiver<ToWorker>>>> =
        Mutex::new(receivers.into_iter().map(Some).collect());
    let (ready, started) = bounded(n);
    let events = events.clone();
    // Each worker lets go of the stored blocks when it has taken its share.
    let restores = Mutex::new(vec![Some(setup.restore); n]);
    let (plan, options, shared, bounds) = (setup.plan, setup.options, setup.shared, setup.bounds);
    let config = if n == 1 { timely::Config::thread() } else { timely::Config::process(n) };
    let guards = timely::execute(config, move |worker| {
        let number = worker.index();
        let inbox = receivers.lock()[number].take();
        let work = AssertUnwindSafe(|| {
            let restore = restores.lock()[number].take().unwrap_or_default();
            let built = graph::build(worker, &plan, &options, &restore);
            drop(restore);
            let (handles, inbox) = match (built, inbox) {
                (Ok(handles), Some(inbox)) => (handles, inbox),
                (Err(error), _) => {
                    let _ = ready.send((number, Err(error)));
                    return;
                }
                (Ok(_), None) => return,
            };
            let _ = ready.send((number, Ok(thread::current())));
            let (shared, events) = (shared.clone(), events.clone());
            Feeder::new(number, handles, shared, inbox, events, bounds).run(worker);
        });
        if let Err(panic) = catch_unwind(work) {
            let _ = events.send(Event::Died(format!("worker {number}: {}", text(&*panic))));
        }
    })
    .map_err(EngineError::Died)?;
    let mut threads = Vec::new();
    for _ in 0..n {
        let died = |_| EngineError::Died("a worker while it started".into());
        let thread = started.recv().map_err(died).and_then(|(number, t)| Ok((number, t?)));
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                // Workers without a line end, and the guards wait for them.
                drop(senders);
                return Err(error);
            }
        }
    }
    threads.sort_by_key(|(number, _)| *number);
    let lines = senders.into_iter().zip(threads.into_iter().map(|(_, t)| t)).collect();
    Ok(Workers { lines, guards })
}

/// What a panic said.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into())
}

/// Starts the keeper.
pub fn keeper(
    keeper: Keeper,
    events: &Sender<Event>,
) -> Result<(Sender<Task>, JoinHandle<()>), EngineError> {
    let (sender, tasks) = bounded(TASKS);
    let events = events.clone();
    let run = move || {
        let died = events.clone();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| keeper.run(tasks, events))) {
            let _ = died.send(Event::Died(format!("keeper: {}", text(&*panic))));
        }
    };
    let thread = thread::Builder::new().name("keeper".into()).spawn(run);
    Ok((sender, thread.map_err(|e| EngineError::Died(format!("starting the keeper: {e}")))?))
}

/// Turns SIGTERM, SIGINT and SIGHUP (the terminal was closed) into an orderly stop; the second one
/// ends the process at once. A SIGHUP that is to be ignored, as under `nohup`, stays ignored.
pub fn signals(events: &Sender<Event>) -> Result<(), EngineError> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |e: std::io::Error| EngineError::Died(format!("listening for signals: {e}"));
    let hangs_up = (!process::ignores(SIGHUP)).then_some(SIGHUP);
    let stops = [SIGTERM, SIGINT].into_iter().chain(hangs_up);
    let mut signals = signal_hook::iterator::Signals::new(stops).map_err(failed)?;
    let events = events.clone();
    let listen = move || {
        for (n, signal) in signals.forever().enumerate() {
            // Nothing is logged here: that may wait for whoever reads it.
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("a signal");
            if n > 0 || events.send(Event::Stop(name)).is_err() {
                std::process::exit(128 + signal);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).map(drop).map_err(failed)
}
