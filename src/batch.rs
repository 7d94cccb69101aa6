//! A batch: a range of offsets cut to be sent in one go, with its identity.
//!
//! The identity is `segment-id/first-last/stream/version`. Content is a pure function of
//! the four: a range never crosses a segment, and `version` is a hash of rule, sampling
//! and template. Every re-send carries the identity of the first try.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::block::Block;
use crate::block::own::OwnLines;
use crate::block::verdicts::Bitmap;
use crate::event::Labels;
use crate::metrics::ledger::StreamCounts;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};

/// A hash of text that is the same on every machine and in every version: the first half of its
/// UUID of version 5 in the OID name space. What versions of batches are made of.
#[must_use]
pub fn text_hash(text: &str) -> u64 {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
        .as_u64_pair()
        .0
}

/// Identity of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BatchId {
    /// Segment the range lies in.
    pub segment: SegmentId,
    /// The range; never empty.
    pub range: OffsetRange,
    /// Name of the stream.
    pub stream: Arc<str>,
    /// Hash of rule, sampling and template; 0 for a stream that sends whole blocks.
    pub version: u64,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            range,
            stream,
            version,
        } = self;
        let last = range.end.0.saturating_sub(1);
        write!(
            f,
            "{segment}/{}-{last}/{stream}/{version:016x}",
            range.first
        )
    }
}

impl BatchId {
    /// The UUID (version 5 of the text form) for destinations that want one. Its name space
    /// is itself version 5 of `weir:batch` in the OID name space.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"weir:batch");
        Uuid::new_v5(&namespace, self.to_string().as_bytes())
    }
}

/// What a stream's rule and sampling take of a block's events.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The events the rule lets pass.
    pub matched: Arc<Bitmap>,
    /// Of those, the events that sampling leaves; the same where there is none.
    pub taken: Arc<Bitmap>,
    /// Raw bytes of the events taken, line ends included.
    pub taken_bytes: u64,
    /// Lines of the events taken, apart from the block, when they were at hand.
    pub own: Option<OwnLines>,
}

/// What a stream takes, and does not, of a range of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// Events it takes.
    pub events: u64,
    /// Raw bytes of them, line ends included; by their share for a part of a block.
    pub raw_bytes: u64,
    /// Events its rule does not let pass.
    pub filtered: u64,
    /// Events that sampling leaves out.
    pub sampled_out: u64,
}

/// A part of a block that belongs to a batch: all of it, or a sub-range at either end.
#[derive(Debug, Clone)]
pub struct BatchPart {
    /// The block.
    pub block: Arc<Block>,
    /// Offsets of the block that are in the batch; a sub-range of the block's own.
    pub range: OffsetRange,
    /// The events of the block that are taken; `None`: all of them.
    pub selected: Option<Arc<Selected>>,
}

impl BatchPart {
    /// True when the whole block is in the batch, so that its body can be spliced.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.range == self.block.range() && self.selected.is_none()
    }

    /// The stream's own lines, where they are exactly what is taken of the part.
    #[must_use]
    pub fn own_lines(&self) -> Option<&OwnLines> {
        let selected = self.selected.as_ref()?;
        let own = selected.own.as_ref()?;
        // Fewer are taken than lie there once the destination has some of them.
        let is_all = self.range == self.block.range() && own.events == selected.taken;
        is_all.then_some(own)
    }

    /// Numbers in the block of the events in the range, selected or not.
    #[must_use]
    pub fn numbers(&self) -> Range<u32> {
        let number = |offset: Offset| {
            let number = offset.events_since(self.block.first);
            u32::try_from(number).map_or(self.block.events, |number| number.min(self.block.events))
        };
        number(self.range.first)..number(self.range.end)
    }

    /// What is taken of the range. Raw bytes are exact for a whole block.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let (all, block) = (self.range.events(), u64::from(self.block.events));
        let Some(selected) = &self.selected else {
            return Taken {
                events: all,
                raw_bytes: share(u64::from(self.block.raw_len), all, block),
                ..Taken::default()
            };
        };
        let numbers = self.numbers();
        let events = selected.taken.count(numbers.clone());
        let matched = if Arc::ptr_eq(&selected.taken, &selected.matched) {
            events
        } else {
            selected.matched.count(numbers)
        };
        let of_block = selected.taken.count(0..self.block.events);
        Taken {
            events,
            raw_bytes: share(selected.taken_bytes, events, of_block),
            filtered: all - matched,
            sampled_out: matched - events,
        }
    }
}

