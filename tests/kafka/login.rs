//! Ways in: encryption and logins that work, and those that do not: what is said of them, and
//! what to do.

use std::time::Duration;

use crate::broker::Broker;
use crate::runs::{Run, Status, create};
use crate::support::generate::Shape;
use crate::support::process::{Finished, Running};
use crate::topics::{equal, generated, messages, put};
use crate::{config, until};

#[test]
fn brokers_are_spoken_to_securely() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "s", 2);
    let records = generated("s", &Shape::bench(300, 7), 2, false);
    put(&broker.address(), &records);
    let config = config(dir.path());
    let [sasl, tls, both] = broker.secured();
    let ca = format!("source.kafka.tls.ca={}", broker.authority().display());
    let password = dir.path().join("password");
    std::fs::write(&password, "alice-secret\n").unwrap();
    let user = |mechanism: &str| {
        let file = password.display();
        format!(
            "source.kafka.sasl={{ mechanism = \"{mechanism}\", username = \"alice\", \
             password = {{ file = \"{file}\" }} }}"
        )
    };
    let bearer = "source.kafka.sasl={ mechanism = \"OAUTHBEARER\", username = \"alice\" }";
    let scram = (user("SCRAM-SHA-256"), user("SCRAM-SHA-512"));
    let (plain, set) = (user("PLAIN"), "--set");
    // As a Java client has it.
    let java = dir.path().join("client.properties");
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    let text = format!(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-256\n\
         sasl.jaas.config={module} required username=\"alice\" password=\"alice-secret\";\n\
         ssl.truststore.type=PEM\nssl.truststore.location={}\n",
        broker.authority().display()
    );
    std::fs::write(&java, text).unwrap();
    let java = format!("source.kafka.client_properties={}", java.display());
    for (n, (address, settings)) in [
        (&sasl, vec![set, &scram.0]),
        (&sasl, vec![set, &plain]),
        (&sasl, vec![set, bearer]),
        (&tls, vec![set, &ca]),
        (&both, vec![set, &ca, set, &scram.1]),
        (&both, vec![set, &java]),
    ]
    .into_iter()
    .enumerate()
    {
        let run = Run::new(&config, address, "s", &dir.path().join(n.to_string()));
        run.to_the_end(&settings).ok();
        equal(&config, &run.out, &messages("kafka", &records));
    }
    let run = Run::new(&config, &both, "s", &dir.path().join("wrong"));
    let said = run.validate(&[set, &ca, set, &scram.1]).ok();
    assert!(said.stdout.contains("s.pin/0: offsets 0 to"), "{}", said.stdout);
    assert!(said.stdout.contains("readable"), "{}", said.stdout);
}

/// Asserts that a run could not begin, and said why and what to do.
fn refused(run: &Finished, says: &str, hint: &str) {
    assert_eq!(run.code, Some(69), "{says}: {}", run.stderr);
    // A run says it as an object, what prints for people as text.
    let last = run.stderr.lines().last().unwrap_or_default();
    let (said, hints) = match serde_json::from_str::<serde_json::Value>(last) {
        Ok(last) => (last["message"].to_string(), last["hint"].to_string()),
        Err(_) => {
            let (said, hints) = run.stderr.rsplit_once("\nhint: ").unwrap_or((&run.stderr, ""));
            (said.lines().last().unwrap_or_default().to_owned(), hints.to_owned())
        }
    };
    assert!(said.contains(says), "{says}: {}", run.stderr);
    assert!(hints.contains(hint), "{hint}: {}", run.stderr);
    assert!(!run.stderr.contains("not-her-password"), "{}", run.stderr);
}

