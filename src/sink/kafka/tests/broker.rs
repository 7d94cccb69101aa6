//! Deliveries, and what becomes of them when brokers refuse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::super::KafkaSink;
use super::super::settings::{EventMessage, KafkaSettings, Message, Topic};
use super::{event, parcel, path, records, settings};
use crate::batch::{Body, Compression, Parcel};
use crate::position::Timestamp;
use crate::sink::{FAILURE_REASONS, Outcome, Sink as _};

type Cluster = MockCluster<'static, DefaultProducerContext>;

const PARTITIONS: i32 = 3;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("events", PARTITIONS, 1).unwrap();
    cluster
}

fn keyed(cluster: &Cluster) -> KafkaSettings {
    KafkaSettings {
        brokers: vec![cluster.bootstrap_servers()],
        ..settings(EventMessage {
            key: Some(path("key")),
            ..event()
        })
    }
}

fn open(settings: &KafkaSettings) -> KafkaSink {
    KafkaSink::open(settings, Arc::from("siem"), Arc::new(|| Timestamp(0)))
}

/// Events of seven keys, numbered.
fn lines(count: usize) -> Vec<String> {
    let line = |number| format!(r#"{{"key":"k{}","n":{number}}}"#, number % 7);
    (0..count).map(line).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn deliver(sink: &mut KafkaSink, parcel: &Parcel) -> Outcome {
    let outcome = block_on(sink.deliver(parcel));
    if let Outcome::Retry { why, .. } | Outcome::Refused { why } | Outcome::Split { why } = &outcome
    {
        assert!(FAILURE_REASONS.contains(&why.reason), "{why:?}");
    }
    outcome
}

/// The kind of an outcome and its word.
fn verdict(outcome: &Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Delivered => ("delivered", ""),
        Outcome::RecordFirst => ("record", ""),
        Outcome::Partial { why, .. } => ("partial", why.reason),
        Outcome::Retry { why, .. } => ("retry", why.reason),
        Outcome::Split { why } => ("split", why.reason),
        Outcome::Refused { why } => ("refused", why.reason),
    }
}

/// All bodies in the topic so far, of each key in their order.
fn stored(cluster: &Cluster, count: usize) -> BTreeMap<String, Vec<String>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let place = rdkafka::Offset::Beginning;
        assignment
            .add_partition_offset("events", partition, place)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut stored: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut left = count;
    while left > 0 {
        let message = consumer
            .poll(Duration::from_secs(30))
            .expect("all come")
            .unwrap();
        let text =
            |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        stored
            .entry(text(message.key()))
            .or_default()
            .push(text(message.payload()));
        left -= 1;
    }
    assert!(
        consumer.poll(Duration::from_millis(200)).is_none(),
        "there is more"
    );
    stored
}

/// What the lines should be stored as, each once.
fn in_order(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (number, line) in lines.iter().enumerate() {
        expected
            .entry(format!("k{}", number % 7))
            .or_default()
            .push(line.clone());
    }
    expected
}

#[test]
fn parcels_arrive_whole_and_in_order_of_each_key() {
    let cluster = cluster();
    let mut sink = open(&keyed(&cluster));
    let lines = lines(5_000);
    for part in lines.chunks(2_000) {
        assert_eq!(deliver(&mut sink, &records(part)), Outcome::Delivered);
    }
    // Chunks begin anew with the keys' numbers, but the lines say their keys.
    assert_eq!(stored(&cluster, lines.len()), in_order(&lines));
}

#[test]
fn a_passing_error_of_a_broker_costs_neither_order_nor_duplicates() {
    let cluster = cluster();
    let mut sink = open(&keyed(&cluster));
    let lines = lines(3_000);
    assert_eq!(
        deliver(&mut sink, &records(&lines[..700])),
        Outcome::Delivered
    );
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    assert_eq!(
        deliver(&mut sink, &records(&lines[700..])),
        Outcome::Delivered
    );
    assert_eq!(stored(&cluster, lines.len()), in_order(&lines));
}

#[test]
fn after_a_message_that_failed_none_behind_it_is_taken_before_it() {
    let cluster = cluster();
    // Small batches, so that some are under way when one is refused.
    let settings = KafkaSettings {
        properties: vec![("batch.num.messages".to_owned(), "10".to_owned())],
        ..keyed(&cluster)
    };
    let mut sink = open(&settings);
    let lines = lines(2_100);
    let none = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    let revoked = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::Produce, &[none, none, none, revoked]);
    let outcome = deliver(&mut sink, &records(&lines));
    assert_eq!(verdict(&outcome), ("refused", "topic_authorization_failed"));
    let before: usize = counted(&cluster);
    assert!(before < lines.len());
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    assert_eq!(deliver(&mut sink, &records(&lines)), Outcome::Delivered);
    let stored = stored(&cluster, before + lines.len());
    for (key, expected) in in_order(&lines) {
        let mut first_seen: Vec<&String> = Vec::new();
        for body in &stored[&key] {
            if !first_seen.contains(&body) {
                first_seen.push(body);
            }
        }
        assert_eq!(first_seen, expected.iter().collect::<Vec<_>>(), "{key}");
    }
}