/// The share of `part` in the bytes of `whole`, rounded up.
#[must_use]
pub fn share(bytes: u64, part: u64, whole: u64) -> u64 {
    (bytes * part).div_ceil(whole.max(1))
}

/// A batch ready to be sent.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its identity.
    pub id: BatchId,
    /// The journal the range lies in.
    pub journal: JournalId,
    /// The parts in offset order, without gap.
    pub parts: Vec<BatchPart>,
    /// Receive time of the range's first event.
    pub received_first: Timestamp,
    /// 0 for the first try, counted up with every re-send since this process started.
    pub attempt: u32,
}

impl Batch {
    /// Number of events that are sent: of the range, those the stream takes.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.parts.iter().map(|part| part.taken().events).sum()
    }
}

/// Where an event is, for identities that are the same at every re-send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventPosition {
    /// Segment its block is in.
    pub segment: SegmentId,
    /// Journal of the segment.
    pub journal: JournalId,
    /// Its own offset.
    pub offset: Offset,
}

impl EventPosition {
    /// Place of the event with this number in a block.
    #[must_use]
    pub fn of(block: &Block, event: u32) -> Self {
        Self {
            segment: block.segment,
            journal: block.journal,
            offset: block.first.plus(u64::from(event)),
        }
    }
}

/// How the body of a parcel is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Plain NDJSON.
    Identity,
    /// One gzip member a batch, spliced from blocks where they are whole.
    Gzip,
}

/// A batch encoded for a destination: what a sink is given.
///
/// `stream` makes it, `sink` sends it; every re-send of a batch has the same bytes but for
/// compression, which is free to differ.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Identity of the batch.
    pub id: BatchId,
    /// The journal the range lies in.
    pub journal: JournalId,
    /// 0 for the first try, counted up with every re-send since this process started.
    pub attempt: u32,
    /// Events in the body; fewer than the range holds when the stream selects.
    pub events: u64,
    /// Bytes of the body before compression.
    pub raw_bytes: u64,
    /// What is sent.
    pub body: Body,
    /// How the body is compressed.
    pub content_encoding: Compression,
    /// Media type of the body before compression, when the stream has a template; else lines of JSON.
    pub content_type: Option<&'static str>,
    /// Receive time of the range's first event.
    pub received_first: Timestamp,
    /// What it is sent for.
    pub purpose: Purpose,
}

/// What a parcel is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Events of the journal.
    Events,
    /// One marked event of Weir's own, to find out whether the destination takes anything.
    Probe,
    /// Dead letters, sent once more because somebody said so.
    Redrive,
}

/// What a sink asks for: all records in one body, or each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyForm {
    /// All records in one body, compressed so.
    Whole(Compression),
    /// As `Whole`, but made while it is sent: it may be larger than what is held in memory.
    Streamed(Compression),
    /// Each record by itself, not compressed.
    Records,
}

impl BodyForm {
    /// How the body is compressed.
    #[must_use]
    pub const fn compression(self) -> Compression {
        match self {
            Self::Whole(compression) | Self::Streamed(compression) => compression,
            Self::Records => Compression::Identity,
        }
    }
}

/// The body of a parcel, in the form the sink asked for.
#[derive(Debug, Clone)]
pub enum Body {
    /// All records in chunks, back to back. Most are slices of blocks, so none is copied.
    Whole(Vec<Bytes>),
    /// The same, made while they are sent.
    Streamed(StreamedBody),
    /// One record an event, in order.
    Records(Vec<Record>),
}

/// Makes a body piece by piece.
pub trait BodySource {
    /// Begins again with the first piece.
    fn rewind(&mut self);

    /// The next piece, never empty; `None` behind the last.
    ///
    /// # Errors
    /// When what it is made of cannot be read: the body stays without an end.
    fn next(&mut self) -> Result<Option<Bytes>, BodyBroken>;

    /// Bytes of the pieces given since the beginning.
    fn made_bytes(&self) -> u64;
}

/// A body cannot be made to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BodyBroken(pub String);

/// A body that is made while it is sent; shared by its maker, who asks what came of it.
#[derive(Clone)]
pub struct StreamedBody(pub Rc<RefCell<dyn BodySource>>);

