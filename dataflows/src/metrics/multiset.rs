//! Multisets that answer without being walked: exact quantiles by a cursor that moves with the
//! changes, the greatest with what comes with it, the most frequent.
//!
//! Promises: the answers are those of a recomputation from nothing (tested so); a change costs
//! O(log n) on average, and is put aside until there are many or somebody asks; an answer costs the
//! steps that its cursor has to move or, of the greatest, now and then a pass over the rest.
//! An own structure because differential's `reduce` hands its closure every value of a changed
//! key: a median over 100 000 values would be sorted anew at each change.

mod ranked;
mod sorted;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use super::plan::Order;
use super::value::{NULL, Value};
use crate::symbol::Sym;
use ranked::Ranked;
use sorted::Sorted;

/// A cell that orders as what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// A number.
    Int(i64),
    /// A text.
    Text(Sym),
}

impl Ordered {
    fn new(cell: i64, text: bool) -> Self {
        if text { Ordered::Text(Sym::from_cell(cell)) } else { Ordered::Int(cell) }
    }

    /// The value.
    pub fn value(self) -> Value {
        match self {
            Ordered::Int(NULL) => Value::Null,
            Ordered::Int(v) => Value::Int(v.into()),
            Ordered::Text(s) => Value::Text(s),
        }
    }
}

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (Ordered::Int(a), Ordered::Int(b)) => a.cmp(b),
            (Ordered::Text(a), Ordered::Text(b)) => a.cmp(b),
            (Ordered::Int(_), Ordered::Text(_)) => std::cmp::Ordering::Less,
            (Ordered::Text(_), Ordered::Int(_)) => std::cmp::Ordering::Greater,
        }
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// A multiset in one of the orders.
#[derive(Debug)]
pub enum Multiset {
    /// By value.
    Values(Values),
    /// By value and what comes with it, as cells; the flag says that the latter is text. Texts are
    /// compared only among those tied for the answer.
    Ranked(Ranked, bool),
    /// By frequency.
    Often(Often),
}

impl Multiset {
    /// An empty one.
    pub fn new(order: Order) -> Self {
        match order {
            Order::Value => Multiset::Values(Values::default()),
            Order::Ranked { text } => Multiset::Ranked(Ranked::default(), text),
            Order::Often { text } => Multiset::Often(Often { text, ..Often::default() }),
        }
    }

    /// Asks the processor for members that a change looks at first, where they are few.
    #[inline]
    pub fn near(&self) {
        if let Multiset::Values(v) = self {
            v.counts.near();
        }
    }

    /// Adds `diff` (which may be negative) of a value.
    pub fn update(&mut self, value: i64, with: i64, diff: i64) {
        match self {
            Multiset::Values(v) => v.update(value, diff),
            Multiset::Ranked(list, _) => list.add((value, with), diff),
            Multiset::Often(o) => o.update(value, diff),
        }
    }

