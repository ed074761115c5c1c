//! Slots on disk: `[index u64][len u32][body]`, all little-endian. The body is a byte of flags (a bit a
//! side that is there), for each such side its header and its packed columns, symbols first
//! widened to the 64-bit hash of their text in the order of the layout; then the arrivals:
//! `[n u32]` and n times `[bucket i64][count u32]`.

use rustc_hash::FxHashMap;

use super::arrivals::Counts;
use super::layout::{HEADER, Header, Layout, array};
use crate::metrics::value::NULL;
use crate::record::Stream;
use crate::symbol::Sym;

/// Texts by the hash that stands for them on disk.
pub type Texts = FxHashMap<u64, Sym>;

/// The texts of a state by their hash; two texts of one hash are an error.
pub fn texts(list: &[String]) -> Result<Texts, CodecError> {
    let mut texts = Texts::default();
    for text in list {
        let sym = crate::symbol::intern(text);
        if let Some(other) = texts.insert(sym.stable(), sym)
            && other != sym
        {
            return Err(CodecError::Collision);
        }
    }
    Ok(texts)
}

/// What can be wrong with stored slots.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// Bytes end too early, or lengths disagree.
    #[error("a stored slot is cut short")]
    Short,
    /// A text is not among the stored ones.
    #[error("a stored slot names a text that is not stored")]
    UnknownText,
    /// Two texts have one hash.
    #[error("two stored texts have the same 64-bit hash")]
    Collision,
}

/// Appends a slot. `used` is told every symbol in it.
pub fn encode(
    layout: &Layout,
    slot: &[u8],
    arrivals: &Counts,
    out: &mut Vec<u8>,
    mut used: impl FnMut(Sym),
) {
    out.extend_from_slice(&slot[..8]);
    let len_at = out.len();
    out.extend_from_slice(&[0; 5]);
    let mut flags = 0;
    for stream in Stream::ALL {
        let part = layout.part(slot, stream);
        if Header::read(part).is_none() {
            continue;
        }
        flags |= 1 << stream as u8;
        for place in layout.side(stream).places.iter().filter(|p| p.is_symbol()) {
            let cell = place.get(&part[HEADER..]);
            let stable = if cell == NULL {
                0
            } else {
                let sym = Sym::from_cell(cell);
                used(sym);
                sym.stable().max(1)
            };
            out.extend_from_slice(&stable.to_le_bytes());
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(&(arrivals.len() as u32).to_le_bytes());
    for (bucket, count) in arrivals {
        out.extend_from_slice(&bucket.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    let len = (out.len() - len_at - 4) as u32;
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    out[len_at + 4] = flags;
}

/// The entries of a block: (index, body).
pub fn entries(block: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), CodecError>> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = rest.split_at_checked(12).and_then(|(head, tail)| {
            let len = u32::from_le_bytes(array(head, 8)) as usize;
            let (body, tail) = tail.split_at_checked(len)?;
            Some((u64::from_le_bytes(array(head, 0)), body, tail))
        });
        match entry {
            Some((index, body, tail)) => {
                rest = tail;
                Some(Ok((index, body)))
            }
            None => {
                rest = &[];
                Some(Err(CodecError::Short))
            }
        }
    })
}

/// Puts a stored body into a slot; gives its arrivals.
pub fn decode(
    layout: &Layout,
    body: &[u8],
    texts: &Texts,
    slot: &mut [u8],
) -> Result<Counts, CodecError> {
    let mut rest = body;
    let mut take = |n: usize| -> Result<&[u8], CodecError> {
        let (head, tail) = rest.split_at_checked(n).ok_or(CodecError::Short)?;
        rest = tail;
        Ok(head)
    };
    let flags = take(1)?[0];
    for stream in Stream::ALL {
        let side = layout.side(stream);
        let at = side.offset;
        if flags & (1 << stream as u8) == 0 {
            Header::clear(&mut slot[at..]);
            continue;
        }
        let symbols: Vec<_> = side.places.iter().filter(|p| p.is_symbol()).collect();
        let mut cells = Vec::with_capacity(symbols.len());
        for _ in &symbols {
            cells.push(match u64::from_le_bytes(array(take(8)?, 0)) {
                0 => NULL,
                stable => texts.get(&stable).ok_or(CodecError::UnknownText)?.cell(),
            });
        }
        let part = &mut slot[at..][..HEADER + side.bytes];
        part.copy_from_slice(take(HEADER + side.bytes)?);
        for (place, cell) in symbols.into_iter().zip(cells) {
            Layout::put(place, &mut part[HEADER..], cell);
        }
    }
    let n = u32::from_le_bytes(array(take(4)?, 0));
    let mut counts = Counts::new();
    for _ in 0..n {
        let entry = take(12)?;
        counts.push((i64::from_le_bytes(array(entry, 0)), u32::from_le_bytes(array(entry, 8))));
    }
    Ok(counts)
}
