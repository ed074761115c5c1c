//! Flags mean what they say.

use clap::{CommandFactory, Parser};

use super::*;
use crate::config::Env;

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

fn options(line: &str) -> Result<RunOptions, Failure> {
    let words = ["pinflow", "run"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).map(|c| c.command) {
        Ok(Command::Run(args)) => args.options(&Env::new()).map(|o| o.0),
        Ok(_) => panic!("it is a run"),
        Err(error) => Err(Failure::new(exit::USAGE, error.to_string(), "")),
    }
}

#[test]
fn once_opens_no_port_and_follows_arrivals() {
    use crate::config::Clock;
    let got = options("--once --config builtin:bench.toml --input D --state S --results O");
    let got = got.expect("valid");
    assert_eq!(got.config.http.listen, None);
    assert_eq!(got.config.engine.clock, Clock::Arrival);
    assert_eq!(got.config.state.dir, PathBuf::from("S"));
    assert_eq!(got.results, Some(ResultsTo { dir: "O".into(), format: Format::Tsv }));
    assert_eq!(got.config.sources.len(), 1);
    assert_eq!(got.config.sources[0].name, "files");
    let got = options("--once --input D --listen 127.0.0.1:0").expect("valid");
    assert_eq!(got.config.http.listen, "127.0.0.1:0".parse().ok());
}

#[test]
fn a_live_run_listens_and_follows_the_wall() {
    use crate::config::{Clock, Rate, SourceKind};
    let got = options("").expect("valid");
    assert_eq!(got.config.http.listen, "127.0.0.1:8765".parse().ok());
    let closed = options("--listen none").expect("valid");
    assert_eq!(closed.config.http.listen, None);
    assert_eq!(got.config.engine.clock, Clock::Wall);
    let got = options("--rate max --workers 3").expect("valid");
    assert_eq!(got.config.engine.clock, Clock::Arrival);
    assert_eq!(got.config.engine.workers, 3);
    let SourceKind::Demo(demo) = &got.config.sources[0].kind else { panic!("the demo") };
    assert_eq!(demo.rate, Rate::Max(10_000.0));
}

#[test]
fn until_is_once_with_an_end_of_its_own() {
    use crate::config::Clock;
    let bench = "--config builtin:bench.toml --config builtin:kafka.toml";
    let got = options(&format!("{bench} --until latest")).expect("valid");
    assert!(got.once && got.until.is_none() && got.config.http.listen.is_none());
    assert_eq!(got.config.engine.clock, Clock::Arrival);
    // The demo of the built-in default is not there besides.
    assert_eq!(got.config.sources.len(), 1);
    let got = options(&format!("{bench} --until 1970-01-01T00:00:02Z")).expect("valid");
    assert_eq!((got.once, got.until), (true, Some(2_000_000)));
}

#[test]
fn what_cannot_run_is_refused() {
    for (line, code, words) in [
        ("--once", 78, "never ends"),
        ("--config builtin:bench.toml", 78, "nothing to read"),
        ("--config builtin:bench.toml --input D --rate 5", 78, "no source is one"),
        ("--rate fast", 78, "--rate:1:15"),
        ("--until 2026-01-01 --config builtin:bench.toml --input D", 78, "is for Kafka"),
        ("--until soon", 64, "it is `latest`, or a time"),
        ("--config builtin:kafka.toml --set source.kafka.properties={a=1}", 78, "`a`"),
        ("--workers 0", 78, "out of range"),
        ("--listen 0.0.0.0:80", 78, "can be reached by others"),
        ("--listen nowhere", 64, "invalid value"),
        ("--accept-gap", 64, "--rebuild"),
        ("--config missing.toml", 78, "cannot be read"),
        ("--set engine.wokers=4", 78, "did you mean `workers`?"),
    ] {
        let failure = options(line).expect_err(line);
        assert_eq!(failure.exit_code, code, "{line}: {failure}");
        assert!(failure.to_string().contains(words), "{line}: {failure}");
    }
}