    /// How many distinct members there are, if the order is by frequency.
    pub fn distinct(&self) -> usize {
        match self {
            Multiset::Often(o) => o.counts.len(),
            _ => 0,
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        match self {
            Multiset::Values(v) => v.total == 0,
            Multiset::Ranked(list, _) => list.is_empty(),
            Multiset::Often(o) => o.counts.is_empty(),
        }
    }

    /// Entries held: distinct members, and changes that wait to become some.
    pub fn held(&self) -> usize {
        match self {
            Multiset::Values(v) => v.counts.held(),
            Multiset::Ranked(list, _) => list.held(),
            Multiset::Often(o) => o.counts.len(),
        }
    }

    /// The members by value, if that is the order.
    pub fn values(&mut self) -> Option<&mut Values> {
        match self {
            Multiset::Values(v) => Some(v),
            _ => None,
        }
    }

    /// The greatest value with what comes with it: the first of the tied, or all of them.
    pub fn argmax(&mut self, all: bool) -> Vec<(Value, Value)> {
        let Multiset::Ranked(list, text) = self else { return Vec::new() };
        let Some((greatest, tied)) = list.greatest() else { return Vec::new() };
        let tied = tied.map(|with| Ordered::new(with, *text));
        let mut tied: Vec<Ordered> =
            if all { tied.collect() } else { tied.min().into_iter().collect() };
        tied.sort();
        tied.into_iter().map(|w| (w.value(), Value::Int(greatest.into()))).collect()
    }

    /// The `k` most frequent values with their counts, and those tied with the last if `all`.
    pub fn top(&mut self, k: usize, all: bool) -> Vec<(Value, Value)> {
        match self {
            Multiset::Often(o) => o.top(k, all),
            _ => Vec::new(),
        }
    }
}

/// Numbers with their counts, and a cursor that remembers a rank.
#[derive(Debug, Default)]
pub struct Values {
    counts: Sorted<i64>,
    total: i64,
    /// A value, and how many members are less than it.
    cursor: Option<(i64, i64)>,
}

impl Values {
    fn update(&mut self, value: i64, diff: i64) {
        self.counts.add(value, diff);
        self.total += diff;
        if let Some((at, below)) = &mut self.cursor
            && value < *at
        {
            *below += diff;
        }
    }

    /// The least value.
    pub fn min(&mut self) -> Value {
        self.counts.settled().first().map_or(Value::Null, |(v, _)| Value::Int(v.into()))
    }

    /// The greatest value.
    pub fn max(&mut self) -> Value {
        self.counts.settled().last().map_or(Value::Null, |(v, _)| Value::Int(v.into()))
    }

    /// The member of a rank, counted from 0. The cursor moves there.
    fn at(&mut self, rank: i64) -> Option<i64> {
        if rank < 0 || rank >= self.total {
            return None;
        }
        let counts = self.counts.settled();
        let (mut at, mut below) = match self.cursor {
            Some(c) => c,
            None => (counts.first()?.0, 0),
        };
        while below > rank {
            let (v, n) = counts.before(at)?;
            (at, below) = (v, below - n);
        }
        // The value of the cursor may be gone; those above it are walked.
        for (v, n) in counts.from(at) {
            at = v;
            if rank < below + n {
                break;
            }
            below += n;
        }
        self.cursor = Some((at, below));
        Some(at)
    }

    /// The quantile `num / den`: the smallest value whose rank reaches q*n; or interpolated at
    /// q*(n-1), exactly.
    pub fn quantile(&mut self, num: u64, den: u64, interpolated: bool) -> Value {
        if self.total <= 0 {
            return Value::Null;
        }
        let (num, den, n) = (i128::from(num), i128::from(den), i128::from(self.total));
        if !interpolated {
            let rank = (num * n + den - 1) / den - 1;
            let found = self.at(rank.clamp(0, n - 1) as i64);
            return found.map_or(Value::Null, |v| Value::Int(v.into()));
        }
        let (rank, rest) = (num * (n - 1) / den, num * (n - 1) % den);
        let Some(low) = self.at(rank as i64).map(i128::from) else { return Value::Null };
        if rest == 0 {
            return Value::Int(low);
        }
        let high = self.at(rank as i64 + 1).map_or(low, i128::from);
        let over = low * den + rest * (high - low);
        if over % den == 0 { Value::Int(over / den) } else { Value::Ratio(over, den) }
    }
}

/// Values with their counts; the order by count is brought up to date when it is asked for, so
/// that a value that changed often costs once.
#[derive(Debug, Default)]
pub struct Often {
    text: bool,
    counts: FxHashMap<i64, i64>,
    /// By count descending, then by value; as of when it was last asked for.
    order: BTreeSet<(Reverse<i64>, Ordered)>,
    /// Values changed since, with their counts in `order`.
    stale: FxHashMap<i64, i64>,
    /// Whether `order` has ever been asked for.
    asked: bool,
}

impl Often {
    fn update(&mut self, value: i64, diff: i64) {
        let count = self.counts.entry(value).or_insert(0);
        if self.asked {
            self.stale.entry(value).or_insert(*count);
        }
        *count += diff;
        if *count == 0 {
            self.counts.remove(&value);
        }
    }

