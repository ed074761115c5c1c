//! The clock of a bounded run: one row of the far future does not hide the others' arrival times,
//! however the rows fall into epochs.

mod oracle;
mod support;

use std::fmt::Write as _;

use support::process::pinflow;

#[test]
fn a_row_of_the_future_neither_moves_the_clock_nor_stops_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(dir.path().join("in")).expect("a folder");
    let mut rows = String::new();
    for n in 0..14 {
        let at = if n == 8 {
            "2099-01-01T00:00:00Z".into()
        } else {
            format!("2024-05-06T10:{n:02}:00Z")
        };
        writeln!(
            rows,
            r#"{{"index": {n}, "unique_id": "u{n}", "category": "art", "poster_name": "p",
            "sent_at": "{at}"}}"#
        )
        .expect("a string grows");
    }
    let rows = rows.replace(",\n ", ", ");
    std::fs::write(dir.path().join("in/pin.jsonl"), rows).expect("a file");
    let config = format!(
        r#"
        [source.files]
        paths = ["{}"]
        arrival_field = "sent_at"
        [[metric]]
        name = "lately"
        of = "arrivals"
        measure = "count"
        windows = [{{ size = "5min", every = "1min" }}]
        "#,
        path("in")
    );
    std::fs::write(dir.path().join("pinflow.toml"), config).expect("a file");
    for records in [1, 3, 8, 100] {
        let (state, out) = (path(&format!("s{records}")), path(&format!("o{records}")));
        let epochs = format!("engine.max_epoch_records={records}");
        let args = ["run", "--once", "--config", &path("pinflow.toml"), "--set", &epochs];
        pinflow(args.into_iter().chain(["--state", &state, "--results", &out])).ok();
        let shown = std::fs::read_to_string(format!("{out}/lately.tsv")).expect("results");
        let last = shown.lines().last().expect("a line");
        assert_eq!(
            last, "5min\t2024-05-06T10:09:00Z\t2024-05-06T10:14:00Z\t5",
            "{records}: {shown}"
        );
    }
}
