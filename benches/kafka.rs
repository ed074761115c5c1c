//! `make bench`, part two: records a second from a real broker on this machine, beside a bare
//! consumer loop that only counts bytes and beside the same data from files; interleaved, medians.
//!
//! From the environment: `BENCH_KAFKA_RECORDS` (over the three topics; default 900000, a backlog
//! is 3000000), `BENCH_RUNS` (default 3), `BENCH_WORKERS` (default: one a core, at most 2).

#![allow(clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../tests/kafka/broker.rs"]
mod broker;
/// What the broker takes of the tests.
#[path = "../tests/support"]
mod support {
    pub mod port;
}

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::{Broker, Sent, create_with, send};
use pinflow::cli::Failure;
use pinflow::cli::bench::cost::{Cost, measure, measured_on, median};
use pinflow::cli::bench::data;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

const STREAMS: [&str; 3] = ["pin", "geo", "user"];
const PARTITIONS: i32 = 4;

fn main() {
    // `cargo test --benches` wants to know only whether it starts.
    if std::env::args().any(|a| a == "--test") {
        return;
    }
    if let Err(failure) = compare() {
        println!("kafka: {failure}");
        std::process::exit(i32::from(failure.exit_code));
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn compare() -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::io("making a folder for the bench", &e);
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-kafka");
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).map_err(failed)?;
    let records = number("BENCH_KAFKA_RECORDS", 900_000);
    let input = scratch.join("in");
    data::demo(&input, records, 1)?;
    let broker = Broker::start(&scratch.join("broker"));
    let records = fill(&broker.address(), &input).map_err(failed)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = number("BENCH_WORKERS", cores.min(2) as u64).to_string();
    let runs = number("BENCH_RUNS", 3);
    println!("{}, {cores} cores; {workers} workers; medians of {runs}, interleaved", measured_on());
    println!("{records} records, {:.0} MiB\n", data::bytes(&input) as f64 / 1_048_576.0);
    let (mut bare, mut kafka, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        bare.push(loop_only(&broker.address(), records));
        kafka.push(pinflow(&scratch, &workers, &topics(&broker.address()))?);
        let folder = ["--once".into(), "--input".into(), input.clone().into_os_string()];
        files.push(pinflow(&scratch, &workers, &folder)?);
    }
    println!("| reader | wall s | CPU s | peak MiB | records/s |\n|---|---|---|---|---|");
    let bare = median(bare).unwrap_or_default();
    println!("| a bare consumer loop | {bare:.2} | | | {:.0} |", records as f64 / bare);
    let kafka = row("pinflow, Kafka", &kafka, records);
    row("pinflow, files", &files, records);
    println!("\nKafka over the bare loop: {:.2}", bare / kafka);
    drop(broker);
    std::fs::remove_dir_all(&scratch).map_err(failed)
}

/// Prints a line of the table; the median of the wall times.
fn row(name: &str, costs: &[Cost], records: u64) -> f64 {
    let of = |f: &dyn Fn(&Cost) -> Option<f64>| {
        median(costs.iter().filter_map(f).collect()).unwrap_or_default()
    };
    let wall = of(&|c| Some(c.seconds));
    let (cpu, peak) = (of(&|c| c.cpu_seconds), of(&|c| Some(c.peak_bytes? as f64 / 1_048_576.0)));
    println!("| {name} | {wall:.2} | {cpu:.2} | {peak:.0} | {:.0} |", records as f64 / wall);
    wall
}

/// The lines of the files as records of the topics, dealt to their partitions; how many.
fn fill(brokers: &str, input: &Path) -> std::io::Result<u64> {
    let mut sent = 0;
    for stream in STREAMS {
        let topic = format!("bench.{stream}");
        create_with(brokers, &[&topic], PARTITIONS, &[]);
        let bytes = std::fs::read(input.join(format!("{stream}.jsonl")))?;
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let record = |(n, payload)| Sent {
            topic: &topic,
            partition: (n % PARTITIONS as usize) as i32,
            at: 1_760_000_000_000 + n as i64,
            payload: Some(payload),
            key: None,
            headers: &[],
        };
        send(brokers, lines.enumerate().map(record).inspect(|_| sent += 1));
    }
    Ok(sent)
}

/// The flags that read the topics.
fn topics(brokers: &str) -> Vec<OsString> {
    let brokers = format!("source.kafka.brokers={brokers}");
    ["--config", "builtin:kafka.toml", "--set", &brokers, "--set", "source.kafka.prefix=bench"]
        .into_iter()
        .chain(["--until", "latest"])
        .map(OsString::from)
        .collect()
}

fn pinflow(scratch: &Path, workers: &str, source: &[OsString]) -> Result<Cost, Failure> {
    let (state, out) = (scratch.join("state"), scratch.join("out"));
    let _ = std::fs::remove_dir_all(&state);
    let mut args: Vec<OsString> =
        ["run", "--config", "builtin:bench.toml", "--workers", workers].map(Into::into).into();
    args.extend(["--state".into(), state.into(), "--results".into(), out.into()]);
    args.extend(source.iter().cloned());
    measure(Path::new(env!("CARGO_BIN_EXE_pinflow")), &args, &scratch.join("log"))
}

/// Reads all partitions to their ends and counts bytes; how long that takes, in seconds.
fn loop_only(brokers: &str, records: u64) -> f64 {
    let began = Instant::now();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bare");
    config.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a client");
    let mut list = TopicPartitionList::new();
    for stream in STREAMS {
        for n in 0..PARTITIONS {
            let topic = format!("bench.{stream}");
            list.add_partition_offset(&topic, n, Offset::Beginning).expect("an offset");
        }
    }
    consumer.assign(&list).expect("it can be assigned");
    let (mut bytes, mut read, mut ends) = (0, 0, 0);
    while ends < STREAMS.len() * PARTITIONS as usize {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                bytes += message.payload_len();
                read += 1;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
            Some(Err(error)) => panic!("the bare loop cannot read: {error}"),
            None => {}
        }
    }
    assert!(bytes > 0 && read == records, "{read} of {records}");
    began.elapsed().as_secs_f64()
}
