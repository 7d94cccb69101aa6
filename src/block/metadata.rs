//! A block's metadata: labels of its events, and the totals of the input counters.
//!
//! A list of sections, each a tag byte, a length and bytes; a reader passes over tags it
//! does not know, so a later version can add one. Numbers are LEB128 (`varint`) unless said
//! otherwise; signed ones are zigzag. Labels of many sets are compressed as the body is.
//!
//! | tag | section |
//! | --- | --- |
//! | 1 | labels: sets, then runs (see `encode_labels`) |
//! | 2 | labels, compressed: raw length as varint, then one deflate run |
//! | 3 | totals of the input counters of this journal |
//! | 4 | input positions that moved: name and position, opaque here |

use std::collections::HashMap;
use std::sync::Arc;

use crate::block::codec::{Codec, CodecError, Inflater};
use crate::event::{InputId, LabelRun, Labels};
use crate::metrics::ledger::InputCounts;
use crate::position::Timestamp;

const TAG_LABELS: u8 = 1;
const TAG_LABELS_COMPRESSED: u8 = 2;
const TAG_TOTALS: u8 = 3;
const TAG_POSITIONS: u8 = 4;

/// Label sections longer than this are compressed.
const LABELS_PLAIN_BYTES_MAX: usize = 1024;

/// Longest label section a reader takes memory for.
const LABELS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How far an input has read its source: a file's name and length, a partition's offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPosition {
    /// The source, named by the input.
    pub source: Box<str>,
    /// The position, encoded by the input.
    pub position: Box<[u8]>,
}

/// What a block's metadata says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Labels of the events, in order; the runs add up to the block's events.
    pub runs: Vec<LabelRun>,
    /// Totals of the inputs' counters on this journal up to and with this block.
    pub totals: Vec<(InputId, InputCounts)>,
    /// Input positions that moved with this block.
    pub positions: Vec<InputPosition>,
}

/// Why metadata cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The bytes end within a value.
    #[error("metadata ends within {0}")]
    Short(&'static str),
    /// A value no writer produces.
    #[error("metadata has an impossible {0}")]
    Impossible(&'static str),
    /// The compressed labels cannot be inflated.
    #[error("labels: {0}")]
    Codec(#[from] CodecError),
}

impl Metadata {
    /// Appends the metadata to `out`.
    ///
    /// # Errors
    /// When the codec fails, which no input causes.
    pub fn encode(&self, codec: &mut dyn Codec, out: &mut Vec<u8>) -> Result<(), CodecError> {
        if !self.runs.is_empty() {
            encode_label_section(&self.runs, codec, out)?;
        }
        if !self.totals.is_empty() {
            section(out, TAG_TOTALS, &encode_totals(&self.totals));
        }
        if !self.positions.is_empty() {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, self.positions.len() as u64);
            for position in &self.positions {
                put_bytes(&mut bytes, position.source.as_bytes());
                put_bytes(&mut bytes, &position.position);
            }
            section(out, TAG_POSITIONS, &bytes);
        }
        Ok(())
    }

    /// Reads metadata.
    ///
    /// # Errors
    /// When the bytes are not what [`Metadata::encode`] makes.
    pub fn decode(bytes: &[u8], inflater: &mut Inflater) -> Result<Self, MetadataError> {
        let mut metadata = Self::default();
        let mut cursor = Cursor { bytes };
        while !cursor.bytes.is_empty() {
            let tag = cursor.take(1, "a section tag")?[0];
            let mut section = Cursor {
                bytes: cursor.counted("a section")?,
            };
            match tag {
                TAG_LABELS => metadata.runs = decode_labels(&mut section)?,
                TAG_LABELS_COMPRESSED => {
                    let raw_len = section.length("a label length", LABELS_BYTES_MAX)?;
                    let mut raw = Vec::new();
                    inflater.inflate_run(section.bytes, raw_len, &mut raw)?;
                    metadata.runs = decode_labels(&mut Cursor { bytes: &raw })?;
                }
                TAG_TOTALS => metadata.totals = decode_totals(&mut section)?,
                TAG_POSITIONS => metadata.positions = decode_positions(&mut section)?,
                // A section of a later version: nothing this build needs.
                _ => {}
            }
        }
        Ok(metadata)
    }
}

fn encode_label_section(
    runs: &[LabelRun],
    codec: &mut dyn Codec,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let labels = encode_labels(runs);
    if labels.len() <= LABELS_PLAIN_BYTES_MAX {
        section(out, TAG_LABELS, &labels);
        return Ok(());
    }
    let mut compressed = Vec::new();
    put_varint(&mut compressed, labels.len() as u64);
    codec.compress_run(&labels, &mut compressed)?;
    section(out, TAG_LABELS_COMPRESSED, &compressed);
    Ok(())
}

/// Sets: count, then each as input, presence bits (two bytes), the present texts as length
/// and bytes in the order of [`texts`], the event time (zigzag) when present.
/// Runs: count, then each as events, index of its set, and receive time (zigzag) in
/// microseconds since the run before; the first since 1970.
fn encode_labels(runs: &[LabelRun]) -> Vec<u8> {
    let mut index: HashMap<*const Labels, u64> = HashMap::new();
    let mut sets = Vec::new();
    for run in runs {
        index.entry(Arc::as_ptr(&run.labels)).or_insert_with(|| {
            sets.push(&run.labels);
            sets.len() as u64 - 1
        });
    }
    let mut out = Vec::new();
    put_varint(&mut out, sets.len() as u64);
    for set in sets {
        put_varint(&mut out, u64::from(set.input.0));
        let texts = texts(set);
        let present = texts.iter().enumerate().fold(0_u16, |bits, (bit, text)| {
            bits | u16::from(text.is_some()) << bit
        }) | u16::from(set.event_time.is_some()) << texts.len();
        out.extend_from_slice(&present.to_le_bytes());
        for text in texts.into_iter().flatten() {
            put_bytes(&mut out, text.as_bytes());
        }
        if let Some(time) = set.event_time {
            put_varint(&mut out, zigzag(time.0));
        }
    }
    put_varint(&mut out, runs.len() as u64);
    let mut before = Timestamp(0);
    for run in runs {
        put_varint(&mut out, u64::from(run.events));
        put_varint(&mut out, index[&Arc::as_ptr(&run.labels)]);
        put_varint(&mut out, zigzag(run.received.0.wrapping_sub(before.0)));
        before = run.received;
    }
    out
}

fn decode_labels(cursor: &mut Cursor<'_>) -> Result<Vec<LabelRun>, MetadataError> {
    let count = cursor.length("a number of label sets", cursor.bytes.len())?;
    let sets = (0..count)
        .map(|_| decode_set(cursor))
        .collect::<Result<Vec<_>, _>>()?;
    let count = cursor.length("a number of label runs", cursor.bytes.len())?;
    let mut before = Timestamp(0);
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        let events = u32::try_from(cursor.varint("a run's events")?)
            .map_err(|_| MetadataError::Impossible("run of events"))?;
        let set = usize::try_from(cursor.varint("a run's labels")?)
            .ok()
            .and_then(|set| sets.get(set))
            .ok_or(MetadataError::Impossible("label set number"))?;
        let received = Timestamp(
            before
                .0
                .wrapping_add(unzigzag(cursor.varint("a run's time")?)),
        );
        before = received;
        runs.push(LabelRun {
            events,
            labels: Arc::clone(set),
            received,
        });
    }
    Ok(runs)
}

