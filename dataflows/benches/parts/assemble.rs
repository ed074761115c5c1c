//! Assembling: records to the slots of their indexes, and what changes of the groups by it.

use std::sync::Arc;

use dataflows::assemble::recs::{Filling, Recs};
use dataflows::assemble::{Assemble, Partitions};
use dataflows::metrics::declare::{
    Expr, Fact, Join, Key, Kind, Measure, Metric, Output, Ties, default_age_groups,
};
use dataflows::metrics::plan::Plan;
use dataflows::record::{Column, Decoded, Decoder, Origin, Rule, Rules, Stream};
use dataflows::sealed::Sealed;
use dataflows::tick::Tick;
use divan::Bencher;
use divan::counter::ItemsCount;

use super::rows::{Random, line};

/// Records an epoch.
const N: u64 = 4096;

/// Posts by country and category.
pub fn plan() -> Arc<Plan> {
    let key = |c: Column| Key { name: c.name().into(), expr: Expr::Column(c) };
    let count = Measure { name: "n".into(), returned: None, kind: Kind::Count, filter: vec![] };
    let metric = Metric {
        name: "posts".into(),
        meaning: String::new(),
        fact: Fact::Sides([true; 3]),
        join: Join::Newest,
        filter: vec![],
        keys: vec![key(Column::Country), key(Column::Category)],
        distinct: vec![],
        measures: vec![count],
        windows: vec![],
        retain: None,
        ties: Ties::First,
        keep_empty: false,
        export: 0,
        limit: None,
        output: Output::default(),
    };
    Arc::new(Plan::new(&[metric], &default_age_groups(), false))
}

/// Records of random indexes below a bound.
pub fn records(plan: &Plan, indexes: u64, random: &mut Random) -> Recs {
    let mut decoder = Decoder::new(Arc::new(Rules::default()));
    let mut out = Filling::new(0);
    for position in 0..N {
        let stream = (position % 3) as usize;
        let line = line(stream, random.below(indexes), random);
        let rule = Rule::Kind(Stream::ALL[stream]);
        decoder.decode(line.as_bytes(), rule, 0, true, |sub, decoded| {
            if let Decoded::Record(record) = decoded {
                let origin = Origin { arrived_at: 0, partition: 0, position, sub };
                out.push(&plan.layout, record, &origin);
            }
        });
    }
    out.take()
}

#[divan::bench(args = [10_000, 100_000, 1_000_000])]
fn epoch(bencher: Bencher<'_, '_>, indexes: u64) {
    let plan = plan();
    let mut random = Random::new(3);
    let epochs: Vec<Recs> = (0..16).map(|_| records(&plan, indexes, &mut random)).collect();
    let mut assemble = Assemble::new(plan, Partitions::default(), 1);
    let tick = Tick::default();
    let mut epoch = 0;
    bencher
        .counter(ItemsCount::new(N))
        .with_inputs(|| {
            epoch += 1;
            [epochs[epoch % epochs.len()].clone()]
        })
        .bench_local_values(|recs| {
            let mut sealed = Sealed::default();
            let combine = assemble.epoch(recs, &tick, &mut sealed);
            combine.drain(|update| {
                divan::black_box(update);
            });
        });
}
