//! Text as small ids: a [`Sym`] is four bytes, compares as its text does, and means the same
//! text for as long as the process lives.
//!
//! Promises: `intern(a) == intern(b)` exactly when `a == b`; `Ord` is the order of the UTF-8
//! bytes, so that no order a user sees depends on who came first.
//! Limits: 2^32 - 1 distinct texts a process; texts are never freed (they are bounded by the
//! distinct texts of the declared columns).

use std::cell::Cell;
use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::HashTable;
use parking_lot::RwLock;
use rustc_hash::FxBuildHasher;

/// The id of an interned text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sym(u32);

/// How many locks the table is spread over; a power of two.
const SHARDS: usize = 64;

static TEXTS: LazyLock<boxcar::Vec<Box<str>>> = LazyLock::new(boxcar::Vec::new);
static TABLE: LazyLock<Vec<RwLock<HashTable<u32>>>> =
    LazyLock::new(|| (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect());

/// Symbols that a thread remembers; a power of two.
const RECENT: usize = 8192;

thread_local! {
    /// Texts and their symbols by hash: what comes again and again needs no lock.
    static LATELY: [Cell<Known>; RECENT] = const { [const { Cell::new(Known::NONE) }; RECENT] };
}

/// A text with its hash and symbol.
#[derive(Clone, Copy)]
struct Known {
    hash: u64,
    text: Option<&'static str>,
    sym: Sym,
}

impl Known {
    const NONE: Self = Known { hash: 0, text: None, sym: Sym(0) };
}

fn hash(text: &str) -> u64 {
    FxBuildHasher.hash_one(text)
}

/// The symbol of a text; the same one every time.
pub fn intern(text: &str) -> Sym {
    let h = hash(text);
    LATELY.with(|lately| {
        let lately = &lately[h as usize % RECENT];
        let known = lately.get();
        if known.hash == h && known.text == Some(text) {
            return known.sym;
        }
        let sym = look_up(text, h);
        lately.set(Known { hash: h, text: Some(sym.as_str()), sym });
        sym
    })
}

/// The symbol by the table that all threads share.
fn look_up(text: &str, h: u64) -> Sym {
    let shard = &TABLE[(h >> 20) as usize % SHARDS];
    let same = |id: &u32| &*TEXTS[*id as usize] == text;
    if let Some(id) = shard.read().find(h, same) {
        return Sym(*id);
    }
    let mut table = shard.write();
    if let Some(id) = table.find(h, same) {
        return Sym(*id);
    }
    let id = u32::try_from(TEXTS.push(text.into())).expect("fewer than 2^32 distinct texts");
    table.insert_unique(h, id, |id| hash(&TEXTS[*id as usize]));
    Sym(id)
}

impl Sym {
    /// The text.
    pub fn as_str(self) -> &'static str {
        &TEXTS[self.0 as usize]
    }

    /// The symbol as a cell of a row.
    pub fn cell(self) -> i64 {
        i64::from(self.0)
    }

    /// The symbol that [`Sym::cell`] put into a cell.
    pub fn from_cell(cell: i64) -> Self {
        Sym(cell as u32)
    }

    /// The id, dense from 0.
    pub fn id(self) -> u32 {
        self.0
    }
}

impl Ord for Sym {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 { Ordering::Equal } else { self.as_str().cmp(other.as_str()) }
    }
}

impl PartialOrd for Sym {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Debug for Sym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_one_symbol_and_text_order() {
        let (b, a) = (intern("b"), intern("a"));
        assert_eq!(b, intern("b"));
        assert!(a < b && a != b);
        assert_eq!(Sym::from_cell(a.cell()).as_str(), "a");
    }

    #[test]
    fn threads_agree() {
        let ids: Vec<Vec<Sym>> = std::thread::scope(|s| {
            let hs: Vec<_> = (0..4)
                .map(|_| s.spawn(|| (0..1000).map(|i| intern(&format!("t{i}"))).collect()))
                .collect();
            hs.into_iter().map(|h| h.join().expect("no panic")).collect()
        });
        assert!(ids.windows(2).all(|w| w[0] == w[1]));
    }
}
