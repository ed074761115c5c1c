//! The oracle is checked against answers that others computed: the golden results, and the
//! reference of the bench where it is at hand.

#![allow(clippy::unwrap_used)]

mod oracle;
mod support;

use oracle::measure::Columns;
use oracle::model::Model;
use oracle::rows::{Now, rows};
use oracle::{Rules, metric, parse, print};
use support::golden::{TIES, load};
use support::wire;

fn columns() -> Columns {
    Columns { age_groups: metric::default_age_groups() }
}

#[test]
fn the_oracle_gives_the_golden_results() {
    let mut wrong = Vec::new();
    for golden in load(&support::folder("GOLDEN_DIR", "golden")) {
        for (inputs, queries) in golden.runs() {
            let dir = tempfile::tempdir().unwrap();
            golden.write(inputs, dir.path());
            let model = Model::new(&wire::folder(dir.path(), 0), &Rules::default());
            assert!(model.reasons().is_empty(), "{:?}", model.reasons());
            for query in queries {
                let [all, first] = TIES.map(|ties| {
                    let streams = golden.streams(inputs);
                    let metric = &metric::from_text(&query.declaration("m", &streams, ties))[0];
                    let now = Now { at: 0, ended: true };
                    let shown = rows(metric, &model, &columns(), now);
                    shown.iter().map(|r| print::cells(r, metric)).collect::<Vec<_>>()
                });
                if let Some(why) = query.differs(&all, &first) {
                    let what = format!("{} {}", query.name, query.semantics);
                    wrong.push(format!("{} {what}: {why}", golden.repo));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn times_are_read_and_printed() {
    let check = |text: &str, right: Option<&str>| {
        let ours = parse::timestamp(text, &["%m/%d/%Y, %H:%M:%S".into()]).map(print::moment);
        assert_eq!(ours.as_deref(), right, "{text}");
    };
    check("2018-03-04 05:06:07", Some("2018-03-04T05:06:07Z"));
    check("2018-03-04T05:06:07.250Z", Some("2018-03-04T05:06:07.25Z"));
    check("2018-03-04T05:06:07+01:30", Some("2018-03-04T03:36:07Z"));
    check("2000-02-29 00:00:00-0100", Some("2000-02-29T01:00:00Z"));
    check("1900-02-29 00:00:00", None);
    check("1969-12-31 23:59:59", Some("1969-12-31T23:59:59Z"));
    check("2015-11- 11:23:51", None);
    check("2015-11-11", None);
    check("03/04/2018, 05:06:07", Some("2018-03-04T05:06:07Z"));
    check("03/04/2018, 25:06:07", None);
}

#[test]
fn numbers_are_read_exactly() {
    let followers = |text| parse::followers(text).ok();
    assert_eq!(followers("1.5k"), Some(1500));
    assert_eq!(followers("1.5000k"), Some(1500));
    assert_eq!(followers("1.5555k"), None);
    assert_eq!(followers("2B"), Some(2_000_000_000));
    assert_eq!(followers("33.0"), None);
    assert_eq!(followers("k"), None);
    let degrees = |text| parse::degrees(text, 90).ok();
    assert_eq!(degrees("-5.34445"), Some(-53_444_500));
    assert_eq!(degrees("9e1"), Some(900_000_000));
    assert_eq!(degrees("90.00000001"), None);
    assert_eq!(degrees("90.000000000"), Some(900_000_000));
    assert_eq!(degrees("89.99999999"), Some(900_000_000));
    assert_eq!(degrees("90.0000001"), None);
    assert_eq!(degrees("1e999"), None);
    assert_eq!(degrees("1e-999"), Some(0));
}

#[test]
fn days_are_counted_as_calendars_do() {
    use chrono::Datelike;
    for day in (-300_000..300_000).step_by(89) {
        let there = chrono::DateTime::from_timestamp(day * 86_400, 0).unwrap();
        assert_eq!(parse::civil(day), (there.year().into(), there.month(), there.day()));
        let back = parse::day_number(there.year().into(), there.month(), there.day());
        assert_eq!(back, Some(day));
    }
}
