//! Three tables as posts: records of one index together, every record in one post.
//!
//! Promises: each table's records keep their order; each is in exactly one post; where the tables
//! list their indexes in one order, the records of an index are one post.

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

type Counts = HashMap<u64, u32, FxBuildHasher>;

/// The tables' records as posts.
pub fn posts(tables: &[Table; 3]) -> Vec<Joined> {
    let mut left: [Counts; 3] = [0, 1, 2].map(|t: usize| {
        let mut counts = Counts::default();
        for index in (0..tables[t].len()).filter_map(|row| tables[t].index(row)) {
            *counts.entry(index).or_default() += 1;
        }
        counts
    });
    let mut next = [0usize; 3];
    let mut posts = Vec::new();
    loop {
        let heads =
            [0, 1, 2].map(|t| (next[t] < tables[t].len()).then(|| tables[t].index(next[t])));
        // A record may go if no other table has its index only further down.
        let goes = |head: Option<u64>| {
            let others = |t: usize| {
                let waits = head.is_some_and(|index| left[t].contains_key(&index));
                !waits || heads[t] == Some(head)
            };
            (0..3).all(others)
        };
        let free = (0..3).find_map(|t| heads[t].filter(|head| goes(*head)).map(|head| (t, head)));
        // Tables whose orders contradict each other: somebody has to begin.
        let first = || (0..3).find_map(|t| heads[t].map(|head| (t, head)));
        let Some((from, head)) = free.or_else(first) else {
            return posts;
        };
        let mut post = Joined([NONE; 3]);
        for t in 0..3 {
            let together = t == from || (head.is_some() && heads[t] == Some(head));
            if !together {
                continue;
            }
            post.0[t] = next[t] as u32;
            next[t] += 1;
            if let Some(index) = head
                && let hashbrown::hash_map::Entry::Occupied(mut count) = left[t].entry(index)
            {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        posts.push(post);
    }
}

/// The first record of each table that names an index.
pub fn by_index(tables: &[Table; 3]) -> HashMap<u64, Joined, FxBuildHasher> {
    let mut found: HashMap<u64, Joined, FxBuildHasher> = HashMap::default();
    for (t, table) in tables.iter().enumerate() {
        for row in 0..table.len() {
            if let Some(index) = table.index(row) {
                let first = &mut found.entry(index).or_insert(Joined([NONE; 3])).0[t];
                if *first == NONE {
                    *first = row as u32;
                }
            }
        }
    }
    found
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
    fn check(tables: [&[i64]; 3], want: &str) {
        let tables = tables.map(table);
        let posts = posts(&tables);
        let text: Vec<String> = posts
            .iter()
            .map(|post| {
                let named = (0..3).find_map(|t| Some((t, post.row(t)?))).expect("a record");
                let index = tables[named.0].index(named.1);
                let who = (0..3).filter(|t| post.row(*t).is_some());
                let who: String = who.map(|t| ["p", "g", "u"][t]).collect();
                format!("{}{who}", index.map_or("?".into(), |i| i.to_string()))
            })
            .collect();
        assert_eq!(text.join(" "), want);
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
    fn the_first_record_of_an_index_is_found() {
        let tables = [table(&[3, 4, 3]), table(&[-1, 3]), table(&[4])];
        let found = by_index(&tables);
        assert_eq!(found[&3], Joined([0, 1, NONE]));
        assert_eq!(found[&4], Joined([1, NONE, 0]));
        assert_eq!(found.len(), 2);
    }
}
