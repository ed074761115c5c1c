//! Rows as `--results` prints them and as the API answers them.

use super::clean::Cell;
use super::measure::Out;
use super::metric::Metric;
use super::parse;
use super::rows::Shown;

/// A moment as RFC 3339 in UTC, with a fraction only if there is one.
pub fn moment(nanos: i128) -> String {
    let day = nanos.div_euclid(parse::SECOND * 86_400);
    let rest = nanos.rem_euclid(parse::SECOND * 86_400);
    let (year, month, day) = parse::civil(day as i64);
    let (seconds, part) = (rest / parse::SECOND, rest % parse::SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let part = if part == 0 {
        String::new()
    } else {
        format!(".{}", format!("{part:09}").trim_end_matches('0'))
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{part}Z")
}

/// Degrees in 1e-7 as a decimal.
pub fn fixed(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, part) = (value.abs() / 10_000_000, value.abs() % 10_000_000);
    let part = format!("{part:07}");
    let part = part.trim_end_matches('0');
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

fn out(value: &Out, metric: &Metric) -> String {
    match value {
        Out::Null => String::new(),
        Out::Text(t) => t.to_string(),
        Out::Time(nanos) => time(*nanos, metric),
        Out::Number(n, 1, false) => n.to_string(),
        Out::Number(n, _, false) => fixed(*n),
        Out::Number(num, den, true) => {
            let quotient = *num as f64 / *den as f64;
            match metric.decimals {
                Some(digits) => format!("{quotient:.digits$}"),
                None => format!("{quotient}"),
            }
        }
    }
}

fn time(nanos: i128, metric: &Metric) -> String {
    let Some(pattern) = &metric.time else { return moment(nanos) };
    let (secs, part) = (nanos.div_euclid(parse::SECOND), nanos.rem_euclid(parse::SECOND));
    let there = chrono::DateTime::from_timestamp(secs as i64, part as u32).expect("in range");
    there.format(pattern).to_string()
}

/// The names of the columns of a metric, in the order in which they are printed.
pub fn header(metric: &Metric) -> Vec<String> {
    if let Some(columns) = &metric.columns {
        return columns.clone();
    }
    let edges: &[&str] = if metric.windows.is_empty() { &[] } else { &["window", "start", "end"] };
    let names = metric.keys.iter().map(|(name, _)| name);
    let measures = metric.measures.iter().flat_map(|m| &m.names);
    edges.iter().map(ToString::to_string).chain(names.chain(measures).cloned()).collect()
}

/// The cells of a row, as printed, in the order of [`header`].
pub fn cells(row: &Shown, metric: &Metric) -> Vec<String> {
    let names: Vec<&String> = metric.measures.iter().flat_map(|m| &m.names).collect();
    let edge = |at: Option<i64>| at.map_or(String::new(), |t| time(i128::from(t) * 1000, metric));
    let one = |column: &String| {
        if let Some(place) = metric.keys.iter().position(|(name, _)| name == column) {
            return out(&Out::cell(&row.keys[place]), metric);
        }
        if let Some(place) = names.iter().position(|name| *name == column) {
            return out(&row.values[place], metric);
        }
        match &**column {
            "window" => metric.windows.get(row.window).map_or("", |w| &w.label).to_string(),
            "start" => edge(row.edges.map(|e| e.0)),
            "end" => edge(row.edges.map(|e| e.1)),
            other => panic!("the oracle does not know the column {other}"),
        }
    };
    header(metric).iter().map(one).collect()
}

/// A cell of a cleaned table as JSON.
pub fn json(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Int(n) => (*n).into(),
        Cell::Fixed(n) => fixed((*n).into()).parse::<f64>().expect("a decimal").into(),
        Cell::Time(t) => moment(*t).into(),
        Cell::Text(t) => (&**t).into(),
    }
}
