//! Creating and filling the three tables.
//!
//! Promises: the rows of all tables are there together or not at all; rows keep the order of the
//! records. A record that is no row of its table is left out and counted.
//! What can go wrong: tables that have rows already are not touched unless they are to be replaced.

use std::fmt::Write as _;

use dataflows::record::Stream;
use mysql::prelude::Queryable;
use mysql::{TxOpts, Value};

use super::row::{self, Kind, columns};
use super::{Database, Failure, exit, table};
use crate::emulate::stop::Stop;
use crate::emulate::table::Table;

/// Rows of a statement at most; with the 12 columns of a pin far below 65 535 values.
const ROWS: usize = 500;
/// Bytes of a statement's rows, far below what a server takes by default (16 MiB).
const BYTES: usize = 1 << 20;

/// What was loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows of pin, geo, user.
    pub rows: [u64; 3],
    /// Records that were left out.
    pub left_out: u64,
    /// Which was the first, and why.
    pub first: Option<String>,
}

/// Creates the tables and fills them with records in the order pin, geo, user.
pub fn load(
    database: &mut Database,
    tables: &[Table; 3],
    replace: bool,
    stop: &Stop,
) -> Result<Loaded, Failure> {
    for stream in Stream::ALL {
        create(database, stream, replace)?;
    }
    let name = database.name.clone();
    let failed = |error: &mysql::Error| {
        let message = format!("filling the tables of {name}: {error}; no row was kept");
        Failure::new(exit::UNAVAILABLE, message, "put right what it says, then load again")
    };
    let mut loaded = Loaded::default();
    let mut all = database.conn.start_transaction(TxOpts::default()).map_err(|e| failed(&e))?;
    for stream in Stream::ALL {
        let records = &tables[stream as usize];
        let mut next = 0;
        while next < records.len() {
            if stop.asked() {
                let message = format!("loading into {name} was stopped; no row was kept");
                return Err(Failure::new(exit::TRY_AGAIN, message, "load again"));
            }
            let rows = rows(stream, records, &mut next, &mut loaded)?;
            if !rows.is_empty() {
                let count = rows.len() / columns(stream).len();
                all.exec_drop(insert(stream, count), rows).map_err(|e| failed(&e))?;
                loaded.rows[stream as usize] += count as u64;
            }
        }
    }
    all.commit().map_err(|e| failed(&e))?;
    Ok(loaded)
}

fn create(database: &mut Database, stream: Stream, replace: bool) -> Result<(), Failure> {
    let name = table(stream);
    let mut run = |sql: String| {
        let done = database.conn.query_drop(sql);
        done.map_err(|error| database.failed(&format!("creating table {name}"), &error))
    };
    if replace {
        run(format!("DROP TABLE IF EXISTS `{name}`"))?;
    }
    run(definition(stream))?;
    let some = database.conn.query_first::<u8, _>(format!("SELECT 1 FROM `{name}` LIMIT 1"));
    if some.map_err(|error| database.failed(&format!("reading table {name}"), &error))?.is_some() {
        let message = format!("table {name} of {} has rows already", database.name);
        let hint = "to drop the three tables and create them anew, add --replace";
        return Err(Failure::new(exit::USAGE, message, hint));
    }
    Ok(())
}

fn definition(stream: Stream) -> String {
    let mut sql = format!("CREATE TABLE IF NOT EXISTS `{}` (", table(stream));
    let mut key = "";
    for (name, kind) in columns(stream) {
        let kind = match kind {
            Kind::Key => {
                key = name;
                "BIGINT NOT NULL"
            }
            Kind::Integer => "BIGINT",
            Kind::Real => "DOUBLE",
            Kind::Text => "MEDIUMTEXT",
            Kind::Time => "DATETIME",
        };
        let _ = write!(sql, "`{name}` {kind}, ");
    }
    // An index may come more than once: the key helps to find, it does not forbid.
    let _ = write!(sql, "KEY (`{key}`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4");
    sql
}

/// The values of the next records, as many as one statement takes.
fn rows(
    stream: Stream,
    records: &Table,
    next: &mut usize,
    loaded: &mut Loaded,
) -> Result<Vec<Value>, Failure> {
    let (mut values, mut record, mut bytes, mut count) = (Vec::new(), Vec::new(), 0, 0);
    while *next < records.len() && count < ROWS && bytes < BYTES {
        record.clear();
        let doing = || format!("reading a {}", stream.name());
        records.read(*next, &mut record).map_err(|error| Failure::io(doing(), &error))?;
        *next += 1;
        match row::values(stream, &record) {
            Ok(row) => {
                values.extend(row);
                bytes += record.len();
                count += 1;
            }
            Err(why) => {
                loaded.left_out += 1;
                let text = || format!("{} {}: {why}", stream.name(), *next);
                loaded.first.get_or_insert_with(text);
            }
        }
    }
    Ok(values)
}

fn insert(stream: Stream, rows: usize) -> String {
    let columns = columns(stream);
    let names: Vec<String> = columns.iter().map(|(name, _)| format!("`{name}`")).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(","));
    let rows = vec![row; rows].join(",");
    format!("INSERT INTO `{}` ({}) VALUES {rows}", table(stream), names.join(","))
}
