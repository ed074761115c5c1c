//! Query results of public repositories: their inputs put back into wire form, a declaration for
//! each query, and whether rows are what was shown. Nothing is computed here but the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::table::plain;

/// A file of results.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// Whose.
    pub repo: String,
    /// Inputs by name.
    pub datasets: BTreeMap<String, Dataset>,
    /// Results.
    pub queries: Vec<Query>,
}

/// Cleaned rows of one stream.
#[derive(Debug, Deserialize)]
pub struct Dataset {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// A query's result.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// `Q1_...` to `Q8_...`.
    #[serde(rename = "query")]
    pub name: String,
    /// Under which semantics the rows are right.
    pub semantics: String,
    /// Names of datasets.
    pub inputs: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// The files of a folder.
pub fn load(dir: &Path) -> Vec<Golden> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{} cannot be read: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no .json", dir.display());
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).expect("the file can be read");
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    paths.iter().map(read).collect()
}

impl Dataset {
    /// The stream that has its columns.
    pub fn stream(&self) -> &'static str {
        let has = |names: &[&str]| self.columns.iter().any(|c| names.contains(&&**c));
        if has(&["category", "poster_name", "follower_count", "title", "unique_id"]) {
            "pin"
        } else if has(&["user_name", "age", "date_joined"]) {
            "user"
        } else {
            "geo"
        }
    }

    /// Its rows as a producer sends them, one a line.
    pub fn wire(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let mut sent = match self.stream() {
                "pin" => json!({"unique_id": "u", "category": null}),
                "geo" => json!({"timestamp": null, "country": null}),
                _ => json!({"first_name": null, "date_joined": null}),
            };
            for (column, value) in self.columns.iter().zip(row) {
                let (key, value) = sent_as(column, value);
                sent[key] = value;
            }
            writeln!(out, "{sent}").expect("a string takes all");
        }
        out
    }
}

fn sent_as<'a>(column: &'a str, value: &Value) -> (&'a str, Value) {
    match (column, value) {
        ("follower_count" | "poster_name", Value::Null) => (column, "User Info Error".into()),
        ("follower_count", Value::Number(n)) => {
            let n = n.as_i64().unwrap_or_else(|| n.as_f64().expect("a number") as i64);
            let text = match n {
                0 => "0".to_string(),
                n if n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
                n if n % 1000 == 0 => format!("{}k", n / 1000),
                n => n.to_string(),
            };
            (column, text.into())
        }
        ("user_name", value) => ("first_name", value.clone()),
        ("tag_list", Value::Null) => (column, "N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e".into()),
        (column, value) => (column, value.clone()),
    }
}

impl Golden {
    /// The queries by the inputs that they share, so that one run answers several.
    pub fn runs(&self) -> BTreeMap<&[String], Vec<&Query>> {
        let mut out: BTreeMap<&[String], Vec<&Query>> = BTreeMap::new();
        for query in &self.queries {
            out.entry(&query.inputs).or_default().push(query);
        }
        out
    }

    /// The streams of some inputs, in order.
    pub fn streams(&self, inputs: &[String]) -> Vec<&'static str> {
        let there: BTreeSet<_> = inputs.iter().map(|name| self.datasets[name].stream()).collect();
        ["pin", "geo", "user"].into_iter().filter(|s| there.contains(s)).collect()
    }

    /// Writes the inputs' files into a folder.
    pub fn write(&self, inputs: &[String], dir: &Path) {
        for name in inputs {
            let set = &self.datasets[name];
            let path = dir.join(format!("{}.jsonl", set.stream()));
            std::fs::write(path, set.wire()).expect("the file can be written");
        }
    }
}

/// The tie rules under which a query is declared: the first is compared with what was shown.
pub const TIES: [&str; 2] = ["all", "first"];

impl Query {
    /// The semantics without its years.
    fn form(&self) -> &str {
        self.semantics.split(' ').next().expect("never empty")
    }

