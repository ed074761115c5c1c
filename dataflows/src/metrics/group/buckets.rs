//! What arrived in each bucket, by group keys: from here it goes into the windows that slide over
//! arrivals, and out of them again. They slide when they are shown: while a backlog is read, and
//! nobody is shown anything, what arrives is added up once and not in each window.
//!
//! Promises: a bucket holds each group's sums once; what its multisets gained and lost is put
//! together whenever there is twice as much of it as was left the last time. A bucket leaves
//! memory when no window reaches it any more.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use prefetch_index::prefetch_index;

use super::super::plan::Node;
use super::super::update::{Member, Updates, slides};
use super::super::value::NULL;
use super::super::window::Edges;
use super::super::words::{HEAD, Words, equal, hash, head, start};
use super::live::Live;
use crate::tick::Tick;

/// So many shares are looked up at a time.
const AHEAD: usize = 64;

/// So many members are never put together.
const FEW: usize = 64;

/// The buckets of one node, and the windows that slide over them.
pub struct Buckets {
    form: Words,
    buckets: BTreeMap<i64, Bucket>,
    edges: Edges,
}

/// What arrived in one bucket.
#[derive(Default)]
struct Bucket {
    /// Numbers of shares by keys.
    numbers: HashTable<u32>,
    /// A group's share each: an entry as it came first, with the sums of all.
    words: Vec<i64>,
    /// What the multisets of shares hold.
    members: Vec<Member>,
    /// How many members were left when they were last put together.
    left: usize,
}

impl Buckets {
    /// No buckets yet.
    pub fn new(node: &Node, form: Words) -> Self {
        Buckets { form, buckets: BTreeMap::new(), edges: Edges::new(node.windows.len()) }
    }

    /// Takes up what arrived; what that changes in the windows that hold the buckets.
    pub fn arrive(&mut self, node: &Node, updates: &Updates) -> Updates {
        let mut changed = Updates::default();
        let width = self.form.width();
        let (mut shares, mut firsts) = (Vec::new(), Vec::new());
        let mut number = 0;
        for (n, entry) in updates.words.chunks_exact(width).enumerate() {
            // In steps, so that none of the look-ups waits for another's memory.
            if n.is_multiple_of(AHEAD) {
                let rest = &updates.words[n * width..];
                self.near(&rest[..rest.len().min(AHEAD * width)]);
            }
            firsts.push(number);
            let (slides, bucket) = (slides(entry), start(entry[0]));
            shares.push((bucket, slides.then(|| self.share(bucket, entry))));
            for (w, _) in node.sliding().filter(|_| slides) {
                if self.edges.hold(w, bucket) {
                    changed.words.push(head(w as u16, NULL));
                    changed.words.extend_from_slice(&entry[HEAD..]);
                    number += 1;
                }
            }
        }
        firsts.push(number);
        for member in &updates.members {
            let e = member.entry as usize;
            if let (bucket, Some(entry)) = shares[e] {
                let bucket = self.buckets.entry(bucket).or_default();
                bucket.add_member(Member { entry, ..*member });
            }
            let windows = firsts[e]..firsts[e + 1];
            changed.members.extend(windows.map(|entry| Member { entry, ..*member }));
        }
        changed
    }

    /// Asks the processor for the shares that some entries are most likely added to.
    fn near(&self, entries: &[i64]) {
        let width = self.form.width();
        let mut likely = [None; AHEAD];
        for (likely, entry) in likely.iter_mut().zip(entries.chunks_exact(width)) {
            let bucket = self.buckets.get(&start(entry[0])).filter(|_| slides(entry));
            let keys = &self.form.key(entry)[HEAD..];
            *likely = bucket.and_then(|b| Some((b, *b.numbers.find(hash(keys), |_| true)?)));
        }
        for (bucket, number) in likely.into_iter().flatten() {
            prefetch_index(&bucket.words, number as usize * width);
        }
    }

    /// Adds to a group's share; its number in the bucket.
    fn share(&mut self, bucket: i64, entry: &[i64]) -> u32 {
        let (form, width) = (&self.form, self.form.width());
        let Bucket { numbers, words, .. } = self.buckets.entry(bucket).or_default();
        let keys = &form.key(entry)[HEAD..];
        let of = |number: &u32| &form.key(&words[*number as usize * width..])[HEAD..];
        let found = numbers.find(hash(keys), |number| equal(of(number), keys)).copied();
        let number = found.unwrap_or_else(|| {
            let number = u32::try_from(words.len() / width).expect("fewer than 2^32 groups");
            numbers.insert_unique(hash(keys), number, |number| hash(of(number)));
            number
        });
        if found.is_none() {
            words.extend_from_slice(entry);
        } else {
            form.merge(&mut words[number as usize * width..][..width], entry, false);
        }
        number
    }

    /// The clock moved. Where windows are shown, buckets come into them and go out of them; whether
    /// any did. Buckets leave that no window reaches any more, nor holds still.
    pub fn slide(&mut self, node: &Node, tick: &Tick, live: &mut Live) -> bool {
        let windows = &node.windows;
        let moved = if tick.publish { self.edges.slide(windows, tick) } else { Vec::new() };
        for (w, range, minus) in &moved {
            for (_, bucket) in self.buckets.range(range.clone()) {
                live.take(node, &bucket.poured(&self.form, *w, *minus), tick.now);
            }
        }
        if let Some(oldest) = self.edges.oldest(windows, tick) {
            self.buckets = self.buckets.split_off(&oldest);
        }
        !moved.is_empty()
    }

    /// How many shares of groups are held, and how many members of their multisets.
    pub fn len(&self) -> (usize, usize) {
        let width = self.form.width();
        let shares = self.buckets.values().map(|b| b.words.len() / width).sum();
        (shares, self.buckets.values().map(|b| b.members.len()).sum())
    }
}

impl Bucket {
    fn add_member(&mut self, member: Member) {
        self.members.push(member);
        if self.members.len() < FEW.max(2 * self.left) {
            return;
        }
        // Those that were left are in order, which this sort makes use of.
        self.members.sort_by_key(|m| (m.entry, m.set, m.value, m.with));
        self.members.dedup_by(|b, a| {
            let same = (a.entry, a.set, a.value, a.with) == (b.entry, b.set, b.value, b.with);
            a.diff += if same { b.diff } else { 0 };
            same
        });
        self.members.retain(|m| m.diff != 0);
        self.left = self.members.len();
    }

    /// The bucket as changes of a window.
    fn poured(&self, form: &Words, w: usize, minus: bool) -> Updates {
        let mut words = vec![0; self.words.len()];
        let width = form.width();
        for (to, share) in words.chunks_exact_mut(width).zip(self.words.chunks_exact(width)) {
            let keys = form.key(share).len();
            to[..keys].copy_from_slice(form.key(share));
            to[0] = head(w as u16, NULL);
            form.merge(to, share, minus);
        }
        let sign = if minus { -1 } else { 1 };
        let members = self.members.iter().map(|m| Member { diff: sign * m.diff, ..*m });
        Updates { words, members: members.collect(), ..Updates::default() }
    }
}
