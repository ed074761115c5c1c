//! Text as small ids: a [`Sym`] is four bytes, compares as its text does, and means the same
//! text for as long as the process lives.
//!
//! Promises: `intern(a) == intern(b)` exactly when `a == b`; `Ord` is the order of the UTF-8
//! bytes, so that no order a user sees depends on who came first.
//! Limits: 2^32 - 2 distinct texts a process (published rows use the two greatest numbers for what
//! is no text); texts are never freed (they are bounded by the
//! distinct texts of the declared columns). A thread tells the texts that it remembers apart by 96
//! bits of a hash: of a thousand million two pass for one with a probability of 10^-11. The hash
//! is seeded, another seed a process, but it is none of cryptography.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use hashbrown::HashTable;
use parking_lot::RwLock;
use prefetch_index::prefetch_index;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The id of an interned text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sym(u32);

/// How many locks the table is spread over; a power of two.
const SHARDS: usize = 64;

static TEXTS: LazyLock<boxcar::Vec<Text>> = LazyLock::new(boxcar::Vec::new);
static TABLE: LazyLock<Vec<RwLock<HashTable<u32>>>> =
    LazyLock::new(|| (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect());

/// Drawn once a process: whose hashes are equal here, they are not there.
static SEED: LazyLock<u64> = LazyLock::new(|| std::hash::RandomState::new().hash_one(0));

/// A text, and its first eight bytes as a number: they tell most texts apart.
struct Text {
    head: u64,
    text: Box<str>,
}

impl Text {
    fn new(text: &str) -> Self {
        let mut head = [0; 8];
        head.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
        Text { head: u64::from_be_bytes(head), text: text.into() }
    }
}

thread_local! {
    static LATELY: RefCell<Lately> = RefCell::new(Lately::new());
}

/// Symbols that a thread remembers: what comes again and again needs no lock, and no look at its
/// text, which lies somewhere else.
struct Lately {
    seed: u64,
    /// Sets of four symbols, the latest first: each is a line of the processor's cache.
    sets: Vec<[Known; 4]>,
}

/// A symbol below 96 bits of its text's hash.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known(u128);

impl Lately {
    /// A power of two; 1 MiB in all.
    const SETS: usize = 1 << 14;

    fn new() -> Self {
        Lately { seed: *SEED, sets: vec![[Known(u128::MAX); 4]; Self::SETS] }
    }

    fn hash(&self, text: &str) -> u128 {
        xxh3_128_with_seed(text.as_bytes(), self.seed)
    }

    fn set(hash: u128) -> usize {
        (hash >> 64) as usize % Self::SETS
    }

    fn intern(&mut self, text: &str) -> Sym {
        let hash = self.hash(text);
        let set = &mut self.sets[Self::set(hash)];
        // All four are looked at, whichever it is: where it lies cannot be guessed, and a wrong
        // guess waits for memory.
        let (mut is_known, mut sym) = (false, 0);
        for known in &*set {
            let is_this = known.0 >> 32 == hash >> 32;
            is_known |= is_this;
            sym |= if is_this { known.0 as u32 } else { 0 };
        }
        if is_known {
            return Sym(sym);
        }
        let sym = look_up(text, hash as u64);
        set.copy_within(..3, 1);
        set[0] = Known(hash >> 32 << 32 | u128::from(sym.0));
        sym
    }
}

/// The symbol of a text; the same one every time.
pub fn intern(text: &str) -> Sym {
    LATELY.with_borrow_mut(|lately| lately.intern(text))
}

/// Asks the processor for where a text is looked for, which is to be interned soon.
pub fn near(text: &str) {
    LATELY.with_borrow(|lately| prefetch_index(&lately.sets, Lately::set(lately.hash(text))));
}

/// The symbol by the table that all threads share.
fn look_up(text: &str, h: u64) -> Sym {
    let shard = &TABLE[(h >> 20) as usize % SHARDS];
    let same = |id: &u32| &*TEXTS[*id as usize].text == text;
    if let Some(id) = shard.read().find(h, same) {
        return Sym(*id);
    }
    let mut table = shard.write();
    if let Some(id) = table.find(h, same) {
        return Sym(*id);
    }
    let id = u32::try_from(TEXTS.push(Text::new(text))).ok().filter(|id| *id < u32::MAX - 1);
    let id = id.expect("fewer than 2^32 - 2 distinct texts");
    let again = |id: &u32| xxh3_128_with_seed(TEXTS[*id as usize].text.as_bytes(), *SEED) as u64;
    table.insert_unique(h, id, again);
    Sym(id)
}

impl Sym {
    /// The text.
    pub fn as_str(self) -> &'static str {
        &TEXTS[self.0 as usize].text
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
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        let (a, b) = (&TEXTS[self.0 as usize], &TEXTS[other.0 as usize]);
        a.head.cmp(&b.head).then_with(|| a.text.cmp(&b.text))
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
        let texts =
            ["", "\0", "a", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi", "abcdefgi", "\u{e4}"];
        let syms = texts.map(intern);
        assert!(syms.is_sorted_by(|a, b| a < b), "{syms:?}");
        assert_eq!(Sym::from_cell(a.cell()).as_str(), "a");
    }

    #[test]
    fn threads_agree_also_on_what_they_have_forgotten() {
        let texts: Vec<String> = (0..5 * Lately::SETS).map(|n| format!("t{n}")).collect();
        let all = || texts.iter().map(|text| intern(text)).collect::<Vec<Sym>>();
        let syms: Vec<Vec<Sym>> = std::thread::scope(|s| {
            let twice = || (all(), all());
            let threads: Vec<_> = (0..3).map(|_| s.spawn(twice)).collect();
            let both = threads.into_iter().map(|t| t.join().expect("no panic"));
            both.flat_map(|(a, b)| [a, b]).collect()
        });
        assert!(syms.windows(2).all(|w| w[0] == w[1]));
        assert!(syms[0].iter().zip(&texts).all(|(sym, text)| sym.as_str() == text));
    }
}
