//! Three tables as posts: records of one index together, every record in one post.
//!
//! Promises: each record is in exactly one post. [`in_order`] keeps the order of each table, and
//! where the tables list their indexes in one order the records of an index are one post;
//! [`by_index`] puts the n-th records of an index together wherever they stand.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::table::Table;

/// Stands for no record in a post.
const NONE: u32 = u32::MAX;

/// A post: which record of each table, in the order pin, geo, user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined([u32; 3]);

impl Joined {
    /// The record of a table; none if the post has none there.
    pub fn row(self, table: usize) -> Option<usize> {
        Some(self.0[table]).filter(|row| *row != NONE).map(|row| row as usize)
    }
}

/// Something of an index.
pub type ByIndex = HashMap<u64, u32, FxBuildHasher>;

/// A table's next record: the index that it names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head(Option<u64>);

impl Head {
    fn named(self) -> bool {
        self.0.is_some()
    }
}

/// A table that is gone through from its first record to its last.
struct Walk<'a> {
    table: &'a Table,
    /// The record to take next.
    at: u32,
    /// Of each index, its first record that is not taken yet.
    next: ByIndex,
    /// Of each record, the next one of the same index.
    same: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(table: &'a Table) -> Self {
        let mut next = ByIndex::default();
        let mut same = vec![NONE; table.len()];
        for row in (0..table.len()).rev() {
            if let Some(index) = table.index(row) {
                same[row] = next.insert(index, row as u32).unwrap_or(NONE);
            }
        }
        Walk { table, at: 0, next, same }
    }

    fn head(&self) -> Option<Head> {
        let left = (self.at as usize) < self.table.len();
        left.then(|| Head(self.table.index(self.at as usize)))
    }

    /// How many records stand before the next one of an index; 0 if there is none.
    fn away(&self, index: u64) -> u32 {
        self.next.get(&index).map_or(0, |row| row - self.at)
    }

    fn take(&mut self) -> u32 {
        let row = self.at;
        self.at += 1;
        if let Some(index) = self.table.index(row as usize) {
            match self.same[row as usize] {
                NONE => self.next.remove(&index),
                later => self.next.insert(index, later),
            };
        }
        row
    }
}

/// The tables' records as posts, each table in its order.
pub fn in_order(tables: &[Table; 3]) -> Vec<Joined> {
    let mut walks = [0, 1, 2].map(|t: usize| Walk::new(&tables[t]));
    let mut posts = Vec::new();
    loop {
        let heads = [0, 1, 2].map(|t: usize| walks[t].head());
        let Some(from) = goes(&walks, &heads) else {
            return posts;
        };
        let together = |head: Option<Head>| head == heads[from] && head.is_some_and(Head::named);
        let mut post = Joined([NONE; 3]);
        for t in 0..3 {
            if t == from || together(heads[t]) {
                post.0[t] = walks[t].take();
            }
        }
        posts.push(post);
    }
}

