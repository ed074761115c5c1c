//! The state of record as it comes back from disk.

use super::block::{self, Entry};
use super::codec::{self, CodecError, Numbers, Texts};
use super::layout::present;
use super::table::{AHEAD, owner};
use super::{ALL_SIDES, Assemble};
use crate::metrics::update::Combine;
use crate::record::Stream;

/// So many posts are fed to the metrics at a time: some megabytes of changes, which stay in the
/// processor's cache.
const SLICE: u32 = 8192;

/// About so many bytes of blocks go with one post, rather fewer: 70 in the demo, 71 in the bench.
const BYTES_PER_POST: usize = 68;

impl Assemble {
    /// Takes back stored slots, of which those of worker `me` of `peers`; later entries replace
    /// earlier ones. Arrivals that no window reaches at `now`, microseconds, are passed over.
    /// [`Assemble::feed`] then has all of them.
    pub fn restore(
        &mut self,
        blocks: &[Vec<u8>],
        texts: &Texts,
        (me, peers): (u64, u64),
        now: i64,
    ) -> Result<(), CodecError> {
        let bytes: usize = blocks.iter().map(Vec::len).sum();
        self.table.reserve(bytes / BYTES_PER_POST / peers as usize);
        let mut batch = Vec::with_capacity(AHEAD);
        let oldest = self.oldest(now);
        for block in blocks {
            for entry in block::entries(block) {
                let entry = entry?;
                if owner(entry.index, peers) == me {
                    batch.push(entry);
                }
                if batch.len() == AHEAD {
                    self.take_back(&mut batch, texts, oldest)?;
                }
            }
            self.take_back(&mut batch, texts, oldest)?;
        }
        if self.plan.arrivals {
            self.arrivals.index(self.table.len() as u32);
        }
        for slot in 0..self.table.len() as u32 {
            let there = present(self.table.slot(slot));
            let sides = self.present.iter_mut().zip(Stream::ALL);
            sides.for_each(|(n, s)| *n += u64::from(there & s.bit() != 0));
        }
        self.numbers = Numbers::restored(texts);
        self.unfed = 0..self.table.len() as u32;
        Ok(())
    }

    /// Feeds some of what came back from disk to the metrics, which are rebuilt from it: the
    /// changes of groups and of distinct rows; none once all is fed. They are never there all at
    /// once: a restart needs no more memory for them than the run before it did.
    pub fn feed(&mut self) -> Option<&mut Combine> {
        let slots = self.unfed.start..self.unfed.end.min(self.unfed.start + SLICE);
        let plan = self.plan.clone();
        for slot in slots.clone() {
            let bytes = self.table.slot(slot);
            if !self.gives[usize::from(present(bytes))] {
                continue;
            }
            if self.lot.add(&plan, None, (bytes, self.arrivals.of(slot)), ALL_SIDES) {
                self.lot.give(&plan, &mut self.combine);
            }
        }
        self.lot.give(&plan, &mut self.combine);
        self.unfed.start = slots.end;
        (!slots.is_empty()).then_some(&mut self.combine)
    }

    fn take_back(
        &mut self,
        batch: &mut Vec<Entry<'_>>,
        texts: &Texts,
        oldest: i64,
    ) -> Result<(), CodecError> {
        let mut slots = [0; AHEAD];
        let layout = &self.plan.layout;
        let slots = self.table.find_or_add_all(layout, batch, |entry| entry.index, &mut slots);
        for (slot, entry) in slots.iter().zip(batch.drain(..)) {
            let slot = *slot;
            let to = self.table.slot_and_versions(slot);
            let mut counts = codec::decode(&self.plan.layout, &entry, texts, to)?;
            counts.retain(|(bucket, _)| *bucket >= oldest);
            let stream = codec::stream(&entry)?;
            self.table.mark_stored(slot, stream);
            if self.plan.arrivals && stream == Stream::Pin {
                self.arrivals.set(slot, counts);
            }
        }
        Ok(())
    }
}
