//! A real Apache Kafka broker of a test's own: fetched once by Maven, started on free ports with
//! a log folder of its own, stopped when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::http::free_port;

/// What a broker without disk may take to answer; it takes three seconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The jars of Kafka, fetched if they are not there.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let lib = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-4.1.1");
        if lib.exists() {
            return lib;
        }
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
        let fetched = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(pom).arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", fetched.path().display()));
        let output = maven.output().expect("Maven fetches Kafka: scripts/setup test installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // Whole or not at all; another test may have been first.
        let renamed = std::fs::rename(fetched.path(), &lib);
        assert!(renamed.is_ok() || lib.exists(), "{renamed:?}");
        lib
    })
}

/// A broker, which is its own controller.
pub struct Broker {
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    /// Starts one without topics.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (port, controller) = (free_port(), free_port());
        let log = dir.path().join("log");
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=1\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n",
            log.display()
        );
        std::fs::write(dir.path().join("server.properties"), properties).expect("written");
        let quiet = "rootLogger.level=error\nrootLogger.appenderRef.out.ref=out\n\
                     appender.out.type=Console\nappender.out.name=out\n";
        std::fs::write(dir.path().join("log4j2.properties"), quiet).expect("written");
        let mut broker = Broker { dir, port, child: None };
        let mut format = broker.java("kafka.tools.StorageTool");
        // An id of a cluster is 16 bytes in base64.
        format.args(["format", "--standalone", "-t", "cGluZmxvdy10ZXN0LWlkMQ", "-c"]);
        let output = format.arg(broker.properties()).output().expect("java can be run");
        assert!(output.status.success(), "{output:?}");
        broker.restart();
        broker
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        let path = format!("{}:{}/*", self.dir.path().display(), jars().display());
        java.args(["-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        java.args(["-cp", &path, class]);
        java
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`; what it had stays for a restart.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it can be waited for");
        }
    }

    /// Starts it where it was, and waits until it answers.
    pub fn restart(&mut self) {
        let said = std::fs::File::create(self.dir.path().join("said")).expect("a file");
        let mut java = self.java("kafka.Kafka");
        java.arg(self.properties()).stdin(Stdio::null()).stderr(Stdio::null()).stdout(said);
        let child = java.spawn().expect("Java runs Kafka: scripts/setup test installs it");
        self.child = Some(child);
        let start = Instant::now();
        let consumer = self.consumer();
        while consumer.fetch_metadata(None, Duration::from_secs(2)).is_err() {
            let child = self.child.as_mut().expect("just started");
            let ended = child.try_wait().expect("it can be waited for");
            let said = || std::fs::read_to_string(self.dir.path().join("said"));
            assert!(ended.is_none(), "the broker ended: {ended:?}\n{:?}", said());
            assert!(start.elapsed() < PATIENCE, "the broker does not answer\n{:?}", said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A consumer that belongs to no group.
    pub fn consumer(&self) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("group.id", "test");
        config.set("enable.auto.commit", "false").set("enable.partition.eof", "false");
        config.create().expect("a consumer")
    }

    /// How many records a topic has got so far; none if it is not there.
    pub fn count(&self, topic: &str) -> i64 {
        let consumer = self.consumer();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
        let partitions = metadata.topics()[0].partitions().iter();
        let ends = partitions.map(|p| consumer.fetch_watermarks(topic, p.id(), PATIENCE));
        ends.map(|ends| ends.map_or(0, |ends| ends.1)).sum()
    }

    /// Waits until a topic has more records than so many; returns how many.
    pub fn wait(&self, topic: &str, more_than: i64) -> i64 {
        let start = Instant::now();
        loop {
            let count = self.count(topic);
            if count > more_than {
                return count;
            }
            assert!(start.elapsed() < PATIENCE, "{topic} stays at {count} records");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that a topic holds: by partition, in order.
    pub fn read(&self, topic: &str) -> Vec<Vec<OwnedMessage>> {
        let consumer = self.consumer();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("an answer");
        let count = metadata.topics()[0].partitions().len();
        assert!(count > 0, "there is no topic {topic}");
        let mut list = TopicPartitionList::new();
        let mut left = Vec::new();
        for partition in 0..count as i32 {
            let ends = consumer.fetch_watermarks(topic, partition, PATIENCE).expect("an answer");
            left.push(ends.1 - ends.0);
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("its own");
        }
        consumer.assign(&list).expect("its own");
        let mut out = vec![Vec::new(); count];
        let start = Instant::now();
        while left.iter().any(|n| *n > 0) {
            assert!(start.elapsed() < PATIENCE, "of {topic} {left:?} records do not come");
            let Some(message) = consumer.poll(Duration::from_millis(500)) else { continue };
            let message = message.expect("a record").detach();
            left[message.partition() as usize] -= 1;
            out[message.partition() as usize].push(message);
        }
        out
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