/// What cannot change by waiting ended only with `connect_timeout`, and said nothing of why.
#[test]
fn connections_that_fail_say_why_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "s", 1);
    let config = config(dir.path());
    let [sasl, tls, both] = broker.secured();
    let plain = broker.address();
    let ca = format!("source.kafka.tls.ca={}", broker.authority().display());
    let password = dir.path().join("password");
    std::fs::write(&password, "not-her-password\n").unwrap();
    let login = |mechanism: &str| {
        let file = password.display();
        format!(
            "source.kafka.sasl={{ mechanism = \"{mechanism}\", username = \"alice\", \
             password = {{ file = \"{file}\" }} }}"
        )
    };
    let (scram, simple) = (login("SCRAM-SHA-256"), login("PLAIN"));
    // Each would wait for an hour.
    let definite: [(&str, &[&str], &str, &str); 5] = [
        (&sasl, &[&scram], "invalid credentials", "see `username`, `password`"),
        (&sasl, &[&simple], "Invalid username or password", "see `username`, `password`"),
        (&both, &[&ca, &scram], "invalid credentials", "see `username`, `password`"),
        (&tls, &["source.kafka.tls={}"], "certificate verify failed", "tls = { ca ="),
        (&plain, &[&scram], "handshake failed", "the port in `brokers`"),
    ];
    // Each may be a broker that is not there yet.
    let likely: [(&str, &[&str], &str, &str); 5] = [
        (&tls, &[], "asking the brokers", "speaks TLS"),
        // Of the two that librdkafka says of this either may be the last: both say why.
        (&plain, &[&ca], "Disconnected: SSL connection closed by peer", "not to speak TLS"),
        (&sasl, &[], "asking the brokers", "may want a login"),
        ("127.0.0.1:1", &[], "Connection refused", "a broker listens there"),
        ("no.such.host.invalid:9092", &[], "Failed to resolve", "the names in `brokers`"),
    ];
    let cases = definite.map(|case| ("1h", case)).into_iter();
    for (n, (patience, (address, settings, says, hint))) in
        cases.chain(likely.map(|case| ("2s", case))).enumerate()
    {
        let patience = format!("source.kafka.connect_timeout={patience}");
        let more: Vec<&str> =
            settings.iter().copied().chain([&*patience]).flat_map(|s| ["--set", s]).collect();
        let run = Run::new(&config, address, "s", &dir.path().join(n.to_string()));
        refused(&run.to_the_end(&more), says, hint);
        refused(&run.validate(&more), says, hint);
    }
}

/// A live run with topics that are not there was `starting`, without a word.
#[test]
fn topics_that_are_not_there_are_named_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "there", 1);
    let config = config(dir.path());
    let run = Run::new(&config, &broker.address(), "later", &dir.path().join("live"));
    let mut daemon = Running::start(run.serving());
    let trouble = until(&run, &mut daemon, "topics are missing", Status::trouble);
    assert_eq!(trouble, "topics later.pin, later.geo, later.user are not there");
    let status = run.status().expect("it answers");
    let source = &status.0["sources"][0];
    assert_eq!(source["state"], "failing", "{source}");
    let hint = source["trouble"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("mend `prefix`"), "{hint}");
    // A run that is to end waits for them too.
    let bounded = Run::new(&config, &broker.address(), "later", &dir.path().join("bounded"));
    let soon = ["--set", "source.kafka.connect_timeout=2s"];
    refused(&bounded.to_the_end(&soon), "later.user are not there", "mend `prefix`");
    refused(&bounded.validate(&soon), "later.user are not there", "mend `prefix`");
    // A pattern that matches none is no empty success, and what else is missing has its own hint.
    let there = Run::new(&config, &broker.address(), "there", &dir.path().join("there"));
    let none = [soon[0], soon[1], "--set", "source.kafka.topics=^nothing[.]"];
    refused(&there.to_the_end(&none), "topic matching ^nothing[.] is not there", "`topics`");
    refused(&there.validate(&none), "topic matching ^nothing[.] is not there", "`topics`");
    let also = |set: &str| there.validate(&["--set", set]);
    refused(&also("source.kafka.start={\"there.pin/9\"=5}"), "there.pin/9", "mend `start`");
    let letters = "source.kafka.dead_letters={topic=\"nowhere\"}";
    refused(&also(letters), "topic nowhere is not there", "mend `dead_letters`");
    let waiting = Running::start(bounded.command(&["--until", "latest"]));
    create(&broker.address(), "later", 1);
    let records = generated("later", &Shape::bench(100, 3), 1, false);
    let n = records.len() as u64;
    put(&broker.address(), &records);
    until(&run, &mut daemon, "they are read", |s| (s.read() == n).then_some(()));
    until(&run, &mut daemon, "all is well", |s| s.trouble().is_none().then_some(()));
    waiting.wait(Duration::from_mins(1)).ok();
    daemon.terminate();
    daemon.wait(Duration::from_mins(1)).ok();
}

/// The end of a run waited for brokers that were away.
#[test]
fn a_run_ends_in_order_while_the_brokers_are_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(&dir.path().join("kafka"));
    create(&broker.address(), "s", 1);
    let records = generated("s", &Shape::bench(100, 3), 1, false);
    put(&broker.address(), &records);
    let config = config(dir.path());
    let run = Run::new(&config, &broker.address(), "s", &dir.path().join("live"));
    let mut daemon = Running::start(run.serving());
    let n = records.len() as u64;
    until(&run, &mut daemon, "all is read", |s| (s.read() == n).then_some(()));
    broker.kill();
    until(&run, &mut daemon, "it is noticed", Status::trouble);
    daemon.terminate();
    daemon.wait(Duration::from_mins(1)).ok();
}
