//! Ordered multisets: a change, and the answer after it.

use dataflows::metrics::multiset::Multiset;
use dataflows::metrics::plan::Order;
use divan::Bencher;
use divan::counter::ItemsCount;

use super::rows::Random;

/// Changes a round.
const N: u64 = 1000;
/// Members: followers of so many distinct numbers, texts of so many.
const SIZES: [u64; 3] = [100, 10_000, 100_000];

fn filled(order: Order, distinct: u64, random: &mut Random) -> Multiset {
    let mut set = Multiset::new(order);
    for _ in 0..2 * distinct {
        set.update(random.below(distinct) as i64, 1, 1);
    }
    set
}

fn run(bencher: Bencher<'_, '_>, order: Order, distinct: u64, answer: fn(&mut Multiset)) {
    let mut random = Random::new(5);
    let mut set = filled(order, distinct, &mut random);
    answer(&mut set);
    bencher.counter(ItemsCount::new(N)).bench_local(|| {
        for _ in 0..N {
            let value = random.below(distinct) as i64;
            set.update(value, 1, 1);
            answer(&mut set);
            set.update(value, 1, -1);
        }
    });
}

#[divan::bench(args = SIZES)]
fn median(bencher: Bencher<'_, '_>, distinct: u64) {
    run(bencher, Order::Value, distinct, |set| {
        divan::black_box(set.values().map(|v| v.quantile(1, 2, false)));
    });
}

#[divan::bench(args = SIZES)]
fn top(bencher: Bencher<'_, '_>, distinct: u64) {
    run(bencher, Order::Often { text: false }, distinct, |set| {
        divan::black_box(set.top(1, false));
    });
}

#[divan::bench(args = SIZES)]
fn argmax(bencher: Bencher<'_, '_>, distinct: u64) {
    run(bencher, Order::Ranked { text: false }, distinct, |set| {
        divan::black_box(set.argmax(false));
    });
}
