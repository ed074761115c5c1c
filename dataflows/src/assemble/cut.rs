//! What is handed out to be stored: the sides that changed since the last cut, encoded.
//!
//! Promises: of a side that is encoded twice the later one is as it is.
//! When a cut comes soon some of it is encoded ahead, a little each epoch: no epoch waits for all
//! of it.
//! Limits: what is encoded ahead is held until the cut, each time that a side changed again;
//! whoever ticks sees to it that it is not for long ([`Unsaved::bytes`] has counted it).

use super::Assemble;
use super::block::Block;
use super::codec::Encoder;
use super::{SOON, Stream};
use crate::sealed::Sealed;
use crate::tick::{CutKind, Tick};

/// What the next cut hands out.
#[derive(Default)]
pub struct Unsaved {
    /// Slots with sides that changed, in the order in which they did, without those encoded.
    pub slots: Vec<u32>,
    /// The bytes of all sides that changed; of those encoded ahead that changed again twice.
    pub bytes: usize,
    /// What is encoded ahead.
    blocks: Vec<Block>,
    /// Texts that no cut has held yet, with their numbers.
    texts: Vec<(u64, &'static str)>,
}

impl Assemble {
    /// Hands out what is to be stored at the end of an epoch, or encodes some of it ahead.
    pub(super) fn cut(&mut self, tick: &Tick, sealed: &mut Sealed) {
        if tick.cut == CutKind::No {
            let beyond = tick.encode_beyond.map_or(usize::MAX, |beyond| beyond as usize);
            let changed = self.unsaved.slots.len();
            if changed > beyond {
                self.encode(beyond.max(changed / 4).max(1), false);
            }
            return;
        }
        let full = tick.cut == CutKind::Full;
        if full {
            self.numbers.hold_none();
            self.unsaved = Unsaved::default();
            self.unsaved.slots.extend(0..self.table.len() as u32);
        }
        self.encode(self.unsaved.slots.len(), full);
        let Unsaved { slots, bytes, blocks, texts } = &mut self.unsaved;
        debug_assert!(slots.is_empty(), "all are encoded");
        *bytes = 0;
        (sealed.slots, sealed.texts) = (std::mem::take(blocks), std::mem::take(texts));
    }

    /// Encodes the first so many of the slots that changed: the sides that did, or all of them.
    fn encode(&mut self, most: usize, all: bool) {
        let mut encoder = Encoder::new(&self.plan.layout, &mut self.numbers);
        let slots = &self.unsaved.slots[..most];
        for (n, slot) in slots.iter().enumerate() {
            if let Some(slot) = slots.get(n + SOON) {
                self.table.near(*slot);
                self.arrivals.near(*slot);
            }
            let marks = self.table.take_marks(*slot);
            let (bytes, index) = (self.table.slot(*slot), self.table.index_of(*slot));
            for stream in Stream::ALL.into_iter().filter(|s| all || marks & s.bit() != 0) {
                let side = self.plan.layout.side(stream).offset;
                let Some(header) = self.table.header(*slot, side) else { continue };
                let counts = if stream == Stream::Pin { self.arrivals.of(*slot) } else { &[] };
                encoder.side((index, header), bytes, stream, counts);
            }
        }
        let (blocks, texts) = encoder.finish();
        self.unsaved.blocks.extend(blocks);
        self.unsaved.texts.extend(texts);
        self.unsaved.slots.drain(..most);
    }
}
