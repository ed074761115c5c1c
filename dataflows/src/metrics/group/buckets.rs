//! What arrived in each bucket, by group keys: from here it goes into the windows that slide over
//! arrivals, and out of them again. They slide when they are shown: while a backlog is read, and
//! nobody is shown anything, what arrives is added up once and not in each window.
//!
//! Promises: a bucket holds each group's sums once; what its multisets gained and lost is put
//! together where a share's value follows its like, and whenever there is twice as much of it as
//! was left the last time. A bucket leaves memory when no window reaches it any more.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use prefetch_index::prefetch_index;
use smallvec::SmallVec;

use super::super::plan::Node;
use super::super::update::{Member, Updates, slides};
use super::super::value::NULL;
use super::super::window::Edges;
use super::super::words::{self, HEAD, Words, equal, hash, head, start};
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
    /// Which of the members is the last of each share's sets, if it came since.
    lasts: Vec<u32>,
}

impl Buckets {
    /// No buckets yet.
    pub fn new(node: &Node, form: Words) -> Self {
        Buckets { form, buckets: BTreeMap::new(), edges: Edges::new(node.windows.len()) }
    }

    /// Takes up what arrived; what that changes in the windows that hold the buckets.
    pub fn arrive(&mut self, node: &Node, updates: &Updates) -> Updates {
        let Buckets { form, buckets, edges } = self;
        let (mut changed, mut number) = (Updates::default(), 0);
        // Of each entry the share that it was added to, and the number of its first change.
        let (mut shares, mut firsts) = (Vec::new(), vec![0]);
        let mut rest = &updates.words[..];
        while !rest.is_empty() {
            // Those of one bucket follow each other, mostly; others may lie between them.
            let mut head = None;
            let is_next = |e: &&[i64]| !slides(e) || *head.get_or_insert(e[0]) == e[0];
            let count = rest.chunks_exact(form.width()).take(AHEAD).take_while(is_next).count();
            let (some, behind) = rest.split_at(count * form.width());
            rest = behind;
            let Some(head) = head else {
                shares.extend(std::iter::repeat_n(None, count));
                firsts.extend(std::iter::repeat_n(number, count));
                continue;
            };
            let at = start(head);
            let bucket = buckets.entry(at).or_default();
            bucket.add(form, some, |share| shares.push(share.map(|share| (at, share))));
            let held: SmallVec<[usize; 4]> =
                node.sliding().map(|(w, _)| w).filter(|w| edges.hold(*w, at)).collect();
            for entry in some.chunks_exact(form.width()) {
                for w in held.iter().filter(|_| slides(entry)) {
                    changed.words.push(words::head(*w as u16, NULL));
                    changed.words.extend_from_slice(&entry[HEAD..]);
                    number += 1;
                }
                firsts.push(number);
            }
        }
        let of_share = |m: &Member| {
            let (at, entry) = shares[m.entry as usize]?;
            Some((at, Member { entry, ..*m }))
        };
        let members: Vec<(i64, Member)> = updates.members.iter().filter_map(of_share).collect();
        for some in members.chunk_by(|(a, _), (b, _)| a == b) {
            let bucket = buckets.entry(some[0].0).or_default();
            some.chunks(AHEAD).for_each(|some| {
                bucket.add_members(node.sets.len(), some.iter().map(|(_, member)| *member));
            });
        }
        for member in updates.members.iter().filter(|_| number > 0) {
            let e = member.entry as usize;
            let windows = firsts[e]..firsts[e + 1];
            changed.members.extend(windows.map(|entry| Member { entry, ..*member }));
        }
        changed
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
    /// Adds those of at most [`AHEAD`] entries that slide to the shares of their groups; gives the
    /// number of each one's. Together, so that none of the look-ups waits for another's memory.
    fn add(&mut self, form: &Words, entries: &[i64], mut give: impl FnMut(Option<u32>)) {
        let (width, entries) = (form.width(), entries.chunks_exact(form.width()));
        let mut likely = [(0, None); AHEAD];
        for (likely, entry) in likely.iter_mut().zip(entries.clone()).filter(|(_, e)| slides(e)) {
            let hash = hash(&form.key(entry)[HEAD..]);
            *likely = (hash, self.numbers.find(hash, |_| true).copied());
            if let (_, Some(number)) = likely {
                prefetch_index(&self.words, *number as usize * width);
            }
        }
        for (entry, likely) in entries.zip(likely) {
            give(slides(entry).then(|| self.share(form, entry, likely)));
        }
    }

    /// Adds an entry of this hash to its group's share, which is most likely this one; its number.
    fn share(&mut self, form: &Words, entry: &[i64], (hash, likely): (u64, Option<u32>)) -> u32 {
        let Bucket { numbers, words, .. } = self;
        let (width, keys) = (form.width(), &form.key(entry)[HEAD..]);
        let of = |number: &u32| &form.key(&words[*number as usize * width..])[HEAD..];
        let found = likely.filter(|number| equal(of(number), keys));
        let found = found.or_else(|| numbers.find(hash, |number| equal(of(number), keys)).copied());
        if let Some(number) = found {
            form.merge(&mut words[number as usize * width..][..width], entry, false);
            return number;
        }
        let number = u32::try_from(words.len() / width).expect("fewer than 2^32 groups");
        numbers.insert_unique(hash, number, |number| words::hash(of(number)));
        words.extend_from_slice(entry);
        number
    }

    /// Adds some members of shares that have so many sets each; together, as [`Bucket::add`] does.
    fn add_members(&mut self, sets: usize, members: impl Iterator<Item = Member> + Clone) {
        for at in members.clone().map(|m| m.entry as usize * sets + usize::from(m.set)) {
            if let Some(last) = self.lasts.get(at) {
                prefetch_index(&self.members, *last as usize);
            }
        }
        members.for_each(|member| self.add_member(sets, member));
    }

    fn add_member(&mut self, sets: usize, member: Member) {
        let what = |m: &Member| (m.entry, m.set, m.value, m.with);
        let at = member.entry as usize * sets + usize::from(member.set);
        if self.lasts.len() <= at {
            self.lasts.resize(at + 1, u32::MAX);
        }
        if let Some(last) = self.members.get_mut(self.lasts[at] as usize)
            && what(last) == what(&member)
        {
            last.diff += member.diff;
            return;
        }
        self.lasts[at] = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        self.members.push(member);
        if self.members.len() < FEW.max(2 * self.left) {
            return;
        }
        for m in &self.members {
            self.lasts[m.entry as usize * sets + usize::from(m.set)] = u32::MAX;
        }
        // Those that were left are in order, which this sort makes use of.
        self.members.sort_by_key(what);
        self.members.dedup_by(|b, a| {
            let same = what(a) == what(b);
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
