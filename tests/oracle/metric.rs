//! The grammar of `[[metric]]`, read into plain structs: the same files that pinflow is given.

use std::path::Path;

use toml::{Table, Value};

use super::clean::Cell;
use super::parse;

/// What a metric is declared over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Sides joined on the index.
    Sides([bool; 3]),
    /// Pins as they arrived, with these sides.
    Arrivals([bool; 3]),
    /// Distinct users.
    People,
    /// Records read.
    Records,
    /// Their columns.
    Fields,
}

/// The shape of a window, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One after the other.
    Tumbling(i64),
    /// Size and step.
    Sliding(i64, i64),
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

/// A window.
#[derive(Clone, Debug)]
pub struct Window {
    /// As it is written: the unit, or the size.
    pub label: String,
    /// Its shape.
    pub shape: Shape,
    /// Over event time instead of arrival time.
    pub event: bool,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What is compared.
    pub column: String,
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`, `is null`, `is not null`.
    pub op: String,
    /// With what.
    pub constant: Cell,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rows.
    Count,
    /// Rows where the column is not null.
    CountOf(String),
    /// Distinct values.
    CountDistinct(String),
    /// Sum.
    Sum(String),
    /// Mean.
    Mean(String),
    /// Least.
    Min(String),
    /// Greatest.
    Max(String),
    /// Column, numerator and denominator of q, interpolated.
    Quantile(String, i128, i128, bool),
    /// How many, of what.
    Top(usize, String),
    /// Of what, returning what.
    Argmax(String, String),
    /// Names of two measures.
    Ratio(String, String),
}

/// A measure.
#[derive(Clone, Debug)]
pub struct Measure {
    /// The names of its columns: two for top and argmax.
    pub names: Vec<String>,
    /// What is measured.
    pub kind: Kind,
    /// Rows it looks at.
    pub filter: Vec<Condition>,
}

/// A metric.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // as it is written
pub struct Metric {
    /// Its name.
    pub name: String,
    /// What it is declared over.
    pub fact: Fact,
    /// Every record with every other, instead of the newest.
    pub bag: bool,
    /// Rows it looks at.
    pub filter: Vec<Condition>,
    /// Names and columns of the group keys.
    pub keys: Vec<(String, String)>,
    /// Rows equal in these count once.
    pub distinct: Vec<String>,
    /// What is measured.
    pub measures: Vec<Measure>,
    /// None = one without edges.
    pub windows: Vec<Window>,
    /// Microseconds that a window is shown beyond its end.
    pub retain: Option<i64>,
    /// All ties instead of the first.
    pub all_ties: bool,
    /// Groups that saw only nulls are shown.
    pub keep_empty: bool,
    /// Rows a window.
    pub limit: Option<usize>,
    /// Columns to print.
    pub columns: Option<Vec<String>>,
    /// Whether a header stands first.
    pub header: bool,
    /// Pattern of times.
    pub time: Option<String>,
    /// Digits of quotients.
    pub decimals: Option<usize>,
}

/// The metrics of a file and of what it includes, and its age groups.
pub fn load(path: &Path) -> (Vec<Metric>, Vec<(String, i64, i64)>) {
    let text = std::fs::read_to_string(path).expect("the declarations can be read");
    let table: Table = text.parse().expect("the declarations are TOML");
    let mut metrics = Vec::new();
    let mut groups = default_age_groups();
    for include in table.get("include").and_then(Value::as_array).into_iter().flatten() {
        let name = include.as_str().expect("a path");
        let name = name.strip_prefix("builtin:").unwrap_or(name);
        let inner = path.parent().expect("a folder").join(name);
        let (more, ages) = load(&inner);
        metrics.extend(more);
        groups = ages;
    }
    for metric in metrics_of(&table) {
        match metrics.iter_mut().find(|m: &&mut Metric| m.name == metric.name) {
            Some(old) => *old = metric,
            None => metrics.push(metric),
        }
    }
    (metrics, ages_of(&table).unwrap_or(groups))
}

/// The metrics of a text.
pub fn from_text(text: &str) -> Vec<Metric> {
    metrics_of(&text.parse().expect("the declarations are TOML"))
}

/// The usual age groups: label, least and greatest age.
pub fn default_age_groups() -> Vec<(String, i64, i64)> {
    [("under 18", 0, 17), ("18-24", 18, 24), ("25-35", 25, 35), ("36-50", 36, 50), ("50+", 51, 150)]
        .map(|(label, from, to)| (label.to_string(), from, to))
        .to_vec()
}

fn ages_of(table: &Table) -> Option<Vec<(String, i64, i64)>> {
    let list = table.get("columns")?.get("age_groups")?.as_array()?;
    let int = |v: &Value, key: &str| v[key].as_integer().expect("an age");
    let group = |v: &Value| (text(&v["label"]), int(v, "from"), int(v, "to"));
    Some(list.iter().map(group).collect())
}

fn metrics_of(table: &Table) -> Vec<Metric> {
    let list = table.get("metric").and_then(Value::as_array);
    list.into_iter().flatten().map(|v| metric(v.as_table().expect("a table"))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}

fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    }
}

fn metric(table: &Table) -> Metric {
    let known = "name meaning of join where by distinct measure measures windows time retain ties \
                 keep_empty export limit output";
    for key in table.keys() {
        assert!(known.split_whitespace().any(|k| k == key), "the oracle does not know {key}");
    }
    let fact = fact(table["of"].as_str().expect("a fact"));
    let told = |key: &str, word: &str| table.get(key).and_then(Value::as_str) == Some(word);
    let event = match table.get("time").and_then(Value::as_str) {
        Some(time) => time == "event",
        None => matches!(fact, Fact::Sides(_) | Fact::People),
    };
    let measures = list(table.get("measures").or(table.get("measure")));
    let empty = Value::Table(Table::new());
    let output = table.get("output").unwrap_or(&empty);
    let number = |value: Option<&Value>| value.and_then(Value::as_integer).map(|n| n as usize);
    Metric {
        name: text(&table["name"]),
        fact,
        bag: told("join", "bag"),
        filter: conditions(table.get("where")),
        keys: list(table.get("by")).iter().map(key).collect(),
        distinct: list(table.get("distinct")).iter().map(text).collect(),
        measures: measures.iter().map(measure).collect(),
        windows: list(table.get("windows")).iter().map(|w| window(w, event)).collect(),
        retain: table.get("retain").map(|v| duration(v.as_str().expect("a duration"))),
        all_ties: told("ties", "all"),
        keep_empty: table.get("keep_empty").and_then(Value::as_bool).unwrap_or(false),
        limit: number(table.get("limit")),
        columns: output.get("columns").map(|c| list(Some(c)).iter().map(text).collect()),
        header: output.get("header").and_then(Value::as_bool).unwrap_or(true),
        time: output.get("time").map(text),
        decimals: number(output.get("decimals")),
    }
}

fn fact(name: &str) -> Fact {
    let parts: Vec<&str> = name.split('+').map(str::trim).collect();
    let sides = ["pin", "geo", "user"].map(|side| parts.contains(&side));
    match parts[0] {
        "posts" => Fact::Sides([true; 3]),
        "arrivals" => Fact::Arrivals([true, sides[1], sides[2]]),
        "people" => Fact::People,
        "records" => Fact::Records,
        "fields" => Fact::Fields,
        _ => Fact::Sides(sides),
    }
}

fn key(value: &Value) -> (String, String) {
    match value {
        Value::Table(table) => {
            let (name, column) = table.iter().next().expect("name = column");
            (name.clone(), text(column))
        }
        other => (text(other), text(other)),
    }
}

/// A duration in microseconds.
pub fn duration(text: &str) -> i64 {
    let at = text.find(|c: char| !c.is_ascii_digit()).expect("a unit");
    let unit = match &text[at..] {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => panic!("the oracle does not know the unit {other}"),
    };
    text[..at].parse::<i64>().expect("a number") * unit
}

fn window(value: &Value, event: bool) -> Window {
    let unit = match value {
        Value::Table(table) => table["size"].as_str().expect("a size"),
        other => other.as_str().expect("a unit"),
    };
    let every = value.get("every").map(|e| duration(e.as_str().expect("a duration")));
    let shape = match (unit, every) {
        ("hour", _) => Shape::Tumbling(3_600_000_000),
        ("day", _) => Shape::Tumbling(86_400_000_000),
        ("month", _) => Shape::Month,
        ("year", _) => Shape::Year,
        (size, Some(every)) => Shape::Sliding(duration(size), every),
        (size, None) => Shape::Tumbling(duration(size)),
    };
    Window { label: unit.to_string(), shape, event }
}

fn measure(value: &Value) -> Measure {
    let Value::Table(table) = value else {
        assert_eq!(value.as_str(), Some("count"), "a bare measure");
        return Measure { names: vec!["count".into()], kind: Kind::Count, filter: Vec::new() };
    };
    let get = |key: &str| table.get(key).map(text);
    let interpolated = get("method").is_some_and(|m| m == "interpolated");
    let flat = |column: &str| column.replace('(', "_").replace(')', "");
    let plain = |word: &str, column: &str| vec![format!("{word}_{}", flat(column))];
    let one = |word: &'static str, make: fn(String) -> Kind| {
        get(word).map(|column| (plain(word, &column), make(column)))
    };
    let (mut names, kind) = if let Some(column) = get("count") {
        match &*column {
            "*" => (vec!["count".into()], Kind::Count),
            _ => (plain("count", &column), Kind::CountOf(column)),
        }
    } else if let Some(column) = get("median") {
        (plain("median", &column), Kind::Quantile(column, 1, 2, interpolated))
    } else if let Some(column) = get("quantile") {
        let (num, den) = fraction(&get("q").expect("q"));
        (plain("quantile", &column), Kind::Quantile(column, num, den, interpolated))
    } else if let Some(column) = get("top") {
        let k = table.get("k").and_then(Value::as_integer).unwrap_or(1) as usize;
        (vec![flat(&column), "count".into()], Kind::Top(k, column))
    } else if let Some(column) = get("argmax") {
        let returning = get("returning").expect("returning");
        (vec![flat(&returning), flat(&column)], Kind::Argmax(column, returning))
    } else if let Some(a) = get("ratio") {
        (vec!["ratio".into()], Kind::Ratio(a, get("over").expect("over")))
    } else {
        one("count_distinct", Kind::CountDistinct)
            .or_else(|| one("sum", Kind::Sum))
            .or_else(|| one("mean", Kind::Mean))
            .or_else(|| one("min", Kind::Min))
            .or_else(|| one("max", Kind::Max))
            .expect("a measure that the oracle knows")
    };
    if let Some(name) = get("name") {
        *names.last_mut().expect("a name") = name;
    }
    Measure { names, kind, filter: conditions(table.get("where")) }
}

fn fraction(text: &str) -> (i128, i128) {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let den = 10i128.pow(part.len() as u32);
    (format!("{whole}{part}").parse().expect("a decimal"), den)
}

fn conditions(value: Option<&Value>) -> Vec<Condition> {
    list(value).iter().flat_map(|v| parts(&text(v))).map(|p| condition(&p)).collect()
}

/// The parts between `and`s that stand outside quotes.
fn parts(all: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quote = None;
    for word in all.split_inclusive(' ') {
        if quote.is_none() && word.trim() == "and" {
            out.push(String::new());
            continue;
        }
        for c in word.chars().filter(|c| matches!(c, '\'' | '"')) {
            quote = match quote {
                None => Some(c),
                Some(q) if q == c => None,
                other => other,
            };
        }
        out.last_mut().expect("never empty").push_str(word);
    }
    out
}

fn condition(part: &str) -> Condition {
    let part = part.trim();
    for op in ["is not null", "is null"] {
        if let Some(column) = part.strip_suffix(op) {
            let column = column.trim().to_string();
            return Condition { column, op: op.into(), constant: Cell::Null };
        }
    }
    let at = part.find(['=', '!', '<', '>']).expect("an operator");
    let rest = &part[at..];
    let len = rest.bytes().take_while(|b| b"=!<>".contains(b)).count();
    let column = part[..at].trim().to_string();
    let constant = constant(&column, rest[len..].trim());
    Condition { column, op: rest[..len].to_string(), constant }
}

fn constant(column: &str, raw: &str) -> Cell {
    let bare = raw.trim_matches(['\'', '"']);
    match column {
        "latitude" | "longitude" => Cell::Fixed(parse::degrees(raw, 360).expect("degrees")),
        "timestamp" | "date_joined" => Cell::Time(parse::timestamp(bare, &[]).expect("a time")),
        _ if raw.len() != bare.len() => Cell::Text(bare.into()),
        _ => Cell::Int(raw.parse().expect("an integer")),
    }
}
