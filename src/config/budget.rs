//! Limits that no node could keep: rules that need more than one section.
//!
//! Each message does the sum in front of the operator.

use super::node::{Journal, Node};
use super::plan::{InputPlan, SHARD_BYTES, StreamPlan};
use super::reader::Section;
use super::reader::report::Report;
use super::units::ByteSize;
use crate::ingest::settings::InputSettings;
use crate::journal::settings::RoomLimit;
use crate::sink::settings::SinkSettings;
use crate::stream::settings::STREAMED_HELD_BYTES_MAX;

/// The parts that limits are summed up from.
pub(super) struct Budget<'r, 'i> {
    pub(super) report: &'r Report<'i>,
    pub(super) node: &'r Node,
    pub(super) journal: &'r Journal,
    pub(super) inputs: &'r [InputPlan],
    pub(super) streams: &'r [StreamPlan],
}

impl Budget<'_, '_> {
    /// Reads `memory.max` and refuses it when it cannot hold what must be held at once:
    /// new work waits for room, so what never fits would wait forever.
    pub(super) fn read_memory(&self, section: Section<'_, '_>) -> u64 {
        let parts = self.memory_parts();
        let need: u64 = parts.iter().map(|part| part.bytes).sum();
        let default = MEMORY_BYTES_DEFAULT.max(need.saturating_add(MEMORY_BYTES_SPARE));
        let given = section.size("max");
        let computed = (default, format!("\"{}\"", ByteSize(default)));
        let memory = section.or_computed("max", given, computed);
        section.finish();
        let sound = self.node.shards.is_sound()
            && self.node.journals.is_sound()
            && self.journal.tail_bytes_max.is_sound()
            && self.journal.pending_bytes_max.is_sound();
        if memory.value < need && sound {
            let sum: Vec<_> = parts.into_iter().map(|part| part.words).collect();
            self.report.refuse(
                &memory,
                format!(
                    "cannot hold the {} that are needed at once: {}; raise it or lower one of these",
                    ByteSize(need),
                    sum.join(" + ")
                ),
            );
        }
        memory.value
    }

    fn memory_parts(&self) -> Vec<Part> {
        let (journals, shards) = (
            count(self.node.journals.value),
            count(self.node.shards.value),
        );
        let tail = count(self.journal.tail_bytes_max.value);
        let pending = count(self.journal.pending_bytes_max.value);
        let (tail_size, pending_size) = (ByteSize(tail), ByteSize(pending));
        let mut parts = vec![
            Part {
                // Lines kept beside blocks for streams with rules have twice the room of the tail;
                // rules may come while the node runs.
                bytes: journals * (3 * tail + pending),
                words: format!(
                    "{} x (3 x {tail_size} tail_bytes + {pending_size} pending_bytes)",
                    plural(journals, "journal")
                ),
            },
            Part {
                bytes: shards * SHARD_BYTES,
                words: format!("{} x {}", plural(shards, "shard"), ByteSize(SHARD_BYTES)),
            },
        ];
        let input = self.inputs.iter().max_by_key(|input| input_bytes(input));
        parts.extend(input.map(|input| Part {
            bytes: input_bytes(input),
            words: input_words(input),
        }));
        let batch = self
            .streams
            .iter()
            .filter(|stream| !matches!(stream.sink, SinkSettings::File(_)))
            .max_by_key(|stream| batch_bytes(stream));
        parts.extend(batch.map(|stream| {
            let bytes = batch_bytes(stream);
            let (size, name) = (ByteSize(bytes), &stream.stream.name);
            Part {
                bytes,
                words: format!("{size} for the largest batch (stream \"{name}\")"),
            }
        }));
        parts
    }