fn decode_set(cursor: &mut Cursor<'_>) -> Result<Arc<Labels>, MetadataError> {
    let mut labels = Labels::of_input(cursor.input()?);
    let present = cursor.take(2, "a label set")?;
    let present = u16::from_le_bytes([present[0], present[1]]);
    let fields = texts_mut(&mut labels);
    let texts = fields.len();
    for (bit, field) in fields.into_iter().enumerate() {
        if present & 1 << bit != 0 {
            let text = std::str::from_utf8(cursor.counted("a label")?)
                .map_err(|_| MetadataError::Impossible("label text"))?;
            *field = Some(text.into());
        }
    }
    if present & 1 << texts != 0 {
        labels.event_time = Some(Timestamp(unzigzag(cursor.varint("an event time")?)));
    }
    Ok(Arc::new(labels))
}

/// The texts of a label set in their order on disk.
fn texts(labels: &Labels) -> [Option<&str>; 9] {
    let Labels {
        application,
        subsystem,
        host,
        level,
        env,
        tags,
        meta,
        sender,
        peer,
        ..
    } = labels;
    [
        application,
        subsystem,
        host,
        level,
        env,
        tags,
        meta,
        sender,
        peer,
    ]
    .map(Option::as_deref)
}

fn texts_mut(labels: &mut Labels) -> [&mut Option<Box<str>>; 9] {
    let Labels {
        application,
        subsystem,
        host,
        level,
        env,
        tags,
        meta,
        sender,
        peer,
        ..
    } = labels;
    [
        application,
        subsystem,
        host,
        level,
        env,
        tags,
        meta,
        sender,
        peer,
    ]
}

fn encode_totals(totals: &[(InputId, InputCounts)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, totals.len() as u64);
    for (input, counts) in totals {
        put_varint(&mut out, u64::from(input.0));
        let InputCounts {
            received,
            received_bytes,
            stored,
            stored_bytes,
            skipped,
            excluded,
            rejected,
        } = counts;
        for count in [
            received,
            received_bytes,
            stored,
            stored_bytes,
            skipped,
            excluded,
        ] {
            put_varint(&mut out, *count);
        }
        put_varint(&mut out, rejected.len() as u64);
        rejected
            .iter()
            .for_each(|count| put_varint(&mut out, *count));
    }
    out
}

