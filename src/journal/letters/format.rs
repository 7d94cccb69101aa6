//! A dead letter on disk: one line of JSON with a checksum over itself.
//!
//! ```text
//! {"crc":"5d1e0c9f","version":1,"id":"0-12345","segment":"…", … ,"line":"…"}
//! ```
//!
//! The CRC-32C is over everything behind its comma, up to the line end. The event stands in `line`
//! as text, and as Base64 (RFC 4648, padded) in `line_base64` where it is not UTF-8. A letter of a
//! later version is told apart from one that does not hold. Pure.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::batch::EventPosition;
use crate::journal::letters::{DeadLetter, LetterId};
use crate::position::{SegmentId, Timestamp};

/// The version written, and the only one read.
const VERSION: u32 = 1;

/// Most bytes of a letter's detail.
pub const DETAIL_BYTES_MAX: usize = 1024;

/// What a letter begins with.
pub(super) const BEGIN: &[u8] = b"{\"crc\":\"";

/// Bytes before those the checksum is over: `{"crc":"5d1e0c9f",`.
const HEAD_BYTES: usize = 18;

/// Why a line is no letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// It does not begin as one, or its checksum is another.
    #[error("its checksum does not hold")]
    Checksum,
    /// It was written by a later Weir.
    #[error("it has version {0}, and this Weir reads version {VERSION}")]
    Version(u64),
    /// Its checksum holds and what it says makes no sense.
    #[error("its checksum holds, but {0}")]
    Content(String),
}

/// All of a letter but its checksum, in the order in which it is written.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    version: u32,
    id: LetterId,
    #[serde(borrow)]
    segment: Cow<'a, str>,
    received_micros: i64,
    refused_micros: i64,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    #[serde(borrow)]
    detail: Cow<'a, str>,
    #[serde(borrow)]
    batch: Cow<'a, str>,
    attempts: u32,
    labels: Cow<'a, Map<String, Value>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    line: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line_base64: Option<String>,
}

/// Writes a letter at the end of `out`, its line end included.
///
/// # Panics
/// When JSON cannot be made of text and numbers, which does not happen.
pub fn encode(letter: &DeadLetter, out: &mut Vec<u8>) {
    let line = std::str::from_utf8(&letter.line).ok();
    let record = Record {
        version: VERSION,
        id: letter.id(),
        segment: letter.position.segment.to_string().into(),
        received_micros: letter.received.0,
        refused_micros: letter.refused.0,
        reason: letter.reason.as_str().into(),
        detail: letter.detail[..letter.detail.floor_char_boundary(DETAIL_BYTES_MAX)].into(),
        batch: letter.batch.as_str().into(),
        attempts: letter.attempts,
        labels: Cow::Borrowed(&letter.labels),
        line: line.map(Cow::Borrowed),
        line_base64: line.is_none().then(|| to_base64(&letter.line)),
    };
    let object = serde_json::to_vec(&record).expect("texts and numbers are JSON");
    let checked = &object[1..];
    out.extend_from_slice(format!("{{\"crc\":\"{:08x}\",", crc32c::crc32c(checked)).as_bytes());
    out.extend_from_slice(checked);
    out.push(b'\n');
}

