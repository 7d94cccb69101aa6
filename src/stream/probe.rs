//! The probe: one marked event of Weir's own, that asks a destination whether it takes anything.
//!
//! Pure. It says what it is, so that who finds it at the destination knows it and can leave it out.

use std::sync::Arc;

use crate::batch::{BatchId, BodyForm, EventPosition, Parcel, Purpose};
use crate::block::codec::CodecError;
use crate::event::{InputId, Labels};
use crate::position::{JournalId, Offset, OffsetRange, SegmentId, Timestamp};
use crate::stream::encode::Encoder;
use crate::stream::template::{EventAt, Template, time};

/// What its `message` says.
pub const MESSAGE: &str = "Weir test message";

/// Its application label, and `app` of the LogDNA shapes.
pub const APPLICATION: &str = "weir-stream-validation";

/// A parcel of marked events, made as those of the stream are. `drawn` is random: no two such
/// parcels have one identity, or a destination that knows the first would not take the second.
///
/// # Errors
/// When the codec refuses.
pub fn parcel(
    encoder: &mut Encoder,
    (stream, journal): (&Arc<str>, JournalId),
    (form, template): (BodyForm, Option<&Template>),
    (drawn, now): ([u8; 16], Timestamp),
    events: u32,
) -> Result<Parcel, CodecError> {
    let segment = SegmentId(drawn);
    let labels = Arc::new(labels());
    let line = line(stream, now);
    let event_at = |offset| EventAt {
        line: &line,
        labels: &labels,
        received: now,
        position: EventPosition {
            segment,
            journal,
            offset: Offset(offset),
        },
    };
    let all: Vec<_> = (0..u64::from(events)).map(event_at).collect();
    let id = BatchId {
        segment,
        range: OffsetRange {
            first: Offset(0),
            end: Offset(u64::from(events)),
        },
        stream: Arc::clone(stream),
        version: 0,
    };
    encoder.encode_loose((id, Purpose::Probe), &all, form, template)
}

/// The event's line, without a line end. `stream` is the name of the stream that sends it.
fn line(stream: &str, now: Timestamp) -> Vec<u8> {
    let mut event_time = Vec::new();
    time::push(&mut event_time, now, 2, "+0000");
    let line = serde_json::json!({
        "eventTime": String::from_utf8_lossy(&event_time),
        "action": "weir.streaming-samples.send",
        "outcome": "success",
        "severity": "normal",
        "message": MESSAGE,
        "stream": stream,
    });
    line.to_string().into_bytes()
}

/// Its labels.
fn labels() -> Labels {
    Labels {
        application: Some(APPLICATION.into()),
        ..Labels::of_input(InputId::AUDIT_EVENTS)
    }
}