fn decode_totals(cursor: &mut Cursor<'_>) -> Result<Vec<(InputId, InputCounts)>, MetadataError> {
    let count = cursor.length("a number of totals", cursor.bytes.len())?;
    let mut totals = Vec::with_capacity(count);
    for _ in 0..count {
        let input = cursor.input()?;
        let mut counts = InputCounts::default();
        let InputCounts {
            received,
            received_bytes,
            stored,
            stored_bytes,
            skipped,
            excluded,
            rejected,
        } = &mut counts;
        for count in [
            received,
            received_bytes,
            stored,
            stored_bytes,
            skipped,
            excluded,
        ] {
            *count = cursor.varint("a total")?;
        }
        let reasons = cursor.varint("a number of reasons")?;
        for reason in 0..reasons {
            let count = cursor.varint("a total")?;
            // Reasons of a later version count as the last one known, so that sums hold.
            let known = usize::try_from(reason)
                .unwrap_or(usize::MAX)
                .min(rejected.len() - 1);
            rejected[known] = rejected[known].saturating_add(count);
        }
        totals.push((input, counts));
    }
    Ok(totals)
}

fn decode_positions(cursor: &mut Cursor<'_>) -> Result<Vec<InputPosition>, MetadataError> {
    let count = cursor.length("a number of positions", cursor.bytes.len())?;
    let mut positions = Vec::with_capacity(count);
    for _ in 0..count {
        let source = std::str::from_utf8(cursor.counted("a source")?)
            .map_err(|_| MetadataError::Impossible("source name"))?;
        let position = cursor.counted("a position")?;
        positions.push(InputPosition {
            source: source.into(),
            position: position.into(),
        });
    }
    Ok(positions)
}

fn section(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a number as LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "seven bits and the mark")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the value is below 128 here"
    )]
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads values off the front of bytes that may be anything.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], MetadataError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or(MetadataError::Short(what))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, MetadataError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MetadataError::Impossible(what))
    }

    /// A length or count that may not pass `limit`.
    fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, MetadataError> {
        let value = self.varint(what)?;
        usize::try_from(value)
            .ok()
            .filter(|value| *value <= limit)
            .ok_or(MetadataError::Impossible(what))
    }

    fn counted(&mut self, what: &'static str) -> Result<&'a [u8], MetadataError> {
        let len = self.length(what, usize::MAX)?;
        self.take(len, what)
    }

    fn input(&mut self) -> Result<InputId, MetadataError> {
        let number = self.varint("an input number")?;
        u16::try_from(number)
            .map(InputId)
            .map_err(|_| MetadataError::Impossible("input number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::codec::{CompressionLevel, best_codec};
    use proptest::prelude::*;

    fn round_trip(metadata: &Metadata) -> Metadata {
        let mut bytes = Vec::new();
        let mut codec = best_codec(CompressionLevel::FASTEST);
        metadata.encode(&mut *codec, &mut bytes).expect("encodes");
        Metadata::decode(&bytes, &mut Inflater::new()).expect("decodes")
    }

    fn text() -> impl Strategy<Value = Option<Box<str>>> {
        proptest::option::of("[ -~é]{0,40}".prop_map(Into::into))
    }

    prop_compose! {
        fn labels()(input in 0..4_u16, texts in proptest::array::uniform9(text()),
                    time in proptest::option::of(any::<i64>())) -> Arc<Labels> {
            let mut labels = Labels::of_input(InputId(input));
            for (field, text) in texts_mut(&mut labels).into_iter().zip(texts) {
                *field = text;
            }
            labels.event_time = time.map(Timestamp);
            Arc::new(labels)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            sets in proptest::collection::vec(labels(), 1..20),
            runs in proptest::collection::vec((1..5_000_u32, any::<proptest::sample::Index>(), any::<i64>()), 0..60),
            count in any::<u32>(),
        ) {
            let runs = runs.into_iter().map(|(events, set, received)| LabelRun {
                events, labels: Arc::clone(set.get(&sets)), received: Timestamp(received),
            }).collect();
            let counts = InputCounts::of_stored(count, 1 << 40);
            let position = InputPosition { source: "a".into(), position: (*b"\x00\xff").into() };
            let metadata = Metadata {
                runs, totals: vec![(InputId(3), counts)], positions: vec![position],
            };
            prop_assert_eq!(round_trip(&metadata), metadata);
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(metadata) = Metadata::decode(&bytes, &mut Inflater::new()) {
                prop_assert_eq!(round_trip(&metadata), metadata);
            }
        }
    }

    #[test]
    fn reasons_of_a_later_version_count_as_the_last_one_known() {
        let mut totals = vec![1, 0, 0, 0, 0, 0, 0, 0];
        totals.push(4);
        for count in [1, 2, 3, u64::MAX] {
            put_varint(&mut totals, count);
        }
        let mut bytes = Vec::new();
        section(&mut bytes, TAG_TOTALS, &totals);
        let metadata = Metadata::decode(&bytes, &mut Inflater::new()).expect("decodes");
        assert_eq!(metadata.totals[0].1.rejected, [1, 2, u64::MAX]);
    }

    #[test]
    fn a_section_of_a_later_version_is_passed_over() {
        let mut bytes = Vec::new();
        section(&mut bytes, 200, b"whatever");
        section(
            &mut bytes,
            TAG_TOTALS,
            &encode_totals(&[(InputId(1), InputCounts::default())]),
        );
        let metadata = Metadata::decode(&bytes, &mut Inflater::new()).expect("decodes");
        assert_eq!(metadata.totals.len(), 1);
    }
}
