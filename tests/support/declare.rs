//! Random declarations: every kind of measure with every kind of window, over every fact.

use std::fmt::Write as _;

use super::Random;

/// The kinds of measures, as a case goes through them.
pub const KINDS: [&str; 13] = [
    "count",
    "count_of",
    "count_distinct",
    "sum",
    "mean",
    "min",
    "max",
    "median",
    "quantile",
    "top",
    "argmax",
    "ratio",
    "distinct",
];

/// The kinds of windows.
pub const WINDOWS: [&str; 7] =
    ["none", "event", "event sliding", "arrival", "arrival sliding", "retained", "several"];

const FACTS: [&str; 11] = [
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
];

fn has(fact: &str, side: &str) -> bool {
    let pin = side == "pin" && fact.starts_with("arrivals");
    fact == "posts" || pin || fact.split('+').any(|part| part == side)
}

/// Columns of a fact: texts, numbers, times.
fn columns(fact: &str) -> [Vec<&'static str>; 3] {
    let (mut texts, mut numbers, mut times) = (Vec::new(), vec!["ind"], Vec::new());
    if has(fact, "pin") {
        texts.extend(["category", "poster_name", "is_image_or_video"]);
        numbers.extend(["follower_count", "downloaded", "tags", "length(title)"]);
    }
    if has(fact, "geo") {
        texts.extend(["country", "geo_cell"]);
        numbers.extend(["latitude", "longitude", "post_year", "hour_of_day"]);
        times.push("timestamp");
    }
    if has(fact, "user") || fact == "people" {
        texts.extend(["user_name", "age_group"]);
        numbers.extend(["age", "join_year"]);
        times.push("date_joined");
    }
    if fact == "people" {
        numbers.remove(0);
    }
    [texts, numbers, times]
}