    /// The declaration under one tie rule.
    pub fn declaration(&self, name: &str, streams: &[&str], ties: &str) -> String {
        let number = self.name.split('_').next().expect("never empty");
        let measured = self.columns.last().expect("a column");
        let year = if streams.contains(&"geo") { "post_year" } else { "join_year" };
        let key = |column: &String| match &**column {
            "post_year" | "year" if number != "Q2" => format!("{{ {column} = \"{year}\" }}"),
            column => format!("\"{column}\""),
        };
        let form = self.form();
        let named = format!("name = \"{measured}\"");
        let all = &self.columns[..self.columns.len() - 1];
        let (keys, measure) = match (number, form) {
            ("Q3a" | "Q3b", _) => {
                let (winner, keys) = all.split_last().expect("a winner");
                let of = format!("argmax = \"follower_count\", returning = \"{winner}\"");
                (keys, format!("{{ {of}, {named} }}"))
            }
            (_, "all_counts" | "count_rows" | "count_distinct_name_and_date") => {
                (all, format!("{{ count = \"*\", {named} }}"))
            }
            (_, "top_with_ties" | "top1_any_tie") => {
                let (counted, keys) = all.split_last().expect("what is counted");
                (keys, format!("{{ top = \"{counted}\", {named} }}"))
            }
            (_, "count_distinct_ind") => (all, format!("{{ count_distinct = \"ind\", {named} }}")),
            (_, "count_distinct_name") => {
                (all, format!("{{ count_distinct = \"user_name\", {named} }}"))
            }
            (_, form) if form.contains("median") => {
                let method = if form.starts_with("exact") { "interpolated" } else { "lower" };
                let of = format!("median = \"follower_count\", method = \"{method}\"");
                (all, format!("{{ {of}, {named} }}"))
            }
            (_, other) => panic!("{}: unknown semantics {other}", self.name),
        };
        let mut out = format!(
            "[[metric]]\nname = \"{name}\"\nmeaning = \"{} as {}\"\nof = \"{}\"\njoin = \"bag\"\n\
             measure = {measure}\nby = [{}]\n",
            self.name,
            self.semantics,
            if streams.len() == 3 { "posts".into() } else { streams.join("+") },
            keys.iter().map(key).collect::<Vec<_>>().join(", "),
        );
        if measure.contains("top =") || measure.contains("argmax =") {
            writeln!(out, "ties = \"{ties}\"").expect("a string takes all");
        }
        let distinct = match form {
            f if f.ends_with("distinct_user_rows") => {
                let keys = keys.iter().map(|k| if k.ends_with("year") { year } else { k });
                let own = ["user_name", "date_joined", "follower_count"];
                own.into_iter().chain(keys).collect()
            }
            "count_distinct_name_and_date" => vec!["user_name", "date_joined"],
            _ => Vec::new(),
        };
        if !distinct.is_empty() {
            writeln!(out, "distinct = {distinct:?}").expect("a string takes all");
        }
        if self.semantics.ends_with("2018-2022") {
            out.push_str("where = \"post_year >= 2018 and post_year <= 2022\"\n");
        }
        writeln!(out, "output = {{ columns = {:?} }}\n", self.columns).expect("a string takes all");
        out
    }

    /// Why rows under both tie rules are not what was shown; none if they are.
    pub fn differs(&self, all: &[Vec<String>], first: &[Vec<String>]) -> Option<String> {
        let shown: BTreeSet<Vec<String>> =
            self.rows.iter().map(|r| r.iter().map(cell).collect()).collect();
        let ours: BTreeSet<Vec<String>> = all.iter().map(|r| flat(r)).collect();
        let one: BTreeSet<Vec<String>> = first.iter().map(|r| flat(r)).collect();
        let wrong = |what: &str| {
            let only: Vec<_> = ours.symmetric_difference(&shown).take(5).collect();
            Some(format!("{what}; rows that only one side has: {only:?}"))
        };
        let groups = |rows: &BTreeSet<Vec<String>>| -> BTreeSet<Vec<String>> {
            rows.iter().map(|r| r[..r.len().saturating_sub(2)].to_vec()).collect()
        };
        if !one.is_subset(&ours) || groups(&one) != groups(&ours) {
            return wrong("the first of the tied is not one of them");
        }
        match self.form() {
            "top1_any_tie" => {
                let fine = shown.is_subset(&ours) && groups(&shown) == groups(&ours);
                let single = groups(&one).len() == one.len() && one.len() == shown.len();
                if fine && single { None } else { wrong("not one of the tied for each") }
            }
            form if form.starts_with("one_of_") => {
                let ties = form["one_of_".len()..].split('_').next().expect("a number");
                let fine = shown.is_subset(&ours) && ours.len().to_string() == ties;
                if fine && one.len() == 1 { None } else { wrong("not one of the tied") }
            }
            _ if ours == shown && all.len() == ours.len() => None,
            _ => wrong("not the same rows"),
        }
    }
}

fn flat(row: &[String]) -> Vec<String> {
    row.iter().map(|text| plain(text)).collect()
}

/// A shown cell as it is printed: the oldest have one label here, however they are called there.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if ["+50", ">50", "51+", "50 +"].contains(&&**text) => "50+".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => plain(&format!("{:?}", n.as_f64().expect("a number"))),
        other => other.to_string(),
    }
}