/// Reads a letter from its line, without the line end.
///
/// # Errors
/// When the line is not one that [`encode`] wrote.
pub fn decode(line: &[u8]) -> Result<DeadLetter, LetterError> {
    let (head, checked) = line
        .split_at_checked(HEAD_BYTES)
        .ok_or(LetterError::Checksum)?;
    let expected = format!("{{\"crc\":\"{:08x}\",", crc32c::crc32c(checked));
    if head != expected.as_bytes() {
        return Err(LetterError::Checksum);
    }
    let broken = |error: serde_json::Error| LetterError::Content(error.to_string());
    if !checked.starts_with(b"\"version\":1,") {
        // It may have other members, so it is asked for nothing else.
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let versioned: Versioned = serde_json::from_slice(line).map_err(broken)?;
        return Err(LetterError::Version(versioned.version));
    }
    let record: Record<'_> = serde_json::from_slice(line).map_err(broken)?;
    let content = |what: &str| LetterError::Content(what.to_owned());
    let line = match (record.line, record.line_base64) {
        (Some(line), None) => line.into_owned().into_bytes(),
        (None, Some(text)) => from_base64(&text).ok_or_else(|| content("line_base64 is none"))?,
        _ => return Err(content("it needs one of line and line_base64")),
    };
    let segment = u128::from_str_radix(&record.segment, 16)
        .ok()
        .filter(|_| record.segment.len() == 32)
        .ok_or_else(|| content("segment is no id"))?;
    Ok(DeadLetter {
        position: EventPosition {
            segment: SegmentId(segment.to_be_bytes()),
            journal: record.id.journal,
            offset: record.id.offset,
        },
        received: Timestamp(record.received_micros),
        refused: Timestamp(record.refused_micros),
        reason: record.reason.into_owned(),
        detail: record.detail.into_owned(),
        batch: record.batch.into_owned(),
        attempts: record.attempts,
        labels: record.labels.into_owned(),
        line,
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = (bits >> (18 - 6 * index)) & 63;
            let is_padding = index > group.len();
            text.push(match is_padding {
                true => '=',
                false => char::from(ALPHABET[digit as usize]),
            });
        }
    }
    text
}

/// `None` for text that [`to_base64`] does not make.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for index in 0..4 {
            let digit = match group.get(index) {
                Some(digit) => ALPHABET.iter().position(|known| known == digit)?,
                None => 0,
            };
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    (to_base64(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::position::{JournalId, Offset};

    fn letter(line: &[u8]) -> DeadLetter {
        let position = EventPosition {
            segment: SegmentId([0x0a; 16]),
            journal: JournalId(3),
            offset: Offset(12_345),
        };
        DeadLetter {
            position,
            received: Timestamp(1_700_000_000_000_001),
            refused: Timestamp(1_700_000_000_000_002),
            reason: "http_4xx".to_owned(),
            detail: "400: \"field\"\nmissing".to_owned(),
            batch: "0a/12340-12350/siem/0".to_owned(),
            attempts: 3,
            labels: json!({"input": "apps", "meta": "{\"a\":1.0}"})
                .as_object()
                .unwrap()
                .clone(),
            line: line.to_vec(),
        }
    }

    fn encoded(letter: &DeadLetter) -> Vec<u8> {
        let mut out = Vec::new();
        encode(letter, &mut out);
        out
    }

    proptest! {
        #[test]
        fn any_event_reads_back_byte_for_byte(
            line in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                ".{0,100}".prop_map(String::into_bytes),
            ],
        ) {
            let letter = letter(&line);
            let bytes = encoded(&letter);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), Ok(letter));
        }

        #[test]
        fn base64_is_that_of_the_standard(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = to_base64(&bytes);
            prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
            prop_assert_eq!(from_base64(&text), Some(bytes));
        }
    }

    #[test]
    fn base64_is_that_of_the_standards_examples() {
        let examples = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in examples {
            assert_eq!(to_base64(bytes.as_bytes()), text);
        }
        for wrong in ["Zg", "Zg=", "Zh==", "Z===", "Zg==Zg==", "Z!=="] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_does_not_hold() {
        let bytes = encoded(&letter(b"{\"a\":1}"));
        for byte in 0..bytes.len() - 1 {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1;
            let read = decode(&flipped[..bytes.len() - 1]);
            assert_eq!(read, Err(LetterError::Checksum), "byte {byte}");
        }
    }

    #[test]
    fn a_later_version_is_told_apart_from_damage() {
        let later = "\"version\":2,\"shape\":\"new\"}";
        let line = format!(
            "{{\"crc\":\"{:08x}\",{later}",
            crc32c::crc32c(later.as_bytes())
        );
        assert_eq!(decode(line.as_bytes()), Err(LetterError::Version(2)));
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let long = DeadLetter {
            detail: format!("{}é{}", "a".repeat(DETAIL_BYTES_MAX - 1), "b".repeat(50)),
            ..letter(b"{}")
        };
        let bytes = encoded(&long);
        let read = decode(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read.detail, "a".repeat(DETAIL_BYTES_MAX - 1));
    }
}