/// Messages in the topic now.
fn counted(cluster: &Cluster) -> usize {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .create()
        .unwrap();
    let ends = (0..PARTITIONS).map(|partition| {
        let timeout = Duration::from_secs(30);
        let (low, high) = consumer
            .fetch_watermarks("events", partition, timeout)
            .unwrap();
        usize::try_from(high - low).unwrap()
    });
    ends.sum()
}

#[test]
fn what_a_broker_finds_too_large_is_found_by_sending_one_by_one() {
    let cluster = cluster();
    let mut sink = open(&keyed(&cluster));
    let lines = lines(20);
    let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let outcome = deliver(&mut sink, &records(&lines));
    assert_eq!(verdict(&outcome), ("retry", "message_size_too_large"));
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    cluster.request_errors(RDKafkaApiKey::Produce, &[too_large]);
    let outcome = deliver(&mut sink, &records(&lines));
    let Outcome::Partial {
        retry, reject, why, ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(why.reason, "message_size_too_large");
    let [(rejected, _)] = reject[..] else {
        panic!("{reject:?}");
    };
    assert!(!retry.contains(&rejected));
    let left: Vec<String> = retry
        .iter()
        .map(|record| lines[*record as usize].clone())
        .collect();
    assert_eq!(deliver(&mut sink, &records(&left)), Outcome::Delivered);
}

#[test]
fn events_without_a_message_are_named_and_the_others_arrive() {
    let cluster = cluster();
    let settings = KafkaSettings {
        topic: Topic::Field {
            path: path("topic"),
            topics: vec!["events".to_owned()],
        },
        message_bytes_max: 1_000,
        ..keyed(&cluster)
    };
    let mut sink = open(&settings);
    let long = format!(
        r#"{{"topic":"events","key":"k0","long":"{}"}}"#,
        "x".repeat(1_000)
    );
    let good = r#"{"topic":"events","key":"k0"}"#.to_owned();
    let stranger = r#"{"topic":"other","key":"k0"}"#.to_owned();
    let outcome = deliver(
        &mut sink,
        &records(&[good.clone(), long, stranger.clone(), good.clone()]),
    );
    let Outcome::Partial { retry, reject, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(retry.is_empty(), "{retry:?}");
    let reject: Vec<_> = reject
        .iter()
        .map(|(record, why)| (*record, why.reason))
        .collect();
    assert_eq!(
        reject,
        [(1, "message_size_too_large"), (2, "unknown_topic")]
    );
    assert_eq!(stored(&cluster, 2)["k0"], [good.clone(), good]);
    // Also when there is nothing left to send.
    let outcome = deliver(&mut sink, &records(&[stranger]));
    assert_eq!(verdict(&outcome), ("partial", "unknown_topic"));
}

#[test]
fn a_batch_is_one_message_or_split_when_it_is_too_large() {
    let cluster = cluster();
    let settings = KafkaSettings {
        message: Message::Batch(Compression::Identity),
        message_bytes_max: 1_000,
        ..keyed(&cluster)
    };
    let mut sink = open(&settings);
    let whole = |bytes: usize| {
        let half = Bytes::from(vec![b'x'; bytes / 2]);
        parcel(Body::Whole(vec![half.clone(), half]), 2)
    };
    let outcome = deliver(&mut sink, &whole(1_000));
    assert_eq!(verdict(&outcome), ("split", "message_size_too_large"));
    assert_eq!(deliver(&mut sink, &whole(500)), Outcome::Delivered);
    assert_eq!(stored(&cluster, 1)[""], ["x".repeat(500)]);
}

#[test]
fn a_broker_that_was_never_there_is_told_long_before_the_timeout() {
    let mut sink = open(&settings(event()));
    let outcome = deliver(&mut sink, &records(&lines(1)));
    assert_eq!(verdict(&outcome), ("retry", "broker_transport_failure"));
}

#[test]
fn a_broker_that_went_away_is_waited_for_until_the_timeout() {
    let cluster = cluster();
    let settings = KafkaSettings {
        delivery_timeout: Duration::from_secs(1),
        ..keyed(&cluster)
    };
    let mut sink = open(&settings);
    assert_eq!(deliver(&mut sink, &records(&lines(7))), Outcome::Delivered);
    cluster.broker_down(1).unwrap();
    let outcome = deliver(&mut sink, &records(&lines(7)));
    assert_eq!(verdict(&outcome), ("retry", "broker_transport_failure"));
    cluster.broker_up(1).unwrap();
    assert_eq!(deliver(&mut sink, &records(&lines(7))), Outcome::Delivered);
}

#[test]
fn a_dropped_delivery_takes_the_client_along_and_the_next_one_works() {
    let cluster = cluster();
    let mut sink = open(&keyed(&cluster));
    cluster.broker_down(1).unwrap();
    let parcel = records(&lines(7));
    let given_up = block_on(async {
        tokio::time::timeout(Duration::from_millis(50), sink.deliver(&parcel)).await
    });
    assert!(given_up.is_err());
    cluster.broker_up(1).unwrap();
    assert_eq!(deliver(&mut sink, &parcel), Outcome::Delivered);
    assert_eq!(stored(&cluster, 7), in_order(&lines(7)));
}
