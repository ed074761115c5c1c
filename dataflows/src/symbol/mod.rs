//! Text as small ids: a [`Sym`] is four bytes, compares as its text does, and means the same
//! text for as long as the process lives.
//!
//! Promises: `intern(a) == intern(b)` exactly when `a == b`; `Ord` is the order of the UTF-8
//! bytes, so that no order a user sees depends on who came first.
//! Limits: 2^32 - 2 distinct texts a process (published rows use the two greatest numbers for what
//! is no text); texts are never freed (they are bounded by the distinct texts of the declared
//! columns). A thread tells the texts that it remembers apart by 77 bits of a hash, or more: of ten
//! million two pass for one with a probability of less than 10^-9, of a thousand million 10^-6. The
//! hash is seeded, another seed a process, but it is none of cryptography.

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
    static LATELY: RefCell<Lately> = RefCell::new(Lately::new(Lately::FEW));
}

/// Symbols that a thread remembers: what comes again and again needs no lock, and no look at its
/// text, which lies somewhere else.
struct Lately {
    /// A power of two, twice as many whenever half as many texts as fit in were missed among
    /// [`Lately::AMONG`] times as many that were looked for.
    sets: Vec<Set>,
    looked: usize,
    missed: usize,
}

/// Symbols, each with 64 bits of its text's hash, the latest first.
#[derive(Clone)]
#[repr(align(64))]
struct Set {
    hashes: [u64; WAYS],
    syms: [u32; WAYS],
}

/// What fits into a line of the processor's cache.
const WAYS: usize = 5;
const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    const EMPTY: Set = Set { hashes: [0; WAYS], syms: [NONE; WAYS] };
}

/// No symbol.
const NONE: u32 = u32::MAX;

impl Lately {
    /// Sets at first, half a MiB, and at most, 2 MiB.
    const FEW: usize = 1 << 13;
    const MOST: usize = 1 << 15;
    /// Where fewer than one in twice as many is missed, more room would be memory for nothing.
    const AMONG: usize = 16;

    fn new(sets: usize) -> Self {
        Lately { sets: vec![Set::EMPTY; sets], looked: 0, missed: 0 }
    }

    /// Where a hash is looked for: by other bits than are compared there.
    fn place(&self, hash: u128) -> usize {
        (hash >> u64::BITS) as usize & (self.sets.len() - 1)
    }

    /// So many texts are looked for next.
    fn look(&mut self, count: usize) {
        self.looked += count;
        if self.looked > self.sets.len() * WAYS * Self::AMONG {
            (self.looked, self.missed) = (0, 0);
        }
    }

    fn intern(&mut self, text: &str, hash: u128) -> Sym {
        let place = self.place(hash);
        let set = &mut self.sets[place];
        // All are looked at, whichever it is: where it lies cannot be guessed, and a wrong guess
        // waits for memory.
        let (mut is_known, mut sym) = (false, 0);
        for (known, s) in set.hashes.iter().zip(set.syms) {
            let is_this = *known == hash as u64;
            is_known |= is_this;
            sym |= if is_this { s } else { 0 };
        }
        if is_known && sym != NONE {
            return Sym(sym);
        }
        let sym = look_up(text, hash as u64);
        set.hashes.copy_within(..WAYS - 1, 1);
        set.syms.copy_within(..WAYS - 1, 1);
        (set.hashes[0], set.syms[0]) = (hash as u64, sym.0);
        self.missed += 1;
        if self.sets.len() < Self::MOST && self.missed > self.sets.len() * WAYS / 2 {
            // What was remembered is soon known again.
            *self = Lately::new(self.sets.len() * 2);
        }
        sym
    }
}

#[inline]
fn hash(text: &str) -> u128 {
    xxh3_128_with_seed(text.as_bytes(), *SEED)
}

/// The symbol of a text; the same one every time.
pub fn intern(text: &str) -> Sym {
    LATELY.with_borrow_mut(|lately| {
        lately.look(1);
        lately.intern(text, hash(text))
    })
}

/// From so many texts on a queue is to be drained.
const WAITING: usize = 16;

/// Room for so many bytes of texts is kept.
const ROOM: usize = 1 << 16;