    fn top(&mut self, k: usize, all: bool) -> Vec<(Value, Value)> {
        let text = self.text;
        if self.asked {
            for (value, was) in self.stale.drain() {
                let cell = Ordered::new(value, text);
                self.order.remove(&(Reverse(was), cell));
                if let Some(count) = self.counts.get(&value) {
                    self.order.insert((Reverse(*count), cell));
                }
            }
        } else {
            let all = self.counts.iter().map(|(v, n)| (Reverse(*n), Ordered::new(*v, text)));
            self.order = all.collect();
            self.asked = true;
        }
        let last = self.order.iter().nth(k.saturating_sub(1)).map(|(n, _)| n.0);
        self.order
            .iter()
            .enumerate()
            .take_while(|(i, (n, _))| *i < k || (all && Some(n.0) == last))
            .map(|(_, (n, v))| (v.value(), Value::Int(n.0.into())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn naive(values: &[i64], num: usize, den: usize, interpolated: bool) -> Value {
        let n = values.len();
        if n == 0 {
            return Value::Null;
        }
        if !interpolated {
            return Value::Int(values[((num * n).div_ceil(den)).max(1) - 1].into());
        }
        let (at, rest) = (num * (n - 1) / den, num * (n - 1) % den);
        let (low, high) = (i128::from(values[at]), i128::from(values[(at + 1).min(n - 1)]));
        let over = low * den as i128 + rest as i128 * (high - low);
        let den = den as i128;
        if over % den == 0 { Value::Int(over / den) } else { Value::Ratio(over, den) }
    }

    proptest! {
        #[test]
        fn equals_a_recomputation(
            changes in prop::collection::vec((0i64..12, any::<bool>()), 0..200),
        ) {
            let mut list: Vec<i64> = Vec::new();
            let mut set = Multiset::new(Order::Value);
            let mut often = Multiset::new(Order::Often { text: false });
            let mut ranked = Multiset::new(Order::Ranked { text: false });
            for (n, (v, add)) in changes.into_iter().enumerate() {
                let diff = match list.iter().position(|x| *x == v) {
                    Some(at) if !add => { list.remove(at); -1 }
                    _ => { list.push(v); 1 }
                };
                list.sort_unstable();
                set.update(v, NULL, diff);
                often.update(v, NULL, diff);
                ranked.update(v / 2, v, diff);
                let values = set.values().expect("by value");
                for (num, den) in [(1, 2), (9, 10), (1, 4), (1, 1)] {
                    for interpolated in [false, true] {
                        let got = values.quantile(num, den, interpolated);
                        let (num, den) = (num as usize, den as usize);
                        prop_assert_eq!(got, naive(&list, num, den, interpolated));
                    }
                }
                if n % 3 == 0 {
                    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
                    list.iter().for_each(|v| *counts.entry(*v).or_default() += 1);
                    let mut order: Vec<(i64, i64)> = counts.into_iter().collect();
                    order.sort_by_key(|(v, n)| (-n, *v));
                    let int = |n: &i64| Value::Int((*n).into());
                    let show = |(v, n): &(i64, i64)| (int(v), int(n));
                    let top: Vec<_> = order.iter().take(3).map(show).collect();
                    prop_assert_eq!(often.top(3, false), top);
                    let best = list.iter().map(|v| v / 2).max();
                    let least = list.iter().filter(|v| Some(**v / 2) == best).min();
                    let expect: Vec<_> = least.map(|v| (Value::Int((*v).into()),
                        Value::Int((v / 2).into()))).into_iter().collect();
                    prop_assert_eq!(ranked.argmax(false), expect);
                }
            }
        }
    }
}
