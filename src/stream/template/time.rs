//! Times in templates: what senders write, and what shapes write.
//!
//! Promises: nothing here reads a clock. Leaves to others: which time is an event's.

use std::io::Write as _;

use jiff::Timestamp as CivilTime;

use crate::filter;
use crate::position::Timestamp;

/// Reads a point in time as rules read it; what is beyond microseconds is cut.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let nanoseconds = filter::time::parse(text.trim())?;
    i64::try_from(nanoseconds.div_euclid(1000))
        .ok()
        .map(Timestamp)
}

/// Appends the time in UTC with this many fraction digits and what stands for the zone: `Z`, `+00:00`, or nothing.
pub(in crate::stream) fn push(out: &mut Vec<u8>, time: Timestamp, digits: usize, zone: &str) {
    let instant = CivilTime::from_microsecond(time.0).unwrap_or(CivilTime::UNIX_EPOCH);
    write!(out, "{instant:.digits$}").expect("a vector takes all");
    let written = out.pop();
    debug_assert_eq!(written, Some(b'Z'), "jiff writes timestamps with Z");
    out.extend_from_slice(zone.as_bytes());
}

/// Milliseconds since 1970, rounded down.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.0.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_real_events_have_them() {
        let check = |text: &str, expected: Option<&str>| {
            let written = parse(text).map(|time| {
                let mut out = Vec::new();
                push(&mut out, time, 6, "Z");
                String::from_utf8(out).unwrap()
            });
            assert_eq!(written.as_deref(), expected, "{text}");
        };
        check(
            "2025-01-02T03:04:05.67+0000",
            Some("2025-01-02T03:04:05.670000Z"),
        );
        check(
            "2025-01-02T03:04:05+0000",
            Some("2025-01-02T03:04:05.000000Z"),
        );
        check(
            "2025-01-02T03:04:05.663+0000",
            Some("2025-01-02T03:04:05.663000Z"),
        );
        check(
            "2025-01-02T03:04:05.01+00:00",
            Some("2025-01-02T03:04:05.010000Z"),
        );
        check("2025-01-02T03:04:06Z", Some("2025-01-02T03:04:06.000000Z"));
        check(
            "2025-01-02T21:04:58-06:00",
            Some("2025-01-03T03:04:58.000000Z"),
        );
        check(
            " 2021-1-17T09:05:01.1234567",
            Some("2021-01-17T09:05:01.123456Z"),
        );
        for text in [
            "",
            "now",
            "2021-13-01T00:00:00Z",
            "2021-02-30T00:00:00Z",
            "+2021-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_written_as_some_time() {
        for time in [i64::MIN, i64::MAX, -1, 0] {
            let mut out = Vec::new();
            push(&mut out, Timestamp(time), 3, "");
            assert!(String::from_utf8(out).unwrap().contains('T'));
            millis(Timestamp(time));
        }
    }
}
