//! Events a second to a real Kafka broker: librdkafka alone, and the sink with the same messages
//! and the same properties, without headers and with those of identity. The sink is to reach 70 %
//! of librdkafka's own figure. And raw bytes a second when each batch is one message.
//!
//! Needs the broker of `tests/services/kafka`; without one it says so and measures nothing. The
//! broker runs on the same cores, so only the two figures of one run can be compared: rounds of
//! both take turns, and the best of each counts.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

mod corpus;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use weir::batch::{BatchId, Body, Compression, EventPosition, Parcel, Purpose, Record};
use weir::block::codec::{CompressionLevel, best_codec};
use weir::block::raw_crc32;
use weir::event::{InputId, Labels};
use weir::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use weir::sink::settings::{EventMessage, KafkaCodec, KafkaSettings, Message, Oversize, Topic};
use weir::sink::{KafkaSink, Outcome, Sink as _};
use weir::stream::gzip::GzipMember;

/// Raw bytes of a round: a few of a stream's default batches.
const PARCELS: usize = 16;
const PARCEL_BYTES: usize = 8 << 20;
const CORPUS_BYTES: usize = 512 << 10;
const ROUNDS: usize = 5;
const TOPIC: &str = "weir-events";

fn main() {
    let Some(brokers) = brokers() else {
        println!("kafka: no broker; start it with tests/services/kafka start");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let blocks = [
        ("audit", corpus::audit_block(CORPUS_BYTES, 1)),
        ("waf", corpus::waf_block(CORPUS_BYTES, 1)),
    ];
    for (name, block) in blocks {
        let parcel = parcel(&block);
        for codec in [KafkaCodec::None, KafkaCodec::Lz4] {
            let mut alone = Alone::new(&brokers, codec);
            let mut bare = sink(&brokers, codec, false);
            let mut whole = sink(&brokers, codec, true);
            let mut best = [0.0_f64; 4];
            for _ in 0..ROUNDS {
                let rates = [
                    rate(&parcel, || alone.send(&parcel, false)),
                    rate(&parcel, || runtime.block_on(deliver(&mut bare, &parcel))),
                    rate(&parcel, || alone.send(&parcel, true)),
                    rate(&parcel, || runtime.block_on(deliver(&mut whole, &parcel))),
                ];
                for (best, rate) in best.iter_mut().zip(rates) {
                    *best = best.max(rate);
                }
            }
            let [alone, bare, alone_whole, whole] = best;
            println!(
                "kafka {name} {}: librdkafka {:.0} k/s, sink {:.0} k/s ({:.0} %); with identity \
                 headers librdkafka {:.0} k/s, sink {:.0} k/s ({:.0} %)",
                codec.name(),
                alone / 1e3,
                bare / 1e3,
                100.0 * bare / alone,
                alone_whole / 1e3,
                whole / 1e3,
                100.0 * whole / alone_whole
            );
        }
        if name == "waf" {
            // It compresses less: 4 MiB of it are no message that a broker takes.
            continue;
        }
        let parcel = whole_parcel(&parcel, &block);
        let mut sink = batch_sink(&brokers);
        let mut best = 0.0_f64;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..4 {
                runtime.block_on(deliver(&mut sink, &parcel));
            }
            #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
            let bytes = (4 * PARCELS as u64 * parcel.raw_bytes) as f64;
            best = best.max(bytes / start.elapsed().as_secs_f64());
        }
        println!(
            "kafka {name} batch as message, gzip: {:.2} GB/s raw",
            best / 1e9
        );
    }
}

/// Events a second of a round.
fn rate(parcel: &Parcel, round: impl FnOnce()) -> f64 {
    let start = Instant::now();
    round();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let events = (parcel.records().len() * PARCELS) as f64;
    events / start.elapsed().as_secs_f64()
}

/// librdkafka, fed in a loop with what the sink would send.
struct Alone {
    producer: BaseProducer,
}

impl Alone {
    fn new(brokers: &str, codec: KafkaCodec) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("queue.buffering.max.kbytes", "32768")
            .set("compression.codec", codec.name())
            .create();
        Self {
            producer: producer.expect("a producer"),
        }
    }

    /// A round: the queue is kept full, and all is acknowledged at the end.
    fn send(&mut self, parcel: &Parcel, with_headers: bool) {
        let identity = parcel.id.to_string();
        for record in (0..PARCELS).flat_map(|_| parcel.records()) {
            let body: &[u8] = &record.body;
            let mut message = BaseRecord::<(), [u8]>::to(TOPIC).payload(body);
            if with_headers {
                let offset = record.position.offset.to_string();
                let headers = [("weir-batch", &identity), ("weir-event", &offset)];
                let list = OwnedHeaders::new_with_capacity(headers.len());
                message = message.headers(headers.into_iter().fold(list, |list, (key, value)| {
                    let value = Some(value.as_str());
                    list.insert(Header { key, value })
                }));
            }
            while let Err((_, back)) = self.producer.send(message) {
                message = back;
                self.producer.poll(Duration::from_millis(1));
            }
        }
        let flushed = self.producer.flush(Duration::from_secs(60));
        flushed.expect("all is acknowledged");
    }
}

