//! Times in templates: what senders write, read leniently, and what shapes write.
//!
//! Promises: nothing here reads a clock. Leaves to others: which time is an event's.

use std::io::Write as _;

use jiff::Timestamp as CivilTime;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use crate::position::Timestamp;

/// Reads a point in time as audit events have it: `YYYY-MM-DDThh:mm:ss`, a fraction of any length, and `Z`, `±hh:mm`,
/// `±hhmm` or nothing for UTC. One-digit parts and a space for the `T` are let pass, as real events have them. Digits
/// beyond microseconds are cut.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.trim().split_once(['T', 't', ' '])?;
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(clock, ':')?;
    let date = Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    // A leap second has no microseconds of its own.
    let time = Time::new(
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second.min(59)).ok()?,
        0,
    );
    let civil = date.ok()?.to_datetime(time.ok()?);
    let instant = offset(zone)?.to_timestamp(civil).ok()?;
    Some(Timestamp(instant.as_microsecond() + micros(fraction)?))
}

/// Three numbers without signs.
fn numbers(text: &str, separator: char) -> Option<[u16; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = &fraction[..fraction.len().min(6)];
    format!("{digits:0<6}").parse().ok()
}

fn offset(zone: &str) -> Option<Offset> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(Offset::UTC);
    }
    let digits: String = zone[1..].chars().filter(|digit| *digit != ':').collect();
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if zone.starts_with('-') {
        -seconds
    } else {
        seconds
    })
    .ok()
}

/// Appends the time in UTC with this many fraction digits and what stands for the zone: `Z`, `+00:00`, or nothing.
pub(super) fn push(out: &mut Vec<u8>, time: Timestamp, digits: usize, zone: &str) {
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
        check("2021-1-17T9:05:01", Some("2021-01-17T09:05:01.000000Z"));
        check(
            "2021-01-17 09:05:60.1234567",
            Some("2021-01-17T09:05:59.123456Z"),
        );
        for text in [
            "",
            "now",
            "2021-01-17",
            "2021-13-01T00:00:00Z",
            "2021-02-30T00:00:00Z",
            "2021-01-01T24:00:00Z",
            "2021-01-01T00:00Z",
            "2021-01-01T00:00:00.Z",
            "2021-01-01T00:00:00+1",
            "2021-01-01T00:00:00+é1",
            "2021-01-01T00:00:00+99:00",
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
