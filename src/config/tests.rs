//! What is refused, in which words; and that all we ship loads.

use std::fmt::Write as _;
use std::path::Path;

use super::problem::Problem;
use super::*;

fn loaded(file: &str) -> Loaded {
    let path = PathBuf::from(format!("builtin:{file}"));
    load(&[path], &[], &Env::new()).unwrap_or_else(|problems| {
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{file}:\n{}", all.join("\n"));
    })
}

/// What is said of a file, one line a problem.
fn said(dir: &Path, body: &str) -> String {
    let path = dir.join("x.toml");
    std::fs::write(&path, body).expect("writable");
    let problems = load(&[path], &[], &Env::new()).err().unwrap_or_default();
    let line = |p: &Problem| {
        let at = p.place.as_ref().map(|p| {
            let (line, column) = p.line_column();
            format!("{line}:{column}: ")
        });
        let hint = p.hint.as_ref().map_or(String::new(), |h| format!(" | {h}"));
        let text = format!("{}{}{hint}\n", at.unwrap_or_default(), p.message);
        text.replace(&format!("{}/", dir.display()), "")
    };
    problems.iter().map(line).collect()
}

#[test]
fn the_corpus_of_mistakes() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/corpus.txt");
    let corpus = std::fs::read_to_string(&path).expect("readable");
    let mut cases = corpus.split("\n### ");
    let mut now = cases.next().unwrap_or_default().to_string();
    let (mut count, mut wrong) = (0, String::new());
    for case in cases {
        let (name, rest) = case.split_once('\n').expect("a name");
        let (body, want) = rest.split_once("\n---\n").expect("a file and what is said");
        let got = said(dir.path(), body);
        let _ = write!(now, "\n### {name}\n{body}\n---\n{got}");
        count += 1;
        if got.trim() != want.trim() || got.is_empty() {
            let _ = writeln!(wrong, "{name}:\n{body}\nexpected\n{want}\ngot\n{got}");
        }
    }
    if std::env::var_os("PINFLOW_BLESS").is_some() {
        std::fs::write(&path, now).expect("writable");
        return;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count >= 40, "{count} cases");
}

#[test]
fn all_shipped_files_load_without_warnings() {
    for (name, _) in BUILTIN {
        let warnings = loaded(name).warnings;
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn a_problem_is_shown_with_its_line() {
    let problems = load(&[], &["engine.wokers=3".into()], &Env::new()).expect_err("misspelt");
    let want = "--set:1:1: unknown key `wokers` in [engine]\n    \
                1 | engine.wokers=3\n      | ^^^^^^^^^^^^^\n      = did you mean `workers`?";
    assert_eq!(problems[0].to_string(), want);
}

#[test]
fn later_wins() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, body: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, body).expect("writable");
        path
    };
    let metric = |n: &str, limit: u32| {
        let fixed = "meaning = \"x\"\nof = \"pin\"\nmeasure = \"count\"";
        format!("[[metric]]\nname = \"{n}\"\n{fixed}\nlimit = {limit}\n")
    };
    write(
        "base.toml",
        &format!("[engine]\nworkers = 2\nepoch = \"7ms\"\n{}{}", metric("a", 1), metric("b", 1)),
    );
    let first =
        write("first.toml", "include = [\"base.toml\"]\n[engine]\nworkers = 3\n[source.demo]\n");
    let second = write("second.toml", &format!("{}{}", metric("c", 2), metric("a", 2)));
    let env: Env =
        [("PINFLOW_ENGINE__WORKERS", "5"), ("PINFLOW_STATE__DIR", "/var/x"), ("PINFLOW_LOG", "x")]
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .into();
    let got = load(&[first.clone(), second], &["engine.workers=6".into()], &env).expect("valid");
    assert_eq!(got.config.engine.workers, 6);
    assert_eq!(got.config.engine.epoch, Duration::from_millis(7));
    assert_eq!(got.config.state.dir, PathBuf::from("/var/x"));
    let metrics: Vec<_> = got.config.metrics.iter().map(|m| (m.name.as_str(), m.limit)).collect();
    assert_eq!(metrics, [("a", Some(2)), ("b", Some(1)), ("c", Some(2))]);
    assert_eq!(got.origins["engine.workers"], "--set:1:1");
    assert!(got.origins["engine.epoch"].ends_with("base.toml:3:1"), "{:?}", got.origins);
    assert!(got.origins["engine.clock"].starts_with("builtin:default.toml:"));
    let got = load(&[first], &[], &env).expect("valid");
    assert_eq!(got.config.engine.workers, 5);
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = loaded("default.toml").config;
    assert_eq!(config.cleaning, Rules::default());
    assert_eq!(config.age_groups, dataflows::metrics::declare::default_age_groups());
    assert_eq!(config.labels.named["category"].len(), 13);
    assert!(config.labels.named["country"].len() >= 243);
    // What the file shows of sources is what holds where a file does not say it.
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.toml");
    std::fs::write(&path, "[source.demo]").expect("writable");
    let bare = load(&[path], &[], &Env::new()).expect("valid").config;
    assert_eq!(format!("{:?}", bare.sources), format!("{:?}", config.sources));
}