fn sink(brokers: &str, codec: KafkaCodec, identity_headers: bool) -> KafkaSink {
    let settings = settings(brokers, codec, identity_headers);
    KafkaSink::open(&settings, Arc::from("bench"), Arc::new(|| Timestamp(0)))
}

fn settings(brokers: &str, codec: KafkaCodec, identity_headers: bool) -> KafkaSettings {
    KafkaSettings {
        brokers: vec![brokers.to_owned()],
        topic: Topic::Fixed(TOPIC.to_owned()),
        message: Message::Event(EventMessage {
            key: None,
            header_fields: Vec::new(),
            crn: None,
            codec,
            oversize: Oversize::Reject,
        }),
        headers: Vec::new(),
        identity_headers,
        message_bytes_max: 1_000_000,
        delivery_timeout: Duration::from_secs(60),
        tls: None,
        sasl: None,
        properties: Vec::new(),
    }
}

fn batch_sink(brokers: &str) -> KafkaSink {
    let settings = KafkaSettings {
        message: Message::Batch(Compression::Gzip),
        ..settings(brokers, KafkaCodec::None, true)
    };
    KafkaSink::open(&settings, Arc::from("bench"), Arc::new(|| Timestamp(0)))
}

/// A batch of 4 MiB, spliced of blocks.
fn whole_parcel(like: &Parcel, block: &[u8]) -> Parcel {
    let mut codec = best_codec(CompressionLevel::FASTEST);
    let mut member = GzipMember::new();
    let mut chunks = vec![Bytes::copy_from_slice(&GzipMember::header())];
    for _ in 0..8 {
        let mut run = Vec::new();
        codec.compress_run(block, &mut run).expect("it compresses");
        member.add_run(raw_crc32(block), block.len() as u64);
        chunks.push(Bytes::from(run));
    }
    let raw_bytes = member.raw_len();
    chunks.push(Bytes::copy_from_slice(&member.finish()));
    Parcel {
        raw_bytes,
        body: Body::Whole(chunks),
        content_encoding: Compression::Gzip,
        ..like.clone()
    }
}

/// A round.
async fn deliver(sink: &mut KafkaSink, parcel: &Parcel) {
    for _ in 0..PARCELS {
        assert_eq!(sink.deliver(parcel).await, Outcome::Delivered);
    }
}

/// Lines of the corpus over and over, up to the size of a parcel.
fn parcel(block: &[u8]) -> Parcel {
    let segment = SegmentId([7; 16]);
    let mut records = Vec::new();
    let mut raw_bytes = 0;
    let lines = block.split_inclusive(|byte| *byte == b'\n');
    // The last line of a block may be cut.
    let lines: Vec<_> = lines.filter_map(|line| line.strip_suffix(b"\n")).collect();
    let labels = Arc::new(Labels::of_input(InputId(0)));
    for (line, offset) in lines.iter().cycle().zip(0..) {
        if raw_bytes > PARCEL_BYTES {
            break;
        }
        raw_bytes += line.len() + 1;
        let line = Bytes::copy_from_slice(line);
        records.push(Record {
            position: EventPosition {
                segment,
                journal: JournalId(0),
                offset: Offset(offset),
            },
            received: Timestamp(0),
            labels: Arc::clone(&labels),
            line: line.clone(),
            body: line,
        });
    }
    let events = records.len() as u64;
    Parcel {
        id: BatchId {
            segment,
            range: OffsetRange {
                first: Offset(0),
                end: Offset(events),
            },
            stream: Arc::from("bench"),
            version: 0,
        },
        journal: JournalId(0),
        attempt: 0,
        events,
        raw_bytes: raw_bytes as u64,
        body: Body::Records(records),
        content_encoding: Compression::Identity,
        content_type: None,
        received_first: Timestamp(0),
        purpose: Purpose::Events,
    }
}

/// The plain listener, as the script wrote it down.
fn brokers() -> Option<String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let services = std::env::var_os("WEIR_SERVICES_DIR");
    let services = services.map_or_else(|| repository.join("target/services"), PathBuf::from);
    let text = fs::read_to_string(services.join("kafka/env")).ok()?;
    let lines = text.lines();
    let address = lines
        .filter_map(|line| line.strip_prefix("KAFKA_PLAINTEXT="))
        .next()?;
    std::net::TcpStream::connect(address).ok()?;
    Some(address.to_owned())
}
