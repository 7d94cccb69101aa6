//! The Kafka sink against librdkafka's own broker in this process, which can be told to refuse.
//! What a real broker does is for `tests/integration/kafka.rs`.

mod broker;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::settings::{EventMessage, KafkaCodec, KafkaSettings, Message, Oversize, Topic};
use crate::batch::{BatchId, Body, Compression, EventPosition, Parcel, Purpose, Record};
use crate::filter::path;
use crate::filter::tree::Path;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};

const SEGMENT: SegmentId = SegmentId([7; 16]);

fn path(text: &str) -> Path {
    path::parse(text).unwrap()
}

fn event() -> EventMessage {
    EventMessage {
        key: None,
        header_fields: Vec::new(),
        crn: None,
        codec: KafkaCodec::None,
        oversize: Oversize::Reject,
    }
}

fn settings(event: EventMessage) -> KafkaSettings {
    KafkaSettings {
        brokers: vec!["127.0.0.1:9".to_owned()],
        topic: Topic::Fixed("events".to_owned()),
        message: Message::Event(event),
        headers: Vec::new(),
        identity_headers: true,
        message_bytes_max: 1_000_000,
        delivery_timeout: Duration::from_secs(60),
        tls: None,
        sasl: None,
        properties: Vec::new(),
    }
}

fn record(offset: u64, line: &str) -> Record {
    Record {
        position: EventPosition {
            segment: SEGMENT,
            journal: JournalId(0),
            offset: Offset(offset),
        },
        labels: Arc::new(crate::event::Labels::of_input(crate::event::InputId(0))),
        received: Timestamp(0),
        line: Bytes::copy_from_slice(line.as_bytes()),
        body: Bytes::copy_from_slice(line.as_bytes()),
    }
}

fn parcel(body: Body, events: u64) -> Parcel {
    let content_encoding = Compression::Identity;
    let parcel = Parcel {
        id: BatchId {
            segment: SEGMENT,
            range: OffsetRange {
                first: Offset(0),
                end: Offset(events),
            },
            stream: Arc::from("siem"),
            version: 0,
        },
        journal: JournalId(0),
        attempt: 0,
        events,
        raw_bytes: 0,
        body,
        content_encoding,
        content_type: None,
        received_first: Timestamp(0),
        purpose: Purpose::Events,
    };
    let raw_bytes = parcel.body_bytes();
    Parcel {
        raw_bytes,
        ..parcel
    }
}

/// One record a line, at offsets from 0.
fn records(lines: &[String]) -> Parcel {
    let records = lines
        .iter()
        .zip(0..)
        .map(|(line, offset)| record(offset, line));
    parcel(Body::Records(records.collect()), lines.len() as u64)
}