/// The declaration of a measure kind over a window kind.
pub fn metric(name: &str, kind: &str, window: &str, random: &mut Random) -> String {
    let event = ["event", "event sliding", "retained", "several"].contains(&window);
    let arrival = window.starts_with("arrival");
    let fits =
        |fact: &&&str| (!event || has(fact, "geo")) && (!arrival || fact.starts_with("arrivals"));
    let facts: Vec<&&str> = FACTS.iter().filter(fits).collect();
    let fact = match window {
        "none" if random.chance(100) => "people",
        _ => random.pick(&facts),
    };
    let [texts, numbers, times] = columns(fact);
    let groups: Vec<&str> = texts
        .iter()
        .copied()
        .chain(numbers.iter().copied().filter(|c| c.contains("year") || *c == "hour_of_day"))
        .collect();
    let mut keys: Vec<&str> = Vec::new();
    for _ in 0..random.below(3) {
        let key = *random.pick(&groups);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let mut out = format!("[[metric]]\nname = \"{name}\"\nmeaning = \"a test\"\nof = \"{fact}\"\n");
    if event && fact.starts_with("arrivals") {
        out.push_str("time = \"event\"\n");
    }
    let measure = measure(kind, &texts, &numbers, &times, random);
    if ["top", "argmax"].contains(&kind) {
        keys.retain(|key| !measure.contains(&format!("\"{key}\"")));
    }
    let distinct = kind == "distinct";
    writeln!(out, "{measure}\nby = {keys:?}").expect("a string takes all");
    if distinct {
        let mut all = keys.clone();
        all.push(*random.pick(&texts));
        all.dedup();
        writeln!(out, "distinct = {all:?}").expect("a string takes all");
    }
    if random.chance(300) {
        let column = *random.pick(&numbers);
        let texts: Vec<String> = texts.iter().map(|t| format!("{t} is not null")).collect();
        let mut list = vec![format!("{column} >= 1"), format!("{column} is not null")];
        list.extend(texts);
        writeln!(out, "where = \"{}\"", random.pick(&list)).expect("a string takes all");
    }
    if ["top", "argmax"].contains(&kind) && random.chance(500) {
        out.push_str("ties = \"all\"\n");
    }
    if random.chance(200) {
        out.push_str("keep_empty = true\n");
    }
    out.push_str(&windows(window, random));
    out
}

fn measure(
    kind: &str,
    texts: &[&str],
    numbers: &[&str],
    times: &[&str],
    random: &mut Random,
) -> String {
    let ordered: Vec<&str> = numbers.iter().chain(times).copied().collect();
    let any: Vec<&str> = texts.iter().chain(&ordered).copied().collect();
    let number = *random.pick(numbers);
    let one = match kind {
        "count_of" => format!("{{ count = \"{}\" }}", random.pick(&any)),
        "count_distinct" => format!("{{ count_distinct = \"{}\" }}", random.pick(&any)),
        "sum" | "mean" => format!("{{ {kind} = \"{number}\" }}"),
        "min" | "max" => format!("{{ {kind} = \"{}\" }}", random.pick(&ordered)),
        "median" if random.chance(500) => {
            format!("{{ median = \"{number}\", method = \"interpolated\" }}")
        }
        "median" => format!("{{ median = \"{}\" }}", random.pick(&ordered)),
        "quantile" => {
            let q = random.pick(&["0.9", "0.25", "0.01", "0.999", "0.333"]);
            let method = random.pick(&["lower", "interpolated"]);
            format!("{{ quantile = \"{number}\", q = \"{q}\", method = \"{method}\" }}")
        }
        "top" => format!("{{ top = \"{}\", k = {} }}", random.pick(texts), random.below(3) + 1),
        "argmax" => {
            let (of, returning) = (random.pick(&ordered), random.pick(texts));
            format!("{{ argmax = \"{of}\", returning = \"{returning}\" }}")
        }
        "ratio" => {
            return format!(
                "measures = [{{ count = \"*\", name = \"a\" }}, {{ sum = \"{number}\", name = \
                 \"b\", where = \"{number} >= 1\" }}, {{ ratio = \"b\", over = \"a\", name = \
                 \"r\" }}, {{ max = \"{number}\", name = \"m\" }}]"
            );
        }
        _ => "\"count\"".to_string(),
    };
    format!("measure = {one}")
}

fn windows(window: &str, random: &mut Random) -> String {
    let units = ["\"hour\"", "\"day\"", "\"month\"", "\"year\"", "{ size = \"30min\" }"];
    let list = match window {
        "none" => return String::new(),
        "event sliding" | "arrival sliding" => random
            .pick(&[
                "{ size = \"30min\", every = \"10min\" }",
                "{ size = \"1h\", every = \"1min\" }",
                "{ size = \"2h\", every = \"1h\" }",
            ])
            .to_string(),
        "several" => "\"hour\", \"month\", { size = \"3h\", every = \"1h\" }".to_string(),
        _ => random.pick(&units).to_string(),
    };
    let mut out = format!("windows = [{list}]\n");
    let retained = window == "retained" || window == "arrival" && random.chance(400);
    if retained {
        let retain = random.pick(&["1h", "3d", "90d"]);
        writeln!(out, "retain = \"{retain}\"").expect("a string takes all");
    }
    out
}

/// Declarations over what was read, before any versions.
pub const RECORDS: &str = r#"
[[metric]]
name = "outcomes"
meaning = "records by outcome, reason and stream"
of = "records"
by = ["outcome", "reason", "stream"]
measure = "count"

[[metric]]
name = "outcomes_lately"
meaning = "records in the last half hour, and the share of rejected ones"
of = "records"
measures = [
    { count = "*", name = "all" },
    { count = "*", name = "bad", where = "outcome = 'rejected'" },
    { ratio = "bad", over = "all", name = "share" },
]
windows = [{ size = "30min", every = "5min" }, "hour"]

[[metric]]
name = "states"
meaning = "columns by what is in them"
of = "fields"
by = ["stream", "column", "state", "reason"]
measure = "count"
"#;
