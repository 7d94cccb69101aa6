//! The real Kafka broker of `tests/services/kafka`: its addresses, its administration, and what
//! readers find in its topics.
//!
//! Messages are read with librdkafka from the plain listener, where everybody may do everything.
//! A test whose broker is to die has one of its own beside the shared one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use weir::stream::probe::MESSAGE as PROBE;

use crate::fault_proxy::FaultProxy;
use crate::harness::{DEADLINE, Stage, free_ports};

/// Ports that a broker takes, in a row.
const PORTS: usize = 5;

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Read {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }
}

/// See the module's documentation.
pub(crate) struct Broker {
    /// The script's environment where it is the test's own, empty for everybody's.
    environment: Vec<(&'static str, String)>,
    addresses: BTreeMap<String, String>,
}

impl Broker {
    /// The one that `make test` starts.
    pub(crate) fn shared() -> Self {
        let folder = std::env::var_os("WEIR_SERVICES_DIR").map_or_else(
            || repository("target/services"),
            |folder| repository("").join(folder),
        );
        let broker = Self {
            environment: Vec::new(),
            addresses: read_addresses(&folder),
        };
        assert!(
            TcpStream::connect(broker.at("KAFKA_PLAINTEXT")).is_ok(),
            "no Kafka broker; start it with tests/services/kafka start, or run make test"
        );
        broker
    }

    /// One of the test's own, with its data below the stage.
    pub(crate) fn own(stage: &Stage) -> Self {
        Self::start(stage, "broker", free_ports(PORTS), &[])
    }

    /// As [`Broker::own`], behind a proxy: clients of SASL_SSL are sent there.
    pub(crate) fn own_behind_proxy(stage: &Stage) -> (Self, FaultProxy) {
        let port = free_ports(PORTS);
        let proxy = FaultProxy::before(SocketAddr::from((Ipv4Addr::LOCALHOST, port + 2)));
        let advertised = ("WEIR_KAFKA_ADVERTISED", proxy.address().to_string());
        (Self::start(stage, "broker", port, &[advertised]), proxy)
    }

    /// A second broker in the cluster of this one.
    pub(crate) fn joined(&self, stage: &Stage) -> Self {
        let joins = ("WEIR_KAFKA_JOINS", self.at("KAFKA_CONTROLLER").to_owned());
        Self::start(stage, "second", free_ports(PORTS), &[joins])
    }

    fn start(stage: &Stage, folder: &str, port: u16, more: &[(&'static str, String)]) -> Self {
        let folder = stage.path(folder);
        let mut environment = vec![
            ("WEIR_SERVICES_DIR", folder.display().to_string()),
            ("WEIR_KAFKA_PORT", port.to_string()),
        ];
        environment.extend_from_slice(more);
        let mut broker = Self {
            environment,
            addresses: BTreeMap::new(),
        };
        broker.run(&["start"]);
        broker.addresses = read_addresses(&folder);
        broker
    }

    /// A value of the script's file `env`.
    pub(crate) fn at(&self, name: &str) -> &str {
        let value = self.addresses.get(name);
        value.unwrap_or_else(|| panic!("{name} is not in the broker's file env"))
    }

    /// `text` with the broker's values in place of `@KAFKA_…@`.
    pub(crate) fn fill(&self, text: &str) -> String {
        let names = self.addresses.iter();
        names.fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("@{name}@"), value)
        })
    }

    /// `tests/services/kafka` with these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(repository("tests/services/kafka"));
        command
            .envs(self.environment.iter().cloned())
            .args(arguments);
        let output = command.stdin(Stdio::null()).output();
        let output = output.expect("the script can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kafka {arguments:?}: {said}");
    }

    /// Makes a topic, and lets `token` write it; its name, which no other run of the test has.
    pub(crate) fn topic(&self, name: &str, settings: &[&str]) -> String {
        let name = self.name_for(name);
        self.run(&[&["topic", "create", &name], settings].concat());
        name
    }

    /// The name of a topic that is not made yet, but which `token` may write.
    pub(crate) fn name_for(&self, name: &str) -> String {
        let now = std::time::UNIX_EPOCH.elapsed().expect("a clock");
        let name = format!("{name}-{}", now.as_micros());
        self.run(&["acl", "add", "token", "Write,Describe", "topic", &name]);
        name
    }

    /// The first `count` messages of a topic, in the order of each partition.
    pub(crate) fn read(&self, topic: &str, count: usize) -> Vec<Read> {
        let mut found = Vec::new();
        let consumer = self.consumer(topic);
        let started = Instant::now();
        while found.len() < count {
            let late = started.elapsed() > DEADLINE;
            assert!(!late, "{} of {count} messages came", found.len());
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                found.push(seen(&message.expect("a message")));
            }
        }
        found
    }

    /// All messages that are in a topic now.
    /// Probes of a stream that was parked are left out.
    pub(crate) fn read_all(&self, topic: &str) -> Vec<Read> {
        let consumer = self.consumer(topic);
        let partitions = partitions_of(&consumer, topic);
        let counts = partitions.into_iter().map(|partition| {
            let ends = consumer.fetch_watermarks(topic, partition, DEADLINE);
            let (low, high) = ends.expect("the ends of a partition");
            usize::try_from(high - low).expect("a count")
        });
        let count = counts.sum();
        let mut read = self.read(topic, count);
        read.retain(|message| !String::from_utf8_lossy(&message.body).contains(PROBE));
        read
    }

    /// The brokers that lead a topic's partitions, in their order.
    pub(crate) fn leaders(&self, topic: &str) -> Vec<i32> {
        let consumer = self.consumer(topic);
        let metadata = consumer.fetch_metadata(Some(topic), DEADLINE);
        let metadata = metadata.expect("the topic's metadata");
        let partitions = metadata.topics()[0].partitions().iter();
        partitions.map(|partition| partition.leader()).collect()
    }

    fn consumer(&self, topic: &str) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.at("KAFKA_PLAINTEXT"))
            .set("group.id", "weir-tests")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in partitions_of(&consumer, topic) {
            let added = assignment.add_partition_offset(topic, partition, Offset::Beginning);
            added.expect("a partition of the topic");
        }
        consumer.assign(&assignment).expect("an assignment");
        consumer
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !self.environment.is_empty() {
            self.run(&["stop"]);
        }
    }
}

fn partitions_of(consumer: &BaseConsumer, topic: &str) -> Vec<i32> {
    let metadata = consumer.fetch_metadata(Some(topic), DEADLINE);
    let metadata = metadata.expect("the topic's metadata");
    let topics = metadata.topics().iter();
    topics
        .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
        .collect()
}

fn seen(message: &rdkafka::message::BorrowedMessage<'_>) -> Read {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let headers = message.headers();
    let headers = headers.into_iter().flat_map(|headers| headers.iter());
    Read {
        partition: message.partition(),
        key: message.key().map(text),
        headers: headers
            .map(|header| {
                (
                    header.key.to_owned(),
                    text(header.value.unwrap_or_default()),
                )
            })
            .collect(),
        body: message.payload().unwrap_or_default().to_vec(),
    }
}

fn read_addresses(services: &Path) -> BTreeMap<String, String> {
    let file = services.join("kafka/env");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; start the broker with tests/services/kafka start, or run make test",
            file.display()
        )
    });
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