/// Rows are written out once, for all sinks.
#[test]
fn cleaned_rows_beside_a_sink_of_another_format_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("sink.toml");
    for (format, refused) in [("csv", true), ("jsonl", false)] {
        let sink = format!("[[sink]]\nkind = \"files\"\ndir = \"d\"\nformat = \"{format}\"\n");
        let text = format!("include = [\"builtin:bench.toml\"]\n{sink}");
        std::fs::write(&path, text).expect("written");
        let got = options(&format!("--config {} --input D --cleaned C", path.display()));
        let failure = got.err().map(|failure| (failure.exit_code, failure.to_string()));
        let said = failure.as_ref().is_some_and(|(code, what)| *code == 78 && what.contains("CSV"));
        assert_eq!((said, failure.is_some()), (refused, refused), "{format}: {failure:?}");
    }
}

/// Rows were read again and counted twice; two sinks wrote over each other.
#[test]
fn a_folder_is_neither_read_and_written_nor_written_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(path("there")).expect("a folder");
    std::os::unix::fs::symlink(path("there"), path("link")).expect("a link");
    let sink = format!("[[sink]]\nkind = \"files\"\ndir = \"{}\"\n", path("there/rows"));
    let source = format!("[source.files]\npaths = [\"{}\"]\n", path("there/in"));
    std::fs::write(path("c.toml"), format!("{sink}{source}")).expect("written");
    let with = |flags: &str| {
        let flags = flags.replace('~', &dir.path().display().to_string());
        options(&format!("--once --config {} {flags}", path("c.toml")))
    };
    for (flags, words) in [
        ("--cleaned ~/link/rows/", "two sinks"),
        ("--cleaned ~/there/./in", "source `files` reads"),
        ("--results ~/link/in --format json", "results would be"),
        ("--state ~/there/in/", "the state's files would be"),
        ("--input ~/there/rows", "cleaned rows would be"),
        ("--input ~/new --cleaned ~/new/", "cleaned rows would be"),
        ("--input ~/new --results ~/new", "results would be"),
    ] {
        let failure = with(flags).expect_err(flags);
        assert_eq!(failure.exit_code, 78, "{flags}: {failure}");
        assert!(failure.to_string().contains(words), "{flags}: {failure}");
    }
    with("--input ~/there --cleaned ~/there/in --results ~/there/out").expect("they are below");
    with("--results ~/there/in").expect("nothing that ends in .tsv is read");
    std::fs::create_dir(path("streams")).expect("a folder");
    std::fs::write(path("streams/geo.jsonl"), "").expect("written");
    with("--input ~/streams --state ~/streams --results ~/streams").expect("geo alone is read");
    std::fs::write(path("c.toml"), sink.replace("rows", "in") + &source).expect("written");
    let args = ["pinflow", "validate", "--config", &path("c.toml")];
    let Ok(Command::Validate(args)) = Cli::try_parse_from(args).map(|c| c.command) else {
        panic!("it is a validation");
    };
    let failure = validate::validate(&args, &Env::new()).expect_err("it is read");
    assert!(failure.to_string().contains("come back as records"), "{failure}");
    // A name was another one before the folder was there.
    let name = crate::sink::files::name;
    let before = name(path("late/").as_ref());
    std::fs::create_dir(path("late")).expect("a folder");
    assert_eq!(
        (name(path("late").as_ref()), name(path("./late/").as_ref())),
        (before.clone(), before)
    );
}

#[test]
fn every_flag_stands_in_the_reference() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/cli.md");
    let page = std::fs::read_to_string(path).expect("readable");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(page.contains(&format!("| `{name}")), "{name}");
        assert!(command.get_after_help().is_some(), "{name} has no examples");
        for flag in command.get_arguments().filter_map(|a| a.get_long()) {
            assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
        }
    }
}
