//! Where posts come from: the demo's generator, or three tables.

use std::path::{Path, PathBuf};

use dataflows::record::Stream;

use crate::cli::{Failure, exit};
use crate::source::demo::Posts;

use super::draw::{Order, Place};
use super::join::{self, ByIndex, Joined};
use super::table::Table;

/// The three records of an index.
#[derive(Debug, Default)]
pub struct Post {
    /// The index; none if no record names one.
    pub index: Option<u64>,
    /// The bytes of each stream's record, in the order pin, geo, user; none if it has none.
    records: [Option<Vec<u8>>; 3],
}

impl Post {
    /// The bytes of a stream's record.
    pub fn record(&self, stream: Stream) -> Option<&[u8]> {
        self.records[stream as usize].as_deref()
    }

    /// An empty buffer for a stream's record; the one of the last post is used again.
    fn room(&mut self, stream: Stream) -> &mut Vec<u8> {
        let room = self.records[stream as usize].get_or_insert_default();
        room.clear();
        room
    }
}

/// Posts to send.
pub trait Feed {
    /// How many there are; none = endless.
    fn posts(&self) -> Option<u64>;

    /// The post of a place; says whether there is one.
    fn fetch(&mut self, place: Place, post: &mut Post) -> Result<bool, Failure>;
}

impl Feed for Posts {
    fn posts(&self) -> Option<u64> {
        None
    }

    fn fetch(&mut self, place: Place, post: &mut Post) -> Result<bool, Failure> {
        for stream in Stream::ALL {
            let out = post.room(stream);
            let index = match place {
                Place::Nth(n) => self.record(stream, n, out),
                Place::Index(index) => {
                    self.row(stream, index, out);
                    index
                }
            };
            post.index = Some(index);
        }
        Ok(true)
    }
}

/// Three tables, joined by their index.
#[derive(Debug)]
pub struct Tables {
    /// What they are called in messages.
    name: String,
    tables: [Table; 3],
    posts: Vec<Joined>,
    /// The first post of an index; of none where posts are sent in sequence.
    first: ByIndex,
}

impl Tables {
    /// The posts of three tables, pin, geo, user, to be sent in an order.
    pub fn new(name: String, tables: [Table; 3], order: Order) -> Result<Self, Failure> {
        let (posts, first) = match order {
            Order::Sequence => (join::in_order(&tables), ByIndex::default()),
            Order::Random | Order::Stock => join::by_index(&tables),
        };
        if posts.is_empty() {
            let message = format!("reading {name}: there is not one record");
            return Err(Failure::new(exit::UNAVAILABLE, message, "fill it, or read another"));
        }
        Ok(Tables { name, tables, posts, first })
    }
}

/// The lines of `pin.jsonl`, `geo.jsonl`, `user.jsonl` in a folder, as far as they are there.
pub fn folder(dir: &Path) -> Result<[Table; 3], Failure> {
    let mut tables: [Table; 3] = Default::default();
    let mut found = false;
    for (stream, path) in files(dir) {
        match Table::of_file(&path) {
            Ok(table) => {
                tables[stream as usize] = table;
                found = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io(format!("reading {}", path.display()), &error)),
        }
    }
    if found {
        return Ok(tables);
    }
    let message = format!("reading {}: no pin.jsonl, geo.jsonl or user.jsonl", dir.display());
    let hint = "name the folder that holds one of them; compressed files are to be unpacked";
    Err(Failure::new(exit::UNAVAILABLE, message, hint))
}

/// Where the streams' lines are in a folder.
pub fn files(dir: &Path) -> [(Stream, PathBuf); 3] {
    Stream::ALL.map(|stream| (stream, dir.join(format!("{}.jsonl", stream.name()))))
}

impl Feed for Tables {
    fn posts(&self) -> Option<u64> {
        Some(self.posts.len() as u64)
    }

    fn fetch(&mut self, place: Place, post: &mut Post) -> Result<bool, Failure> {
        let joined = match place {
            Place::Nth(n) => self.posts.get(n as usize),
            Place::Index(index) => self.first.get(&index).map(|n| &self.posts[*n as usize]),
        };
        let Some(joined) = joined else {
            return Ok(false);
        };
        post.index = None;
        for stream in Stream::ALL {
            let table = &self.tables[stream as usize];
            let Some(row) = joined.row(stream as usize) else {
                post.records[stream as usize] = None;
                continue;
            };
            post.index = post.index.or(table.index(row));
            table.read(row, post.room(stream)).map_err(|error| {
                let doing = format!("reading a {} of {}", stream.name(), self.name);
                let mut failure = Failure::io(doing, &error);
                if error.kind() == std::io::ErrorKind::UnexpectedEof {
                    failure.exit_code = exit::DATA;
                    failure.hint = Some("do not change the files while they are sent".into());
                }
                failure
            })?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_of_a_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).expect("written");
        };
        write("pin.jsonl", "{\"index\":4}\n");
        write("user.jsonl", "{\"ind\":3}\n{\"ind\":4}\n");
        let read = |order, place| {
            let tables = folder(dir.path()).expect("there");
            let mut tables = Tables::new("d".into(), tables, order).expect("some");
            assert_eq!(tables.posts(), Some(2));
            let mut post = Post::default();
            let there = tables.fetch(place, &mut post).expect("readable");
            let text = |stream| post.record(stream).map(|r| String::from_utf8_lossy(r).into());
            let texts: [Option<String>; 3] = Stream::ALL.map(text);
            there.then_some((post.index, texts))
        };
        let user = |n: u64| Some(format!("{{\"ind\":{n}}}"));
        let both = Some((Some(4), [Some("{\"index\":4}".into()), None, user(4)]));
        let one = Some((Some(3), [None, None, user(3)]));
        assert_eq!(read(Order::Sequence, Place::Nth(0)), one);
        assert_eq!(read(Order::Sequence, Place::Nth(1)), both);
        assert_eq!(read(Order::Sequence, Place::Nth(2)), None);
        assert_eq!(read(Order::Random, Place::Nth(0)), both);
        assert_eq!(read(Order::Stock, Place::Index(4)), both);
        assert_eq!(read(Order::Stock, Place::Index(5)), None);
    }

    #[test]
    fn a_folder_without_records_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let failure = folder(dir.path()).expect_err("nothing is there");
        assert_eq!(failure.exit_code, exit::UNAVAILABLE);
        assert!(failure.message.contains("no pin.jsonl"), "{failure}");
        std::fs::write(dir.path().join("geo.jsonl"), "\n\n").expect("written");
        let failure = folder(dir.path())
            .and_then(|t| Tables::new("d".into(), t, Order::Sequence))
            .expect_err("nothing is in it");
        assert!(failure.message.contains("not one record"), "{failure}");
    }
}