/// Texts that are to become symbols, each with what it is for. Where a text is remembered the
/// processor is asked for when it comes, and it is looked up when others have come: so none of
/// them waits for memory.
#[derive(Debug)]
pub struct Queue<T> {
    texts: String,
    /// Their hashes and ends.
    waiting: Vec<(u128, usize, T)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { texts: String::new(), waiting: Vec::new() }
    }
}

impl<T> Queue<T> {
    /// Adds a text; true if the queue is to be drained.
    #[inline]
    pub fn push(&mut self, text: &str, of: T) -> bool {
        let hash = hash(text);
        LATELY.with_borrow(|lately| prefetch_index(&lately.sets, lately.place(hash)));
        self.texts.push_str(text);
        self.waiting.push((hash, self.texts.len(), of));
        self.waiting.len() >= WAITING
    }

    /// Gives the symbols of all; the queue is then empty. Panics if `give` interns a text.
    pub fn drain(&mut self, mut give: impl FnMut(T, Sym)) {
        let mut start = 0;
        LATELY.with_borrow_mut(|lately| {
            lately.look(self.waiting.len());
            for (hash, end, of) in self.waiting.drain(..) {
                give(of, lately.intern(&self.texts[start..end], hash));
                start = end;
            }
        });
        self.texts.clear();
        self.texts.shrink_to(ROOM);
    }
}

/// The same for one of many texts that this thread does not see again soon: none is remembered.
pub fn intern_once(text: &str) -> Sym {
    look_up(text, hash(text) as u64)
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
    let again = |id: &u32| hash(&TEXTS[*id as usize].text) as u64;
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
        assert_eq!([b, b], [intern("b"), intern_once("b")]);
        assert!(a < b && a != b);
        let texts =
            ["", "\0", "a", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi", "abcdefgi", "\u{e4}"];
        let syms = texts.map(intern);
        assert!(syms.is_sorted_by(|a, b| a < b), "{syms:?}");
        assert_eq!(Sym::from_cell(a.cell()).as_str(), "a");
    }

    #[test]
    fn texts_that_waited_are_the_same_symbols() {
        let texts: Vec<String> = (0..1000).map(|n| format!("waits {}", n % 300)).collect();
        let (mut queue, mut given) = (Queue::default(), Vec::new());
        for (n, text) in texts.iter().enumerate() {
            if queue.push(text, n) {
                queue.drain(|n, sym| given.push((n, sym)));
            }
        }
        queue.drain(|n, sym| given.push((n, sym)));
        let want = texts.iter().map(|text| intern(text)).enumerate();
        assert!(want.eq(given));
        queue.drain(|_, _| panic!("nothing waits"));
    }

    /// It grew for minutes after a start, by a text now and then.
    #[test]
    fn what_is_seldom_missed_makes_no_room() {
        let sets = |every: usize| {
            let mut lately = Lately::new(Lately::FEW);
            for n in 0..WAYS * Lately::FEW * Lately::AMONG * 2 {
                lately.look(1);
                let text = if n % every == 0 { format!("seldom {n}") } else { "often".into() };
                lately.intern(&text, hash(&text));
            }
            lately.sets.len()
        };
        assert_eq!(sets(3 * Lately::AMONG), Lately::FEW);
        assert!(sets(Lately::AMONG) > Lately::FEW);
    }

    #[test]
    fn threads_agree_also_on_what_they_have_forgotten() {
        let texts: Vec<String> = (0..2 * WAYS * Lately::MOST).map(|n| format!("t{n}")).collect();
        let all = || texts.iter().map(|text| intern(text)).collect::<Vec<Sym>>();
        let most = || LATELY.with_borrow(|lately| assert_eq!(lately.sets.len(), Lately::MOST));
        let syms: Vec<Vec<Sym>> = std::thread::scope(|s| {
            let twice = || (all(), all(), most());
            let threads: Vec<_> = (0..3).map(|_| s.spawn(twice)).collect();
            let both = threads.into_iter().map(|t| t.join().expect("no panic"));
            both.flat_map(|(a, b, ())| [a, b]).collect()
        });
        assert!(syms.windows(2).all(|w| w[0] == w[1]));
        assert!(syms[0].iter().zip(&texts).all(|(sym, text)| sym.as_str() == text));
    }
}
