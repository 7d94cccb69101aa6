//! Sizes, rates and durations as people type them.
//!
//! Owns the three parsers of the command line; each error names the value and the forms allowed.

use std::time::Duration;

/// Parses `100MB`, `64KiB`, `1.5GB`, `4096`: bytes, with decimal or binary multiples.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit.trim_end_matches("/s").to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => {
            return Err(format!(
                "`{text}` has no known unit; write 100MB, 64KiB or 1.5GB"
            ));
        }
    };
    let bytes = number.parse::<f64>().ok().map(|number| number * factor);
    match bytes {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to lie between 1 and 10^15"
        )]
        #[expect(clippy::cast_sign_loss, reason = "checked to lie between 1 and 10^15")]
        Some(bytes) if (1.0..=1e15).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!(
            "`{text}` is not a size; write 100MB, 64KiB or 1.5GB"
        )),
    }
}

/// Parses `30s`, `500ms`, `2m`, `1h`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        _ => {
            return Err(format!(
                "`{text}` has no known unit; write 30s, 500ms, 2m or 1h"
            ));
        }
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * factor);
    match seconds {
        Some(seconds) if (0.0..=1e7).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!(
            "`{text}` is not a duration; write 30s, 500ms, 2m or 1h"
        )),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_as_written() {
        assert_eq!(parse_bytes("100MB"), Ok(100_000_000));
        assert_eq!(parse_bytes("1.5GB/s"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("64KiB"), Ok(65_536));
        assert_eq!(parse_bytes("12"), Ok(12));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "MB", "0", "1.2.3MB", "5 parsecs", "-1MB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
        for bad in ["s", "1 day", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
