//! Declarations of metrics as a user writes them, random ones and every kind in turn, read by
//! both the product and the oracle.

use std::fmt::Write as _;

use dataflows::metrics::declare::Metric;
use proptest::prelude::*;

use crate::oracle;

/// Metrics as declared, as pinflow reads them and as the oracle does.
pub struct Declared {
    /// Each one's TOML.
    pub text: Vec<String>,
    /// For pinflow.
    pub metrics: Vec<Metric>,
    /// For the oracle.
    pub oracle: Vec<oracle::metric::Metric>,
}

impl Declared {
    /// Reads declarations.
    pub fn new(text: Vec<String>) -> Self {
        let whole = text.join("\n");
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        std::io::Write::write_all(&mut file, whole.as_bytes()).expect("it can be written");
        let loaded =
            pinflow::config::load(&[file.path().into()], &[], &pinflow::config::Env::new());
        let metrics = match loaded {
            Ok(loaded) => loaded.config.metrics,
            Err(problems) => {
                let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
                panic!("{}\nof\n{whole}", list.join("\n"))
            }
        };
        Declared { metrics, oracle: oracle::metric::from_text(&whole), text }
    }
}

/// Facts with the columns they have.
pub const FACTS: [&str; 14] = [
    "pin",
    "geo",
    "user",
    "pin+geo",
    "pin+user",
    "geo+user",
    "posts",
    "arrivals",
    "arrivals+geo",
    "arrivals+user",
    "arrivals+geo+user",
    "people",
    "records",
    "fields",
];

/// A column and what can be measured of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ty {
    Text,
    Number,
    Time,
}

