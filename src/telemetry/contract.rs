//! Code, docs and dashboards name the same metrics, and dashboards keep the community's rules.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::expose::FAMILIES;
use super::machine::Machine;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).expect(path)
}

/// Every name that a scrape may hold, but for the world.
fn known() -> BTreeSet<String> {
    let m = Machine::new();
    for one in [&m.read_bytes, &m.source_errors, &m.sink_rows, &m.sink_bytes, &m.label_overflow] {
        one.with_label_values(&["x"]).inc();
    }
    m.worker_busy.with_label_values(&["0"]).inc();
    m.http_seconds.with_label_values(&["/"]).inc();
    m.http_requests.with_label_values(&["/", "200"]).inc();
    let counted = m.registry().gather();
    let mut names: BTreeSet<String> = counted.iter().map(|f| f.name().to_owned()).collect();
    names.extend(FAMILIES.iter().map(|f| f.0.to_owned()));
    names
}

/// The metric names in a text, without the suffixes of histograms.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let ours = |w: &&str| w.starts_with("pinflow_") || w.starts_with("process_");
    let base = |w: &str| {
        ["_bucket", "_sum", "_count"].iter().fold(w.to_owned(), |w, end| {
            w.strip_suffix(end).filter(|w| w.ends_with("_seconds")).map_or(w.clone(), Into::into)
        })
    };
    text.split(word).filter(ours).map(base).filter(|w| !w.ends_with('_')).collect()
}

/// The names under which the built-in metrics are exported.
fn world() -> BTreeSet<String> {
    let table: toml::Table = read("config/metrics.toml").parse().expect("TOML");
    let mut names = BTreeSet::new();
    for metric in table["metric"].as_array().expect("metrics") {
        let base = format!("pinflow_world_{}", metric["name"].as_str().expect("a name"));
        match metric.get("measures").and_then(toml::Value::as_array) {
            None => drop(names.insert(base)),
            Some(list) => names.extend(list.iter().map(|m| {
                let name = m.get("name").and_then(toml::Value::as_str);
                format!("{base}_{}", name.unwrap_or("count"))
            })),
        }
    }
    names
}

#[test]
fn every_name_is_documented_and_every_documented_name_is_there() {
    let documented = names(&read("docs/reference/telemetry.md"));
    assert_eq!(documented, known());
}

#[test]
fn names_and_types_keep_the_rules() {
    for (name, ty, help) in FAMILIES {
        assert_eq!(name.ends_with("_total"), *ty == "counter", "{name}");
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
    }
}

fn panels(board: &Value) -> Vec<Value> {
    let all = board["panels"].as_array().expect("panels").iter();
    all.filter(|p| p["type"] != "row").cloned().collect()
}

fn boards() -> [Value; 2] {
    ["overview", "insights"].map(|name| {
        serde_json::from_str(&read(&format!("grafana/dashboards/{name}.json"))).expect(name)
    })
}

#[test]
fn dashboards_show_what_there_is() {
    let (known, world) = (known(), world());
    for board in boards() {
        let shown = names(&board.to_string());
        assert!(shown.len() > 10);
        for name in shown {
            // Ids of dashboards and data sources have a dash.
            assert!(known.contains(&name) || world.contains(&name), "{name} is not exported");
        }
    }
}

#[test]
fn alerts_ask_for_what_there_is_and_say_what_to_do() {
    let rules = read("grafana/alerts.yml");
    let (known, asked) = (known(), names(&rules));
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(asked.len() > 10 && unknown.is_empty(), "{unknown:?}");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    for part in ["expr:", "severity:", "summary:", "description:"] {
        assert!(alerts.iter().all(|alert| alert.matches(part).count() == 1), "{part}");
    }
    assert!(read("grafana/prometheus.yml").contains("rule_files: [alerts.yml]"));
}

#[test]
fn dashboards_keep_the_rules() {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let mut ids = BTreeSet::new();
    for board in boards() {
        assert!(ids.insert(text(&board["uid"])));
        assert_eq!((&board["editable"], &board["graphTooltip"]), (&false.into(), &1.into()));
        let variables: Vec<String> = board["templating"]["list"]
            .as_array()
            .expect("variables")
            .iter()
            .map(|v| text(&v["name"]))
            .collect();
        assert_eq!(variables[..3], ["datasource", "job", "instance"]);
        let mut titles = BTreeSet::new();
        for panel in panels(&board) {
            let title = text(&panel["title"]);
            assert!(titles.insert(title.clone()), "{title} twice");
            assert!(text(&panel["description"]).len() > 15, "{title} has no description");
            assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{title}: unit");
            for target in panel["targets"].as_array().expect("targets") {
                let query = text(&target["expr"]);
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
                let named = query.matches("pinflow_").count() + query.matches("process_").count();
                let matched = query.matches(r#"{job=~"$job", instance=~"$instance""#).count();
                assert_eq!(named, matched, "{title}: {query}");
                for call in ["rate(", "increase("] {
                    let fixed = query.contains(call) && !query.contains("[$__rate_interval]");
                    assert!(!fixed, "{title}: {query}");
                }
            }
        }
    }
}