#[test]
fn secrets_are_read_and_not_shown() {
    let env: Env = [("TOKEN".to_string(), "s3cret\n".to_string())].into();
    let sets = ["http.token={ env = \"TOKEN\" }".into(), "http.listen=0.0.0.0:1".into()];
    let config = load(&[], &sets, &env).expect("valid").config;
    assert_eq!(config.http.token.as_ref().map(|t| t.0.as_str()), Some("s3cret"));
    assert!(!format!("{config:?}").contains("s3cret"));
    let env: Env = [("PINFLOW_HTTP__TOKEN".to_string(), "s3cret".to_string())].into();
    let problems = load(&[], &[], &env).expect_err("a bare secret");
    assert!(!problems[0].to_string().contains("s3cret"), "{}", problems[0]);
    let of_librdkafka = "source.kafka.properties={ \"sasl.oauthbearer.config\" = \"s3cret\" }";
    let sets = [of_librdkafka.into()];
    let config = load(&["builtin:kafka.toml".into()], &sets, &Env::new()).expect("valid").config;
    let shown = format!("{config:?}");
    assert!(shown.contains("sasl.oauthbearer.config") && !shown.contains("s3cret"), "{shown}");
}

/// `validate` took for good what no run could begin with.
#[test]
fn settings_that_librdkafka_does_not_take_are_named_at_their_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.toml");
    let body = "[source.kafka]\nbrokers = \"b:1\"\nprefix = \"p\"\n[source.kafka.properties]\n\
                \"fetch.min.byte\" = 5\n\"fetch.min.bytes\" = \"s3cret\"\n\
                \"socket.keepalive.enable\" = true\n";
    std::fs::write(&path, body).expect("writable");
    let problems = load(&[path], &[], &Env::new()).expect_err("two mistakes");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("x.toml:5:1") && said[0].contains("fetch.min.byte"), "{}", said[0]);
    assert!(said[1].contains("x.toml:6:1") && !said[1].contains("=s3cret"), "{}", said[1]);
}

/// Each stood in the lines under a problem with what is beside it, or whose name it has.
#[test]
fn no_problem_shows_a_secret() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.toml");
    let sasl = "{ mechanism = \"SCRAM\", username = \"alice\", password = \"hunter2\" }";
    let table = "[source.kafka]\nbrokers = \"b:9092\"\nprefix = \"p\"\n";
    for (body, name, value, words) in [
        (format!("{table}sasl = {sasl}\n"), "", "", "`mechanism` cannot be"),
        (table.into(), "PINFLOW_SOURCE__KAFKA__SASL", sasl, "`mechanism` cannot be"),
        (table.into(), "PINFLOW_SOURCE__KAFKA__SASL", &sasl[..sasl.len() - 3], "wants a table"),
        (table.into(), "PINFLOW_HTTP__TOKN", "hunter2", "did you mean `token`?"),
        (format!("{table}sasl = {sasl} x\n"), "", "", "not TOML"),
    ] {
        std::fs::write(&path, &body).expect("writable");
        let mut env = Env::new();
        if !name.is_empty() {
            env.insert(name.into(), value.into());
        }
        let problems = load(std::slice::from_ref(&path), &[], &env).expect_err(&body);
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let said = said.join("\n");
        assert!(said.contains(words) && said.contains('^'), "{said}");
        assert!(!said.contains("hunter2") && said.contains("**"), "{said}");
    }
}

#[test]
fn a_misspelt_protocol_is_an_error() {
    let dir = tempfile::tempdir().expect("a folder");
    let java = dir.path().join("client.properties");
    std::fs::write(&java, "bootstrap.servers=b:1\nsecurity.protocol=SASL_SLL\n").expect("written");
    let body = "[source.kafka]\nclient_properties = \"client.properties\"\nprefix = \"p\"\n";
    let java = java.display().to_string();
    let said = said(dir.path(), &body.replace("client.properties", &java));
    assert!(
        said.contains("client.properties:2: `security.protocol` cannot be `SASL_SLL`"),
        "{said}"
    );
    assert!(said.contains("SASL_SSL"), "{said}");
}

