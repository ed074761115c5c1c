//! What `scripts/instructions` counts under valgrind: decoding and assembling, the same records
//! every time. The argument says which; it prints how many records were measured.
//!
//! Only what [`measured`] calls is counted, so that making the input costs nothing.

#![allow(clippy::print_stdout)]

#[path = "../parts/assemble.rs"]
mod assemble;
#[path = "../parts/rows.rs"]
mod rows;

use std::hint::black_box;
use std::sync::Arc;

use dataflows::assemble::recs::Recs;
use dataflows::assemble::{Assemble, Partitions};
use dataflows::record::{Decoder, Rule, Rules, Stream};
use dataflows::sealed::Sealed;
use dataflows::tick::Tick;

/// Messages a stream.
const LINES: u64 = 1000;
/// Epochs that are assembled, over so many indexes.
const EPOCHS: u64 = 4;
const INDEXES: u64 = 4000;

fn main() {
    match std::env::args().skip(1).find(|a| !a.starts_with("--")).as_deref() {
        Some("decode") => decode(),
        Some("assemble") => assemble(),
        // `cargo test --benches` wants to know only whether it starts.
        _ => {}
    }
}

/// The only frame that is counted below.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

fn decode() {
    let mut random = rows::Random::new(7);
    let (mut block, mut lines) = (String::new(), Vec::new());
    for index in 0..LINES {
        for (stream, kind) in Stream::ALL.into_iter().enumerate() {
            let start = block.len();
            block.push_str(&rows::line(stream, index, &mut random));
            lines.push((start..block.len(), Rule::Kind(kind)));
            block.push('\n');
        }
    }
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let mut all = || {
        let mut messages = decoder.messages(block.as_bytes());
        for (line, rule) in &lines {
            messages.decode(line.clone(), *rule, 0, true, |_, decoded| {
                black_box(&decoded);
            });
        }
    };
    // Once before, for what is made at first use.
    all();
    measured(&mut all);
    print!("{}", lines.len());
}

fn assemble() {
    let plan = assemble::plan();
    let mut random = rows::Random::new(3);
    let epochs: Vec<_> =
        (0..EPOCHS).map(|_| assemble::records(&plan, INDEXES, &mut random)).collect();
    let records: usize = epochs.iter().map(Recs::len).sum();
    let mut table = Assemble::new(plan, Partitions::default(), 1);
    let mut epochs = Some(epochs);
    measured(&mut || {
        for records in epochs.take().into_iter().flatten() {
            let tick = Tick::default();
            let mut sealed = Sealed::default();
            let combine = table.epoch([records], &tick, &mut sealed);
            combine.drain(|update| {
                black_box(update);
            });
        }
    });
    print!("{records}");
}