/// The table whose next record goes next; none at the end of all.
fn goes(walks: &[Walk<'_>; 3], heads: &[Option<Head>; 3]) -> Option<usize> {
    let mut longest = None;
    for (t, head) in heads.iter().enumerate() {
        let Some(Head(index)) = head else { continue };
        // How far the others have to go until all that know the index have come to it.
        let away = |index| walks.iter().map(|walk| walk.away(index)).max();
        let wait = index.and_then(away).unwrap_or(0);
        if wait == 0 {
            return Some(t);
        }
        // If each waits for another the tables contradict each other. Then the one goes whose
        // partner is furthest, which may be another edition of a row whose own partner is lost;
        // of equals those that agree.
        let agree = heads.iter().filter(|other| *other == head).count();
        if longest.is_none_or(|(_, most)| (wait, agree) > most) {
            longest = Some((t, (wait, agree)));
        }
    }
    longest.map(|(t, _)| t)
}

/// The tables' records as posts, and the first post of each index.
pub fn by_index(tables: &[Table; 3]) -> (Vec<Joined>, ByIndex) {
    let (mut posts, mut later) = (Vec::new(), Vec::new());
    let (mut first, mut last) = (ByIndex::default(), ByIndex::default());
    for (t, table) in tables.iter().enumerate() {
        // The post that this table's next record of an index belongs to, if there is one yet.
        let mut next = first.clone();
        for row in 0..table.len() {
            let index = table.index(row);
            let known = index.and_then(|index| next.get(&index).copied());
            let at = known.filter(|post| *post != NONE).unwrap_or_else(|| {
                let new = posts.len() as u32;
                posts.push(Joined([NONE; 3]));
                later.push(NONE);
                if let Some(index) = index {
                    first.entry(index).or_insert(new);
                    if let Some(before) = last.insert(index, new) {
                        later[before as usize] = new;
                    }
                }
                new
            });
            posts[at as usize].0[t] = row as u32;
            if let Some(index) = index {
                next.insert(index, later[at as usize]);
            }
        }
    }
    (posts, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of indexes; negative = a record that names none.
    fn table(indexes: &[i64]) -> Table {
        let mut table = Table::default();
        for index in indexes {
            table.push(u64::try_from(*index).ok(), b"{}");
        }
        table
    }

    /// Posts as texts: the index in the first table that has one, and who is in it.
    fn shown(posts: &[Joined], tables: &[Table; 3]) -> String {
        let one = |post: &Joined| {
            let named = (0..3).find_map(|t| Some((t, post.row(t)?))).expect("a record");
            let index = tables[named.0].index(named.1);
            let who = (0..3).filter(|t| post.row(*t).is_some());
            let who: String = who.map(|t| ["p", "g", "u"][t]).collect();
            format!("{}{who}", index.map_or("?".into(), |i| i.to_string()))
        };
        posts.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(tables: [&[i64]; 3], want: &str) {
        let tables = tables.map(table);
        let posts = in_order(&tables);
        assert_eq!(shown(&posts, &tables), want);
        for (t, table) in tables.iter().enumerate() {
            let rows: Vec<usize> = posts.iter().filter_map(|post| post.row(t)).collect();
            assert!(rows.iter().copied().eq(0..table.len()), "{want}: every record in its order");
        }
    }

    #[test]
    fn records_of_an_index_go_together() {
        check([&[1, 2], &[1, 2], &[1, 2]], "1pgu 2pgu");
        check([&[2, 4], &[1, 2, 3, 4], &[1, 2, 3, 4]], "1gu 2pgu 3gu 4pgu");
        check([&[], &[5], &[6]], "5g 6u");
        check([&[1, 1, 2], &[1, 2, 1], &[]], "1pg 1p 2pg 1g");
        check([&[-1, 1], &[1, -1], &[-1, -1]], "?p 1pg ?g ?u ?u");
        check([&[9, 3, 7], &[3, 7], &[9, 7]], "9pu 3pg 7pgu");
        check([&[], &[], &[]], "");
    }

    #[test]
    fn orders_that_contradict_each_other_lose_nothing() {
        check([&[1, 2], &[2, 1], &[]], "1p 2pg 1g");
    }

    #[test]
    fn a_lost_record_does_not_part_the_others() {
        check([&[-1, 2, 1, 2], &[1, 2, 1, 2], &[1, 2, 1, 2]], "?p 1gu 2pgu 1pgu 2pgu");
        check([&[1, 2, 3, 1], &[1, 3, 1, 2], &[]], "1pg 2p 3pg 1pg 2g");
    }

    #[test]
    fn the_nth_records_of_an_index_go_together_wherever_they_stand() {
        let tables = [table(&[3, 4, 3, -1]), table(&[-1, 3, 9]), table(&[4, 3, 3, 3, 9])];
        let (posts, first) = by_index(&tables);
        assert_eq!(shown(&posts, &tables), "3pgu 4pu 3pu ?p ?g 9gu 3u");
        assert_eq!(posts[0], Joined([0, 1, 1]));
        assert_eq!(posts[2], Joined([2, NONE, 2]));
        assert_eq!((first[&3], first[&4], first[&9], first.len()), (0, 1, 5, 3));
    }
}
