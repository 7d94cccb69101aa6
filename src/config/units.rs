//! Sizes, durations and shares as people write them: `"8 MiB"`, `"40 MB"`, `"5ms"`, `"80%"`.
//!
//! Pure functions from text to numbers and back. A text that is none of these gives an
//! error which shows how to write one; ranges are the business of the reader.

use std::fmt;
use std::time::Duration;

/// Why a text is not the quantity that was asked for; what is to be written instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error(
        "is not a size; write a whole number with a unit, for example \"512 KiB\", \"8 MiB\" or \"40 MB\""
    )]
    Size,
    /// Not a duration.
    #[error(
        "is not a duration; write a whole number with a unit, for example \"5ms\", \"30s\", \"24h\" or \"7d\""
    )]
    Duration,
    /// Not a share.
    #[error("is not a share; write a whole number from 1 to 99 with \"%\", for example \"80%\"")]
    Percent,
    /// A quantity of 2^64 or more.
    #[error("is larger than any machine can hold; lower it")]
    TooLarge,
}

/// Bytes of a text like `"8 MiB"`, `"40 MB"`, `"512KiB"` or `"4096 B"`.
///
/// # Errors
/// When it is not a whole number with one of the units, or passes 2^64 bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split_number(text).ok_or(UnitError::Size)?;
    let factor = SIZE_UNITS
        .iter()
        .find_map(|(name, factor)| (*name == unit).then_some(*factor))
        .ok_or(UnitError::Size)?;
    multiply(number, factor)
}

/// Duration of a text like `"5ms"`, `"30s"`, `"10 m"`, `"24h"` or `"7d"`.
///
/// # Errors
/// When it is not a whole number with one of the units, or passes 2^64 milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split_number(text).ok_or(UnitError::Duration)?;
    let factor = DURATION_UNITS
        .iter()
        .find_map(|(name, factor)| (*name == unit).then_some(*factor))
        .ok_or(UnitError::Duration)?;
    multiply(number, factor).map(Duration::from_millis)
}

/// Share of a text like `"80%"`, 1 to 99.
///
/// # Errors
/// When it is not a whole number in that range followed by `%`.
pub fn parse_percent(text: &str) -> Result<u8, UnitError> {
    match split_number(text) {
        Some((number, "%")) => u8::try_from(number?)
            .ok()
            .filter(|percent| (1..=99).contains(percent))
            .ok_or(UnitError::Percent),
        _ => Err(UnitError::Percent),
    }
}

/// A size for people, exact: the largest unit that divides it. `8388608` shows as `8 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        // The binary units come first in the table, largest first; bytes divide everything.
        let (name, factor) = SIZE_UNITS
            .iter()
            .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{} {name}", bytes / factor)
    }
}

/// A duration for people, exact to the millisecond: the largest unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let (name, factor) = DURATION_UNITS
            .iter()
            .map(|(name, factor)| (*name, u128::from(*factor)))
            .find(|(_, factor)| millis.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / factor)
    }
}

const SIZE_UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
];

const DURATION_UNITS: &[(&str, u64)] = &[
    ("d", 24 * 60 * 60 * 1_000),
    ("h", 60 * 60 * 1_000),
    ("m", 60 * 1_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Digits at the start (underscores allowed between them) and the unit behind, without the
/// spaces between. `None` when no digit leads; an error when the number passes 2^64.
fn split_number(text: &str) -> Option<(Result<u64, UnitError>, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('_') {
        return None;
    }
    let number = digits
        .bytes()
        .filter(|byte| *byte != b'_')
        .try_fold(0u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(UnitError::TooLarge);
    Some((number, unit.trim_start()))
}

fn multiply(number: Result<u64, UnitError>, factor: u64) -> Result<u64, UnitError> {
    number?.checked_mul(factor).ok_or(UnitError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_take_binary_and_decimal_units() {
        for (text, expected) in [
            ("8 MiB", Ok(8 << 20)),
            ("8MiB", Ok(8 << 20)),
            ("40 MB", Ok(40_000_000)),
            ("512 KiB", Ok(512 << 10)),
            ("1 kB", Ok(1_000)),
            ("1 KB", Ok(1_000)),
            ("0 B", Ok(0)),
            ("1_000 B", Ok(1_000)),
            ("3 TiB", Ok(3 << 40)),
            ("", Err(UnitError::Size)),
            ("8", Err(UnitError::Size)),
            ("MiB", Err(UnitError::Size)),
            ("-8 MiB", Err(UnitError::Size)),
            ("1.5 GiB", Err(UnitError::Size)),
            ("8 mib", Err(UnitError::Size)),
            ("8 Mb", Err(UnitError::Size)),
            ("8_ MiB", Err(UnitError::Size)),
            ("_8 MiB", Err(UnitError::Size)),
            ("99999999 TiB", Err(UnitError::TooLarge)),
            ("99999999999999999999 B", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_take_milliseconds_to_days() {
        for (text, expected) in [
            ("5ms", Ok(Duration::from_millis(5))),
            ("1s", Ok(Duration::from_secs(1))),
            ("10 m", Ok(Duration::from_mins(10))),
            ("24h", Ok(Duration::from_hours(24))),
            ("7d", Ok(Duration::from_hours(168))),
            ("0s", Ok(Duration::ZERO)),
            ("5", Err(UnitError::Duration)),
            ("5 min", Err(UnitError::Duration)),
            ("5us", Err(UnitError::Duration)),
            ("-1", Err(UnitError::Duration)),
            ("1h30m", Err(UnitError::Duration)),
            ("999999999999999 d", Err(UnitError::TooLarge)),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shares_run_from_1_to_99() {
        for (text, expected) in [
            ("80%", Ok(80)),
            ("1 %", Ok(1)),
            ("99%", Ok(99)),
            ("0%", Err(UnitError::Percent)),
            ("100%", Err(UnitError::Percent)),
            ("80", Err(UnitError::Percent)),
            ("%", Err(UnitError::Percent)),
        ] {
            assert_eq!(parse_percent(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_size_shown_reads_back_the_same(bytes in any::<u64>(), shift in 0u32..50) {
            let bytes = bytes >> shift << shift;
            prop_assert_eq!(parse_size(&ByteSize(bytes).to_string()), Ok(bytes));
        }

        #[test]
        fn a_duration_shown_reads_back_the_same(millis in 0u64..1 << 50, step in 1u64..100_000) {
            let duration = Duration::from_millis(millis / step * step);
            prop_assert_eq!(parse_duration(&Span(duration).to_string()), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (parse_size(&text).is_ok(), parse_duration(&text).is_ok());
            prop_assert!(parse_percent(&text).map_or(true, |share| (1..=99).contains(&share)));
        }
    }
}
