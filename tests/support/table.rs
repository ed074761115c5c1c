//! Reading printed rows, and comparing them.

use std::collections::BTreeMap;
use std::path::Path;

/// The rows of a CSV text (RFC 4180).
pub fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut inside, mut any) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        any = true;
        match (inside, c) {
            (true, '"') if chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            (true, '"') => inside = false,
            (false, '"') => inside = true,
            (false, ',') => row.push(std::mem::take(&mut cell)),
            (false, '\r') => {}
            (false, '\n') => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
                any = false;
            }
            (_, c) => cell.push(c),
        }
    }
    if any {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// The rows of a TSV text; tab, line end and backslash within a cell are `\t`, `\n`, `\\`.
pub fn tsv(text: &str) -> Vec<Vec<String>> {
    let cell = |raw: &str| {
        let mut out = String::new();
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            match (c, c == '\\') {
                (_, true) => match chars.next() {
                    Some('t') => out.push('\t'),
                    Some('n') => out.push('\n'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.push(other),
                    None => out.push('\\'),
                },
                (c, _) => out.push(c),
            }
        }
        out
    };
    text.split_terminator('\n').map(|line| line.split('\t').map(cell).collect()).collect()
}

/// The rows of a file, by its ending.
pub fn read(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()));
    if path.extension().is_some_and(|e| e == "csv") { csv(&text) } else { tsv(&text) }
}

/// A cell in a form in which equal numbers are equal: quotients may be printed with more or
/// fewer digits.
pub fn plain(cell: &str) -> String {
    let number = cell.parse::<f64>().ok().filter(|_| cell.contains('.') || cell.contains('e'));
    match number {
        Some(n) if n.is_finite() => {
            let text = format!("{n:.9e}");
            let (digits, power) = text.split_once('e').expect("scientific");
            let digits = digits.trim_end_matches('0').trim_end_matches('.');
            match format!("{digits}e{power}").parse::<f64>() {
                Ok(n) => format!("{n}"),
                Err(_) => text,
            }
        }
        _ => cell.to_string(),
    }
}

/// Asserts that two lists of rows hold the same rows, in any order, each as often.
pub fn same(what: &str, ours: &[Vec<String>], right: &[Vec<String>]) {
    let mut counts: BTreeMap<Vec<String>, i64> = BTreeMap::new();
    let flat = |row: &Vec<String>| row.iter().map(|c| plain(c)).collect::<Vec<_>>();
    for row in ours {
        *counts.entry(flat(row)).or_default() += 1;
    }
    for row in right {
        *counts.entry(flat(row)).or_default() -= 1;
    }
    counts.retain(|_, n| *n != 0);
    if counts.is_empty() {
        return;
    }
    let side = |sign: i64| {
        let rows = counts.iter().filter(|(_, n)| n.signum() == sign).take(8);
        rows.map(|(row, n)| format!("  {}x {row:?}", n.abs())).collect::<Vec<_>>().join("\n")
    };
    panic!(
        "{what}: {} rows differ ({} shown, {} right)\nshown, but wrong:\n{}\nright, but not \
         shown:\n{}",
        counts.len(),
        ours.len(),
        right.len(),
        side(1),
        side(-1)
    );
}
