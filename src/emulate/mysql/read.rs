//! Reading the three tables.
//!
//! Promises: a row is sent as `json.dumps(row, default=str)` of the stock script, without its
//! blanks: keys in the order of the columns, texts as they are, times as `YYYY-MM-DD HH:MM:SS`.
//! Limits: the tables are held in memory while posts are sent; at most [`BYTES_MAX`] of rows.

use dataflows::record::Stream;
use mysql::consts::ColumnType;
use mysql::prelude::Queryable;
use mysql::{Column, Value};

use super::{Database, Failure, exit, row, table};
use crate::emulate::table::Table;

/// Rows of all tables together; bytes. The course's have 11 MB.
const BYTES_MAX: usize = 4 << 30;

/// The rows of the three tables in the order of each, as records.
pub fn tables(database: &mut Database) -> Result<[Table; 3], Failure> {
    let mut tables: [Table; 3] = Default::default();
    let mut bytes = 0;
    for stream in Stream::ALL {
        let name = table(stream);
        let read = fill(database, stream, &mut tables[stream as usize], &mut bytes);
        read.map_err(|error| database.failed(&format!("reading table {name}"), &error))?;
        if bytes > BYTES_MAX {
            let message = format!("reading {}: the tables hold over 4 GiB", database.name);
            let hint = "export them to files and send these: --from DIR";
            return Err(Failure::new(exit::UNAVAILABLE, message, hint));
        }
    }
    Ok(tables)
}

fn fill(
    database: &mut Database,
    stream: Stream,
    into: &mut Table,
    bytes: &mut usize,
) -> Result<(), mysql::Error> {
    let mut record = Vec::new();
    // Without an order of ours, as the stock script reads it.
    for row in database.conn.query_iter(format!("SELECT * FROM `{}`", table(stream)))? {
        let row = row?;
        record.clear();
        let mut index = None;
        for (n, column) in row.columns_ref().iter().enumerate() {
            let value = row.as_ref(n).unwrap_or(&Value::NULL);
            if index.is_none() && row::is_key(&column.name_str()) {
                index = number(value);
            }
            record.push(if n == 0 { b'{' } else { b',' });
            text(column.name_str().as_bytes(), &mut record);
            record.push(b':');
            json(column, value, &mut record);
        }
        record.push(b'}');
        *bytes += record.len();
        if *bytes > BYTES_MAX {
            return Ok(());
        }
        into.push(index, &record);
    }
    Ok(())
}

/// The digits of a value.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Bytes(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

/// A value as JSON. The text protocol gives every value but null as text.
fn json(column: &Column, value: &Value, out: &mut Vec<u8>) {
    let Value::Bytes(bytes) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    let kind = column.column_type();
    if !kind.is_numeric_type() {
        return text(bytes, out);
    }
    out.extend_from_slice(bytes);
    let real = matches!(kind, ColumnType::MYSQL_TYPE_FLOAT | ColumnType::MYSQL_TYPE_DOUBLE);
    if real && !bytes.iter().any(|b| b".eE".contains(b)) {
        // A whole number of a real column is 122.0, as Python writes it.
        out.extend_from_slice(b".0");
    }
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    // Texts come in UTF-8; of a binary column what is not is replaced.
    let text = String::from_utf8_lossy(bytes);
    serde_json::to_writer(out, &*text).expect("a text in memory is JSON");
}