impl fmt::Debug for StreamedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamedBody")
    }
}

/// The body of a parcel from its beginning, whether it is held or made as it is read.
#[derive(Debug)]
pub struct BodyReader<'a> {
    held: std::slice::Iter<'a, Bytes>,
    streamed: Option<&'a StreamedBody>,
}

impl BodyReader<'_> {
    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// As [`BodySource::next`].
    #[expect(clippy::should_implement_trait, reason = "a piece may fail")]
    pub fn next(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        match self.streamed {
            Some(StreamedBody(source)) => source.borrow_mut().next(),
            None => Ok(self.held.next().cloned()),
        }
    }
}

/// One event by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where the event is.
    pub position: EventPosition,
    /// When it was received.
    pub received: Timestamp,
    /// What is known of it besides its bytes.
    pub labels: Arc<Labels>,
    /// The event as it came, without a line end: what fields are read from.
    pub line: Bytes,
    /// What is sent of it: the line, or what the template makes of it.
    pub body: Bytes,
}

impl Parcel {
    /// The body in chunks, back to back.
    ///
    /// # Panics
    /// When the parcel has no whole body: a sink asks for one form and gets no other.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        match &self.body {
            Body::Whole(chunks) => chunks,
            _ => panic!("a sink that asked for whole bodies got another form"),
        }
    }

    /// The body, to be read once from its beginning.
    ///
    /// # Panics
    /// When the parcel is one of records: a sink asks for one form and gets no other.
    #[must_use]
    pub fn read_body(&self) -> BodyReader<'_> {
        let (held, streamed) = match &self.body {
            Body::Whole(chunks) => (chunks.as_slice(), None),
            Body::Streamed(streamed) => {
                streamed.0.borrow_mut().rewind();
                (&[][..], Some(streamed))
            }
            Body::Records(_) => panic!("a sink that asked for a body got records"),
        };
        BodyReader {
            held: held.iter(),
            streamed,
        }
    }

    /// The events one by one.
    ///
    /// # Panics
    /// When the parcel is a whole body: a sink asks for one form and gets no other.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        match &self.body {
            Body::Records(records) => records,
            _ => panic!("a sink that asked for records got another form"),
        }
    }

    /// A UUID (version 5) that is the same for all parcels of a stream and journal, for destinations
    /// that ask for the name of a channel.
    #[must_use]
    pub fn channel(&self) -> Uuid {
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, b"weir:channel");
        let name = format!("{}/{}", self.journal, self.id.stream);
        Uuid::new_v5(&namespace, name.as_bytes())
    }

    /// Bytes of the body as it is sent; of a streamed one, as far as it was read.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        match &self.body {
            Body::Streamed(streamed) => streamed.0.borrow().made_bytes(),
            Body::Whole(chunks) => chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            Body::Records(records) => records.iter().map(|record| record.body.len() as u64).sum(),
        }
    }
}

/// Cut ranges a record has room for.
pub const CUTS_MAX: usize = 16;

/// Bytes of sink state a record has room for.
pub const SINK_STATE_BYTES_MAX: usize = 1024;

/// A range cut and not yet delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Segment the range lies in.
    pub segment: SegmentId,
    /// The range.
    pub range: OffsetRange,
    /// Hash of rule, sampling and template it was cut under.
    pub version: u64,
}

/// How far a stream is in a journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CursorState {
    /// Where the stream began; events before it are none of its.
    pub start: Offset,
    /// Next offset the stream needs. Everything between `start` and here is in `counts`.
    pub cursor: Offset,
    /// What became of the events.
    pub counts: StreamCounts,
    /// Ranges cut and not yet delivered, in order; sent again as they are after a crash.
    pub cuts: Vec<Cut>,
    /// What the sink wants to find again, e.g. a file's name and length.
    pub sink: Vec<u8>,
}

impl CursorState {
    /// Events below were durable: the stream has passed them, or cut them for a batch.
    #[must_use]
    pub fn end(&self) -> Offset {
        let cuts = self.cuts.iter().map(|cut| cut.range.end);
        cuts.max().unwrap_or_default().max(self.cursor)
    }
}

impl CursorState {
    /// True when every event between `start` and the cursor has a fate.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.cursor.events_since(self.start) == self.counts.settled()
    }
}