    /// Refuses segments that could not hold the longest line of an input: a block is a
    /// line at least, lies in one segment, and may not compress at all.
    pub(super) fn check_segments(&self) {
        let longest = self
            .inputs
            .iter()
            .map(settings)
            .max_by_key(|input| input.line_bytes_max);
        let Some(input) = longest else {
            return;
        };
        let line = count(input.line_bytes_max);
        let need = line + BLOCK_BYTES_BESIDE_LINE;
        if self.journal.segment_bytes.value < need {
            self.report.refuse(
                &self.journal.segment_bytes,
                format!(
                    "cannot hold a block with the longest line, {} = {} line_bytes_max (input \
                     \"{}\") + {}; raise it or lower line_bytes_max",
                    ByteSize(need),
                    ByteSize(line),
                    input.name,
                    ByteSize(BLOCK_BYTES_BESIDE_LINE)
                ),
            );
        }
    }

    /// Refuses a room without space for the segments every journal has from the start: its
    /// spares, the one it writes, and the one before it, which streams still read.
    pub(super) fn check_room(&self) {
        let RoomLimit::Bytes(room) = self.journal.bytes_max.value else {
            return;
        };
        let (journals, spares) = (self.node.journals.value, self.journal.spares.value);
        let segment = self.journal.segment_bytes.value;
        let need = count(journals) * (count(spares) + 2) * segment;
        let sound = self.node.journals.is_sound()
            && self.journal.spares.is_sound()
            && self.journal.segment_bytes.is_sound();
        if room < need && sound {
            self.report.refuse(
                &self.journal.bytes_max,
                format!(
                    "cannot hold the {} that the journals start with: {} x ({} + 2 segments) x {}; \
                     raise it, or lower segment_bytes, spares or node.journals",
                    ByteSize(need),
                    plural(count(journals), "journal"),
                    plural(count(spares), "spare"),
                    ByteSize(segment)
                ),
            );
        }
    }
}

/// One term of a sum, with its words.
struct Part {
    bytes: u64,
    words: String,
}

/// Memory of a node with two shards and all defaults.
const MEMORY_BYTES_DEFAULT: u64 = 192 << 20;

/// What a default leaves above the parts that must be held at once.
const MEMORY_BYTES_SPARE: u64 = 64 << 20;

/// Bytes of a block besides its longest line: header, labels, and the lines before it.
const BLOCK_BYTES_BESIDE_LINE: u64 = 1 << 20;

/// Bytes that a batch may take while it is sent: all of it, but of one that is streamed no more than is held, the part
/// that is sent and its copy for the signature.
fn batch_bytes(stream: &StreamPlan) -> u64 {
    let bytes_max = stream.stream.batch.bytes_max;
    match &stream.sink {
        SinkSettings::S3(settings) => {
            bytes_max.min(count(STREAMED_HELD_BYTES_MAX) + 2 * count(settings.part_bytes))
        }
        _ => bytes_max,
    }
}

/// Bytes the input may need at once to take in one line or body.
fn input_bytes(input: &InputPlan) -> u64 {
    match input {
        InputPlan::Tcp(tcp) => count(tcp.input.line_bytes_max),
        InputPlan::Http(http) => count(http.body_bytes_max) + count(http.decompressed_bytes_max),
    }
}

fn input_words(input: &InputPlan) -> String {
    match input {
        InputPlan::Tcp(tcp) => format!(
            "{} for the longest line (input \"{}\")",
            ByteSize(input_bytes(input)),
            tcp.input.name
        ),
        InputPlan::Http(http) => format!(
            "{} body_bytes_max + {} decompressed_bytes_max for the largest body (input \"{}\")",
            ByteSize(count(http.body_bytes_max)),
            ByteSize(count(http.decompressed_bytes_max)),
            http.input.name
        ),
    }
}

fn settings(input: &InputPlan) -> &InputSettings {
    match input {
        InputPlan::Tcp(tcp) => &tcp.input,
        InputPlan::Http(http) => &http.input,
    }
}

fn plural(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{end}")
}

fn count(value: usize) -> u64 {
    u64::try_from(value).expect("usize is at most 64 bits")
}