#[test]
fn a_metric_has_so_many_windows_and_no_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |count: usize| {
        let window = |n| format!("{{ size = \"{}ms\" }}", 10 + n);
        let windows = (0..count).map(window).collect::<Vec<_>>().join(", ");
        let head = "[[metric]]\nname = \"m\"\nmeaning = \"x\"\nof = \"pin+geo\"";
        said(dir.path(), &format!("{head}\nmeasure = \"count\"\nwindows = [{windows}]\n"))
    };
    assert_eq!(refused(1023), "");
    assert!(refused(1024).contains("too many windows | at most 1023;"), "{}", refused(1024));
}

#[test]
fn metrics_mean_what_they_say() {
    use dataflows::metrics::declare::{Fact, Kind, Shape, Time};
    let config = loaded("metrics.toml").config;
    let find = |name: &str| config.metrics.iter().find(|m| m.name == name).expect(name);
    let m = find("category_popularity");
    assert_eq!(m.fact, Fact::Arrivals([true, true, false]));
    assert_eq!(
        m.windows.iter().map(dataflows::metrics::declare::Window::label).collect::<Vec<_>>(),
        ["5min", "1h", "24h"]
    );
    assert_eq!(m.windows[0].time, Time::Arrival);
    assert_eq!(m.windows[0].shape, Shape::Sliding { size: 300_000_000, every: 10_000_000 });
    let m = find("data_quality");
    assert_eq!(m.measures[4].kind, Kind::Ratio(1, 0));
    assert_eq!(find("posts_over_time").windows[1].shape, Shape::Month);
    for name in "category_popularity category_popularity_by_time top_category_by_country \
        category_by_year top_category_by_year top_user_by_country country_of_top_user \
        top_category_by_age_group median_followers_by_age_group median_followers_by_join_year \
        median_followers_by_join_year_and_age_group users_joined_by_year profile_popularity \
        posts_by_country posts_by_geo_cell people_by_country posts_over_time \
        posts_by_hour_of_day post_frequency data_quality"
        .split_whitespace()
    {
        find(name);
    }
}

/// Of records and fields it was called `count`, as that of all rows is.
#[test]
fn a_count_of_a_column_is_named_after_it_whatever_the_fact() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.toml");
    for (fact, column) in [("pin", "title"), ("records", "reason"), ("fields", "reason")] {
        let measures = format!("measures = [\"count\", {{ count = \"{column}\" }}]");
        let head = format!("[[metric]]\nname = \"m\"\nmeaning = \"x\"\nof = \"{fact}\"\n");
        std::fs::write(&path, head + &measures).expect("writable");
        let config = load(std::slice::from_ref(&path), &[], &Env::new()).expect(fact).config;
        let names: Vec<&str> = config.metrics[0].measures.iter().map(|m| &*m.name).collect();
        assert_eq!(names, ["count".to_owned(), format!("count_{column}")], "{fact}");
    }
}

#[test]
fn the_eight_queries_have_their_headers() {
    let headers = "Q1_category_per_country country,category,category_count
        Q1_top country,category,category_count
        Q2_category_per_year post_year,category,category_count
        Q2_top post_year,category,category_count
        Q3a_top_user_per_country country,poster_name,follower_count
        Q3b_country_of_top_user country,follower_count
        Q4_category_per_age_group age_group,category,category_count
        Q4_top age_group,category,category_count
        Q5_median_per_age_group age_group,median_follower_count
        Q6_users_joined_per_year post_year,number_users_joined
        Q7_median_per_join_year post_year,median_follower_count
        Q8_median_per_join_year_and_age_group age_group,post_year,median_follower_count";
    let config = loaded("queries.toml").config;
    let got: Vec<String> = config
        .metrics
        .iter()
        .map(|m| {
            let mut text = Vec::new();
            let schema = dataflows::metrics::schema::Schema::of(m);
            crate::results::write(&schema, &[], crate::results::Format::Csv, &mut text)
                .expect("memory");
            format!("{} {}", m.name, String::from_utf8(text).expect("UTF-8").trim())
        })
        .collect();
    let want: Vec<&str> = headers.lines().map(str::trim).collect();
    assert_eq!(got, want);
}