type Column = (&'static str, Ty);

const PIN: [Column; 8] = [
    ("category", Ty::Text),
    ("poster_name", Ty::Text),
    ("follower_count", Ty::Number),
    ("downloaded", Ty::Number),
    ("tags", Ty::Number),
    ("title", Ty::Text),
    ("length(title)", Ty::Number),
    ("tag_list", Ty::Text),
];
const GEO: [Column; 8] = [
    ("country", Ty::Text),
    ("latitude", Ty::Number),
    ("longitude", Ty::Number),
    ("timestamp", Ty::Time),
    ("post_year", Ty::Number),
    ("hour_of_day", Ty::Number),
    ("geo_cell", Ty::Text),
    ("length(country)", Ty::Number),
];
const USER: [Column; 6] = [
    ("user_name", Ty::Text),
    ("age", Ty::Number),
    ("age_group", Ty::Text),
    ("date_joined", Ty::Time),
    ("join_year", Ty::Number),
    ("length(user_name)", Ty::Number),
];
const RECORDS: [Column; 3] = [("stream", Ty::Text), ("outcome", Ty::Text), ("reason", Ty::Text)];
const FIELDS: [Column; 4] =
    [("stream", Ty::Text), ("column", Ty::Text), ("state", Ty::Text), ("reason", Ty::Text)];

fn columns(fact: &str) -> Vec<Column> {
    let has = |side: &str| fact == "posts" || fact.split('+').any(|part| part == side);
    let mut out = Vec::new();
    match fact {
        "records" => return RECORDS.to_vec(),
        "fields" => return FIELDS.to_vec(),
        "people" => return USER.to_vec(),
        _ => {}
    }
    if has("pin") || has("arrivals") {
        out.extend(PIN);
    }
    if has("geo") {
        out.extend(GEO);
    }
    if has("user") {
        out.extend(USER);
    }
    out.push(("ind", Ty::Number));
    out
}

/// The columns that rows distinct in these still have.
fn derived(distinct: &[Column]) -> Vec<Column> {
    let has = |name: &str| distinct.iter().any(|(d, _)| *d == name);
    let mut out = distinct.to_vec();
    let from = |base: &str, all: &[Column]| -> Vec<Column> {
        let of = |name: &str| match base {
            "timestamp" => matches!(name, "post_year" | "hour_of_day"),
            "date_joined" => name == "join_year",
            "age" => name == "age_group",
            "tag_list" => name == "tags",
            _ => name == format!("length({base})"),
        };
        all.iter().filter(|(n, _)| has(base) && of(n)).copied().collect()
    };
    for base in ["timestamp", "date_joined", "age", "tag_list", "title", "country", "user_name"] {
        for all in [&PIN[..], &GEO, &USER] {
            out.extend(from(base, all));
        }
    }
    if has("latitude") && has("longitude") {
        out.push(("geo_cell", Ty::Text));
    }
    out
}

fn is_arrivals(fact: &str) -> bool {
    fact.starts_with("arrivals")
}

/// Whether a fact has arrival time, event time.
fn times(fact: &str) -> (bool, bool) {
    let arrival = is_arrivals(fact) || matches!(fact, "records" | "fields");
    let event = fact == "posts" || fact.split('+').any(|part| part == "geo");
    (arrival, event)
}

/// Kinds of windows: none, over arrivals, over events.
pub const WINDOWS: [(&str, &str); 10] = [
    ("", ""),
    ("arrival", r#"[{ size = "1min", every = "10s" }, { size = "10min", every = "5min" }]"#),
    ("arrival", r#"[{ size = "90s" }, "day"]"#),
    ("arrival", r#"["hour", { size = "2min", every = "15s" }]"#),
    ("arrival", r#"["month", "year"]"#),
    ("event", r#"["hour", "day"]"#),
    ("event", r#"["month", "year"]"#),
    ("event", r#"["month", "hour", "year", "day"]"#),
    ("event", r#"[{ size = "30min", every = "10min" }, { size = "6h" }]"#),
    ("event", r#"[{ size = "2h", every = "1h" }]"#),
];

/// How long windows stay.
const RETAINS: [&str; 4] = ["", "0s", "10min", "36h"];

/// The measures of a fact's columns, each as TOML.
fn measures(fact: &str, columns: &[Column]) -> Vec<String> {
    let mut out = vec![r#""count""#.to_string()];
    if matches!(fact, "records" | "fields") {
        out.extend(columns.iter().map(|(c, _)| format!(r#"{{ count = "{c}" }}"#)));
        return out;
    }
    for (column, ty) in columns {
        out.push(format!(r#"{{ count = "{column}" }}"#));
        out.push(format!(r#"{{ count_distinct = "{column}" }}"#));
        out.push(format!(r#"{{ top = "{column}" }}"#));
        out.push(format!(r#"{{ top = "{column}", k = 3 }}"#));
        if *ty == Ty::Number {
            out.push(format!(r#"{{ sum = "{column}" }}"#));
            out.push(format!(r#"{{ mean = "{column}" }}"#));
            out.push(format!(r#"{{ median = "{column}", method = "interpolated" }}"#));
            let method = r#"method = "interpolated""#;
            out.push(format!(r#"{{ quantile = "{column}", q = "0.9", {method} }}"#));
        }
        if *ty != Ty::Text {
            out.push(format!(r#"{{ min = "{column}" }}"#));
            out.push(format!(r#"{{ max = "{column}" }}"#));
            out.push(format!(r#"{{ median = "{column}" }}"#));
            out.push(format!(r#"{{ quantile = "{column}", q = "0.25" }}"#));
            for (returning, _) in columns.iter().filter(|(c, _)| c != column) {
                out.push(format!(r#"{{ argmax = "{column}", returning = "{returning}" }}"#));
            }
        }
    }
    out
}

/// Conditions of a fact's columns.
fn conditions(fact: &str, columns: &[Column]) -> Vec<String> {
    let mut out = Vec::new();
    for (column, ty) in columns {
        out.push(format!("{column} is not null"));
        out.push(format!("{column} is null"));
        match (ty, *column) {
            (Ty::Text, "outcome") => out.push("outcome = 'kept'".into()),
            (Ty::Text, "state") => out.push("state != 'value'".into()),
            (Ty::Text, "age_group") => out.push("age_group = '18-24'".into()),
            (Ty::Text, "stream") => out.push("stream != 'geo'".into()),
            (Ty::Text, _) if !matches!(fact, "records" | "fields") => {
                out.push(format!("{column} >= 'art' and {column} != 'bob'"));
            }
            (Ty::Number, "latitude" | "longitude") => out.push(format!("{column} > 0")),
            (Ty::Number, _) => out.push(format!("{column} >= 3 and {column} < 2016")),
            (Ty::Time, _) => out.push(format!("{column} < '2024-01-01 00:00:00'")),
            _ => {}
        }
    }
    out
}

/// Chooses by numbers that shrink to zero.
struct Picks<'a>(std::slice::Iter<'a, u8>);

impl Picks<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |p| *p as usize) * n / 256
    }

    fn one<T: Clone>(&mut self, list: &[T]) -> T {
        let n = self.below(list.len());
        list[n].clone()
    }

    fn some<T: Clone + PartialEq>(&mut self, list: &[T], most: usize) -> Vec<T> {
        let mut out = Vec::new();
        for _ in 0..self.below(most + 1) {
            let item = self.one(list);
            if !out.contains(&item) {
                out.push(item);
            }
        }
        out
    }

    /// Something happens in so many of ten cases; never for zeros.
    fn chance(&mut self, of_ten: usize) -> bool {
        self.below(10) >= 10 - of_ten
    }
}

fn quoted(list: &[Column]) -> String {
    list.iter().map(|(c, _)| format!("{c:?}")).collect::<Vec<_>>().join(", ")
}

/// A declaration of random choices.
fn declaration(n: usize, picks: &[u8]) -> String {
    let mut p = Picks(picks.iter());
    let fact = p.one(&FACTS);
    let all = columns(fact);
    let about = matches!(fact, "records" | "fields");
    let bag = !about && !is_arrivals(fact) && fact != "people" && p.chance(1);
    let mut distinct = Vec::new();
    if !about && p.chance(3) {
        let first = p.one(&all);
        distinct.push(first);
        distinct.extend(p.some(&all, 2).into_iter().filter(|c| *c != first));
    }
    let has = if distinct.is_empty() { all.clone() } else { derived(&distinct) };
    let keys = p.some(&has, 2);
    let of: Vec<_> = has.iter().filter(|c| !keys.contains(c)).copied().collect();
    let mut out = format!("[[metric]]\nname = \"m{n}\"\nmeaning = \"random\"\nof = \"{fact}\"\n");
    let _ = writeln!(out, "by = [{}]", quoted(&keys));
    if !distinct.is_empty() {
        let _ = writeln!(out, "distinct = [{}]", quoted(&distinct));
    }
    if p.chance(3) {
        let _ = writeln!(out, "where = {:?}", p.one(&conditions(fact, &all)));
    }
    let (list, ties) = chosen(&mut p, fact, &of, &has);
    let _ = writeln!(out, "measures = [{}]", list.join(", "));
    if ties {
        out += "ties = \"all\"\n";
    }
    out += &windows(&mut p, fact, bag);
    if bag {
        out += "join = \"bag\"\n";
    }
    if p.chance(2) {
        out += "keep_empty = true\n";
    }
    out
}

/// One to three measures with names of their own, and whether all ties are shown.
fn chosen(p: &mut Picks<'_>, fact: &str, of: &[Column], has: &[Column]) -> (Vec<String>, bool) {
    let possible = measures(fact, of);
    let mut list: Vec<String> = Vec::new();
    let mut winners = false;
    for at in 0..=p.below(3) {
        let mut measure = p.one(&possible);
        let winner = measure.contains("top =") || measure.contains("argmax =");
        // One of these a metric: names and rows of two would meet.
        if winner && std::mem::replace(&mut winners, true) {
            continue;
        }
        if measure == r#""count""# {
            measure = r#"{ count = "*" }"#.into();
        }
        let name = format!(", name = \"v{at}\"");
        let filter = if p.chance(3) {
            format!(", where = {:?}", p.one(&conditions(fact, has)))
        } else {
            String::new()
        };
        let end = measure.len() - 2;
        measure.insert_str(end, &format!("{name}{filter}"));
        list.push(measure);
    }
    let ties = winners && p.chance(5);
    let counts: Vec<usize> =
        (0..list.len()).filter(|at| list[*at].starts_with("{ count = ")).collect();
    if let [first, .., last] = counts[..]
        && p.chance(5)
    {
        let name = |at: usize| {
            let from = list[at].find("\"v").expect("a name");
            &list[at][from..from + 4]
        };
        let ratio = format!("{{ ratio = {}, over = {}, name = \"r\" }}", name(first), name(last));
        list.push(ratio);
    }
    (list, ties)
}

/// `windows`, `time` and `retain`.
fn windows(p: &mut Picks<'_>, fact: &str, bag: bool) -> String {
    let (arrival, event) = times(fact);
    let possible: Vec<_> = WINDOWS
        .iter()
        .filter(|(time, _)| match *time {
            "arrival" => arrival && !bag,
            "event" => event,
            _ => true,
        })
        .collect();
    let (time, list) = p.one(&possible);
    if list.is_empty() {
        return String::new();
    }
    windowed(time, list, p.one(&RETAINS))
}

fn windowed(time: &str, list: &str, retain: &str) -> String {
    let mut out = format!("time = \"{time}\"\nwindows = {list}\n");
    let all_slide = time == "arrival"
        && list.matches("size").count() == list.matches("every").count()
        && !list.contains("\"hour\"")
        && !list.contains("\"day\"")
        && !list.contains("\"month\"");
    if !retain.is_empty() && !all_slide {
        let _ = writeln!(out, "retain = \"{retain}\"");
    }
    out
}

/// Random declarations.
pub fn random() -> impl Strategy<Value = Vec<String>> {
    let picks = prop::collection::vec(any::<u8>(), 32..33);
    prop::collection::vec(picks, 1..10)
        .prop_map(|list| list.iter().enumerate().map(|(n, p)| declaration(n, p)).collect())
}

/// Facts whose rows are each among those of the first.
const AMONG: [&[&str]; 6] = [
    &["pin+geo", "posts"],
    &["geo", "pin+geo", "geo+user", "posts"],
    &["pin", "pin+user", "pin+geo", "posts"],
    &["arrivals", "arrivals+geo", "arrivals+user", "arrivals+geo+user"],
    &["records"],
    &["fields"],
];

/// Metrics by the same keys, of some of the same rows and windows.
fn related(picks: &[u8]) -> Vec<String> {
    let mut p = Picks(picks.iter());
    let facts = p.one(&AMONG);
    let all = columns(facts[0]);
    let keys = p.some(&all, 2);
    let filters: Vec<String> = (0..3).map(|_| p.one(&conditions(facts[0], &all))).collect();
    let (time, windows): (&str, &[&str]) = match times(facts[0]) {
        _ if p.chance(3) => ("", &[]),
        (true, _) => (
            "arrival",
            &[
                r#"{ size = "1min", every = "10s" }"#,
                r#""hour""#,
                r#""day""#,
                r#"{ size = "90s" }"#,
            ],
        ),
        (_, true) => ("event", &[r#""hour""#, r#""day""#, r#""month""#, r#"{ size = "6h" }"#]),
        _ => ("", &[]),
    };
    let retain = p.one(&RETAINS);
    let plain = matches!(facts[0], "records" | "fields" | "arrivals");
    // Rows that count once, or each; the same of all.
    let distinct = !plain && p.chance(1);
    let bag = !plain && time != "arrival" && p.chance(1);
    let metric = |n: usize| {
        let by = quoted(&keys);
        let mut out = format!("[[metric]]\nname = \"m{n}\"\nmeaning = \"related\"\nby = [{by}]\n");
        let fact = if distinct || bag { facts[0] } else { p.one(facts) };
        let has = columns(fact);
        let of: Vec<_> = has.iter().filter(|c| !keys.contains(c)).copied().collect();
        let _ = writeln!(out, "of = {fact:?}");
        let mut filter = p.some(&filters, 2);
        if p.chance(2) {
            filter.push(p.one(&conditions(fact, &has)));
        }
        if !filter.is_empty() {
            let _ = writeln!(out, "where = {:?}", filter.join(" and "));
        }
        let (list, ties) = if p.chance(4) {
            chosen(&mut p, fact, &of, &has)
        } else {
            (vec![r#"{ count = "*", name = "v0" }"#.into()], false)
        };
        let _ = writeln!(out, "measures = [{}]", list.join(", "));
        if ties {
            out += "ties = \"all\"\n";
        }
        if distinct {
            let _ = writeln!(out, "distinct = [{}]", quoted(&has));
        }
        if bag {
            out += "join = \"bag\"\n";
        }
        let mut some = if windows.is_empty() { Vec::new() } else { p.some(windows, 4) };
        if some.is_empty() {
            some.extend(windows.first());
        }
        if !some.is_empty() {
            out += &windowed(time, &format!("[{}]", some.join(", ")), retain);
        }
        if p.chance(2) {
            out += "keep_empty = true\n";
        }
        out
    };
    (0..6).map(metric).collect()
}

/// Random declarations that share groups.
pub fn sharing() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(any::<u8>(), 250).prop_map(|picks| related(&picks))
}

/// Every kind of measure over every kind of window of a fact, by no key and by its first column.
pub fn every(fact: &str) -> Vec<String> {
    let all = columns(fact);
    let (arrival, event) = times(fact);
    let mut out = Vec::new();
    for (w, (time, list)) in WINDOWS.iter().enumerate() {
        if (*time == "arrival" && !arrival) || (*time == "event" && !event) {
            continue;
        }
        for (m, measure) in measures(fact, &all[1..]).iter().enumerate() {
            let n = out.len();
            let by = if (w + m) % 2 == 0 { quoted(&all[..1]) } else { String::new() };
            let mut text = format!(
                "[[metric]]\nname = \"m{n}\"\nmeaning = \"each\"\nof = \"{fact}\"\nby = [{by}]\n\
                 measure = {measure}\n"
            );
            if !list.is_empty() {
                text += &windowed(time, list, RETAINS[m % RETAINS.len()]);
            }
            out.push(text);
        }
    }
    out
}
