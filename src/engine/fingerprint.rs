//! What the state's slots mean and what decides a record's fate, item by item. A state made under
//! another fingerprint is refused; metrics, printing and the sources' addresses are not in it.

use std::collections::BTreeMap;
use std::path::Path;

use dataflows::assemble::layout::Kept;
use dataflows::metrics::plan::Plan;

use super::EngineError;
use crate::cli::{Failure, exit};
use crate::config::{Config, SourceKind};
use crate::store::{Fingerprint, ReadOnly, fingerprint_of};

/// The item that says what slots keep.
pub(super) const COLUMNS: &str = "columns";
/// The items that say which facts about records are counted; there only if they are, because then
/// they are so from the state's beginning.
pub(super) const COUNTED: [&str; 2] = ["counted.records", "counted.fields"];
/// The items that say in which stretches arrivals are counted, and for how long they are kept;
/// microseconds.
pub(super) const BUCKET: &str = "arrivals.bucket_micros";
/// See [`BUCKET`].
pub(super) const HORIZON: &str = "arrivals.horizon_micros";
/// The item that says whether bags are joined.
pub(super) const BAGS: &str = "join.bag";
const FOR_EVER: &str = "for ever";

/// For how long a plan keeps arrivals, as [`HORIZON`] has it.
pub(super) fn horizon(plan: &Plan) -> String {
    match plan.horizon {
        _ if !plan.arrivals => "none".into(),
        None => FOR_EVER.into(),
        Some(micros) => micros.to_string(),
    }
}

/// The plan of a configuration. Where the state in the folder keeps more columns and counts more
/// facts than the metrics need, or arrivals in finer stretches or for longer, it goes on with that:
/// a metric that goes needs no rebuild, nor does one that comes and finds there what it needs. A
/// state that is to keep all columns and does not is no match.
pub fn plan(config: &Config, all: bool) -> Plan {
    let mut plan = Plan::new(&config.metrics, &config.age_groups, all);
    let Some(stored) = fingerprint_of(&config.state.dir) else { return plan };
    let columns = stored.get(COLUMNS).map_or("", String::as_str);
    if let Some(kept) = columns.split(' ').map(Kept::from_name).collect::<Option<Vec<Kept>>>() {
        let wider = Plan::keeping(&config.metrics, &config.age_groups, kept);
        let asked = Plan::new(&[], &[], all).layout.names();
        let there = asked.iter().all(|name| columns.split(' ').any(|column| column == name));
        if there && wider.layout.names().join(" ") == columns {
            plan = wider;
        }
    }
    plan.counted.records |= stored.contains_key(COUNTED[0]);
    plan.counted.fields |= stored.contains_key(COUNTED[1]);
    let number = |item: &str| stored.get(item)?.parse::<i64>().ok().filter(|n| *n > 0);
    if let Some(finer) = number(BUCKET).filter(|finer| plan.bucket % finer == 0) {
        plan.bucket = finer;
    }
    let for_ever = stored.get(HORIZON).is_some_and(|horizon| horizon == FOR_EVER);
    let longer = |h: &i64| !plan.arrivals || plan.horizon.is_some_and(|needed| *h >= needed);
    let longer = number(HORIZON).filter(longer);
    if for_ever || longer.is_some() {
        (plan.arrivals, plan.horizon) = (true, longer);
    }
    plan
}

/// The fingerprint of a configuration and its plan.
pub fn fingerprint(config: &Config, plan: &Plan) -> BTreeMap<String, String> {
    let mut items = BTreeMap::new();
    let mut put = |item: &str, value: String| {
        items.insert(item.to_owned(), value);
    };
    put(COLUMNS, plan.layout.names().join(" "));
    put(BUCKET, plan.bucket.to_string());
    put(HORIZON, horizon(plan));
    for (item, counted) in COUNTED.iter().zip([plan.counted.records, plan.counted.fields]) {
        if counted {
            put(item, "from the beginning".into());
        }
    }
    put(BAGS, plan.has_bags().to_string());
    if let Ok(serde_json::Value::Object(rules)) = serde_json::to_value(&config.cleaning) {
        for (rule, value) in rules {
            put(&format!("cleaning.{rule}"), value.to_string());
        }
    }
    for source in &config.sources {
        let routes: Vec<String> = source.routes.iter().map(ToString::to_string).collect();
        put(&format!("source.{}.route", source.name), routes.join(" "));
        match &source.kind {
            SourceKind::Demo(demo) => {
                put(&format!("source.{}.seed", source.name), demo.seed.to_string());
                put(&format!("source.{}.indexes", source.name), demo.indexes.to_string());
            }
            SourceKind::Files(files) => {
                let field = files.arrival_field.clone().unwrap_or_default();
                put(&format!("source.{}.arrival_field", source.name), field);
            }
            SourceKind::Kafka(_) => {}
        }
    }
    items
}

