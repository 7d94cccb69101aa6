//! The probe: one marked event of Weir's own, that asks a destination whether it takes anything.
//!
//! Pure. It says what it is, so that who finds it at the destination knows it and can leave it out.

use crate::event::{InputId, Labels};
use crate::position::Timestamp;
use crate::stream::template::time;

/// What its `message` says.
pub const MESSAGE: &str = "Weir test message";

/// Its application label, and `app` of the LogDNA shapes.
pub const APPLICATION: &str = "weir-stream-validation";

/// The event's line, without a line end. `stream` is the name of the stream that sends it.
#[must_use]
pub fn line(stream: &str, now: Timestamp) -> Vec<u8> {
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
#[must_use]
pub fn labels() -> Labels {
    Labels {
        application: Some(APPLICATION.into()),
        ..Labels::of_input(InputId::AUDIT_EVENTS)
    }
}