/// A replay reads from no source: what the state was made from is taken as it is.
pub fn keep_sources(fingerprint: &mut Fingerprint, dir: &Path) -> Result<(), EngineError> {
    let Some(state) = ReadOnly::open(dir)? else {
        let what = format!("there is no state in {}", dir.display());
        return Err(Failure::new(exit::UNAVAILABLE, what, "name the folder with --state").into());
    };
    fingerprint.retain(|item, _| !item.starts_with("source."));
    let sources = state.fingerprint.into_iter().filter(|(item, _)| item.starts_with("source."));
    fingerprint.extend(sources);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::differences::sentences;
    use super::*;
    use crate::store::differences;

    const METRIC: &str = "[[metric]]\nname = \"m\"\nmeaning = \"x\"\nmeasure = \"count\"\n";

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.toml");
        std::fs::write(&path, text).expect("writable");
        let mut config = crate::config::load(&[path], &[], &crate::config::Env::new())
            .unwrap_or_else(|problems| panic!("{}", problems[0]))
            .config;
        config.state.dir = dir.path().join("none");
        config
    }

    /// What is said when a state of the first configuration is started with the second.
    fn said(former: &str, now: &str) -> Vec<String> {
        let (former, now) = (config(former), config(now));
        let of = |c: &Config| fingerprint(c, &plan(c, c.state.all_columns));
        sentences(&differences(&of(&former), &of(&now)), &now)
    }

    /// One sentence is said, and for arrivals perhaps one more.
    fn check(former: &str, now: &str, want: &str) {
        let got = said(former, now);
        let most = if want.starts_with("arrivals") { 2 } else { 1 };
        let fits = got.iter().any(|line| line == want) && got.len() <= most;
        assert!(fits, "{want}\n{got:#?}\n{former}\n->\n{now}");
    }

    /// Whether a state of the first configuration goes on with the second.
    fn assert_goes(former: &str, now: &str, goes: bool) {
        let dir = tempfile::tempdir().expect("a folder");
        let of = |text: &str| {
            let mut config = config(text);
            config.state.dir = dir.path().to_owned();
            fingerprint(&config, &plan(&config, config.state.all_columns))
        };
        let options = crate::store::Options::new(of(former));
        let (mut store, _) = crate::store::Store::open(dir.path(), options).expect("a new state");
        store.commit(&crate::store::Cut::default()).expect("stored");
        let said = store.check_fingerprint(&of(now));
        assert_eq!(said.is_ok(), goes, "{former}\n->\n{now}\n{said:?}");
    }

    fn metric(name: &str, rest: &str) -> String {
        METRIC.replace("\"m\"", &format!("{name:?}")) + rest + "\n"
    }

    fn pins_and(rest: &str) -> String {
        format!("{rest}\n{}", metric("pins", "of = \"pin\"\nby = [\"category\"]"))
    }

    #[test]
    fn what_metrics_need_is_said_with_the_metric() {
        let with = |name: &str, rest: &str| pins_and(&metric(name, rest));
        let pins = pins_and("");
        let posters = with("posters", "of = \"pin\"\nby = [\"poster_name\"]");
        check(&pins, &posters, "columns: poster_name is kept now too, for metric posters");
        let five = "of = \"arrivals\"\nwindows = [{ size = \"5min\", every = \"5min\" }]";
        let day = "of = \"arrivals\"\nwindows = [{ size = \"24h\", every = \"24h\" }]";
        let both = pins_and(&(metric("five", five) + &metric("day", day)));
        let finer = "arrivals are counted in stretches of: 24h -> 5min, for metric five";
        check(&with("day", day), &both, finer);
        let longer = "arrivals are kept for: 10min -> 2d, for metric day";
        check(&with("five", five), &both, longer);
        check(&pins, &both, "arrivals are kept for: nothing -> 2d, for metric day");
        let counted = |fact: &str, by: &str| {
            let asked = with("m", &format!("of = {fact:?}\nby = [{by:?}]"));
            let want = format!(
                "{fact} are counted now, for metric m: the state has counted none of those that \
                 it has read"
            );
            check(&pins, &asked, &want);
        };
        counted("records", "outcome");
        counted("fields", "column");
    }

    #[test]
    fn rules_and_sources_are_said_as_they_are_written() {
        let cleaning = |rest: &str| pins_and(&format!("[cleaning]\n{rest}"));
        let two = cleaning("max_future = \"2h\"");
        check(&cleaning("max_future = \"90s\""), &two, "cleaning.max_future: 90s -> 2h");
        let larger = cleaning("max_record = \"3MiB\"");
        check(&pins_and(""), &larger, "cleaning.max_record: 1MiB -> 3MiB");
        check(
            &cleaning("placeholders.title = [\"a\", \"b\"]"),
            &cleaning("placeholders.title = [\"b\", \"c\"]"),
            "cleaning.placeholders.title: no longer \"a\"; now also \"c\"",
        );
        let plain = cleaning("wrappers.kpl = false");
        check(&pins_and(""), &plain, "cleaning.wrappers.kpl: true -> false");
        let demo = pins_and("[source.demo]\nseed = 1");
        let other = pins_and("[source.demo]\nseed = 2");
        check(&demo, &other, "source.demo.seed: 1 -> 2");
        check(&pins_and(""), &demo, "source demo: the state has not been made with it");
        check(&demo, &pins_and(""), "source demo: the state has been made with it");
    }

    #[test]
    fn of_times_as_much_is_kept_as_windows_and_years_need() {
        let of = |metrics: &str| {
            let plan = plan(&config(&pins_and(metrics)), false);
            plan.layout.names().into_iter().filter(|kept| kept.contains("time")).collect::<String>()
        };
        let hour = metric("hour", "of = \"pin+geo\"\nwindows = [\"hour\", \"month\"]");
        let half = metric("half", "of = \"pin+geo\"\nwindows = [{ size = \"30min\" }]");
        let year = metric("year", "of = \"pin+geo\"\nby = [\"post_year\"]");
        let of_day = metric("of_day", "of = \"pin+geo\"\nby = [\"hour_of_day\"]");
        for (metrics, kept) in [
            (year.clone(), "timestamp:year"),
            (year.clone() + &of_day, "timestamp:hour"),
            (hour.clone() + &year, "timestamp:hour"),
            (hour + &half, "timestamp:int"),
            (half + &year, "timestamp:int"),
        ] {
            assert_eq!(of(&metrics), kept, "{metrics}");
        }
    }

    #[test]
    fn a_state_goes_on_with_what_is_finer_or_kept_for_longer() {
        let arrivals = |windows: &str| {
            let rest = format!("of = \"arrivals\"\nby = [\"category\"]\nwindows = [{windows}]");
            pins_and(&metric("m", &rest))
        };
        let events = |windows: &str| {
            let rest = format!("of = \"pin+geo\"\nby = [\"post_year\"]\nwindows = [{windows}]");
            pins_and(&metric("m", &rest))
        };
        let hour = r#"{ size = "1h", every = "1h" }"#;
        let fine = r#"{ size = "2h", every = "1min" }"#;
        let day = r#"{ size = "1d", every = "1h" }"#;
        // The state's metrics, those of now, and whether it goes on.
        for (former, now, goes) in [
            (arrivals(fine), arrivals(hour), true),
            (arrivals(hour), arrivals(fine), false),
            (arrivals(&format!("{fine}, {day}")), arrivals(fine), true),
            (arrivals(fine), arrivals(&format!("{fine}, {day}")), false),
            (arrivals(fine), pins_and(""), true),
            (pins_and(""), arrivals(fine), false),
            (arrivals(&format!("{fine}, \"hour\"")), arrivals(fine), true),
            (arrivals("\"hour\""), arrivals(fine), false),
            (arrivals(r#"{ size = "4h", every = "2h" }"#), arrivals(fine), false),
            (events(fine), events("\"hour\""), true),
            (events("\"hour\""), events(fine), false),
            (events("\"hour\""), events("\"year\""), true),
            (events("\"hour\""), events(""), true),
            (events(""), events("\"year\""), false),
        ] {
            assert_goes(&former, &now, goes);
        }
    }

    /// It went on with fewer, and nobody knew.
    #[test]
    fn a_state_that_is_to_keep_every_column_keeps_them_from_its_beginning() {
        let every = |rest: &str| pins_and(&format!("{rest}\n[state]\ncolumns = \"all\""));
        let length = metric("m", "of = \"pin\"\nwhere = \"length(title) > 3\"");
        for (former, now, goes) in [
            (pins_and(""), every(""), false),
            (pins_and(""), pins_and(""), true),
            (every(""), every(""), true),
            (every(""), pins_and(""), true),
            (every(&length), every(""), true),
            (every(""), every(&length), true),
        ] {
            assert_goes(&former, &now, goes);
        }
        let said = said(&pins_and(""), &every(""));
        let title = "columns: title is kept now too, for state.columns".to_owned();
        assert!(
            said.contains(&title) && said.iter().all(|s| s.starts_with("columns")),
            "{said:#?}"
        );
    }

    /// A metric over records that was added to an old state began empty, and nobody knew.
    #[test]
    fn a_state_counts_from_its_beginning_or_never() {
        let outcomes = METRIC.to_owned() + "of = \"records\"\nby = [\"outcome\"]\n";
        let pins = METRIC.to_owned() + "of = \"pin\"\nby = [\"category\"]\n";
        let dir = tempfile::tempdir().expect("a folder");
        let mut counting = config(&outcomes);
        counting.state.dir = dir.path().to_owned();
        let options = crate::store::Options::new(fingerprint(&counting, &plan(&counting, false)));
        let (mut store, _) = crate::store::Store::open(dir.path(), options).expect("a new state");
        store.commit(&crate::store::Cut::default()).expect("stored");
        drop(store);
        // Without the metric it goes on counting, so that the metric may come back.
        let mut without = config(&pins);
        without.state.dir = dir.path().to_owned();
        assert!(plan(&without, false).counted.records && !plan(&without, false).counted.fields);
        assert!(!Plan::new(&without.metrics, &without.age_groups, false).counted.records);
        // What the manifest says the files say too: it was refused where that was lost.
        std::fs::remove_file(dir.path().join("manifest.json")).expect("there");
        assert!(plan(&without, false).counted.records);
    }
}
