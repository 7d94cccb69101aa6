//! Points in time as rules read and write them.
//!
//! Owns: the forms of a timestamp that events and rules are known to use, and the one form it is written in. Promises:
//! what [`rfc3339`] writes, [`parse`] reads back, in the years 1 to 9999. Leaves to others: what time it is.

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;
/// Seconds of a day.
const DAY_SECONDS: i128 = 86_400;
/// Days from 0000-03-01 to 1970-01-01, and days of 400 years.
const DAYS_TO_1970: i128 = 719_468;
const ERA_DAYS: i128 = 146_097;

/// Nanoseconds since 1970-01-01T00:00:00Z of a timestamp; nothing when it is none.
///
/// RFC 3339, and what real events deviate by: a space for the `T`; month and day of one digit; a fraction of one to nine
/// digits after `.` or `,`; an offset of `Z`, `+01:00`, `+0100`, `+01`, or none, which means UTC; a date alone, which
/// means its midnight in UTC. Years 1 to 9999. Second 60 counts as the first of the next minute.
#[must_use]
pub fn parse(text: &str) -> Option<i128> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4, 4)?;
    rest.one_of(b"-")?;
    let month = rest.number(1, 2)?;
    rest.one_of(b"-")?;
    let day = rest.number(1, 2)?;
    if year == 0 || !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY_SECONDS;
    if rest.0.is_empty() {
        return Some(midnight * SECOND);
    }
    rest.one_of(b"Tt ")?;
    let hour = rest.number(2, 2)?;
    rest.one_of(b":")?;
    let minute = rest.number(2, 2)?;
    rest.one_of(b":")?;
    let second = rest.number(2, 2)?;
    let fraction = rest.fraction()?;
    let offset = rest.offset_seconds()?;
    if hour > 23 || minute > 59 || second > 60 || !rest.0.is_empty() {
        return None;
    }
    Some((midnight + hour * 3600 + minute * 60 + second - offset) * SECOND + fraction)
}

/// The timestamp in RFC 3339 with `Z` and as many fraction digits as it needs: none, 3, 6 or 9. A year beyond 9999 has
/// more digits, one before 0 a minus.
#[must_use]
pub fn rfc3339(nanoseconds: i128) -> String {
    let (seconds, fraction) = (
        nanoseconds.div_euclid(SECOND),
        nanoseconds.rem_euclid(SECOND),
    );
    let (days, second_of_day) = (
        seconds.div_euclid(DAY_SECONDS),
        seconds.rem_euclid(DAY_SECONDS),
    );
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let fraction = if fraction == 0 {
        String::new()
    } else if fraction % 1_000_000 == 0 {
        format!(".{:03}", fraction / 1_000_000)
    } else if fraction % 1_000 == 0 {
        format!(".{:06}", fraction / 1_000)
    } else {
        format!(".{fraction:09}")
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// What is not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// The next byte when it is one of these.
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// A number of at least and at most so many digits; as many as there are.
    fn number(&mut self, digits_min: usize, digits_max: usize) -> Option<i128> {
        let digits = self
            .0
            .iter()
            .take(digits_max)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits < digits_min {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(
            number
                .iter()
                .fold(0, |value, digit| value * 10 + i128::from(digit - b'0')),
        )
    }

    /// Nanoseconds of a fraction, 0 without one.
    fn fraction(&mut self) -> Option<i128> {
        if self.one_of(b".,").is_none() {
            return Some(0);
        }
        let before = self.0.len();
        let value = self.number(1, 9)?;
        let digits = before - self.0.len();
        Some((digits..9).fold(value, |value, _| value * 10))
    }

    /// Seconds east of UTC, 0 when none are named.
    fn offset_seconds(&mut self) -> Option<i128> {
        if self.0.is_empty() || self.one_of(b"Zz").is_some() {
            return Some(0);
        }
        let sign = if self.one_of(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.number(2, 2)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            // The colon may be missing, the minutes behind it not.
            let _colon = self.one_of(b":");
            self.number(2, 2)?
        };
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
    }
}

fn month_days(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`. Years begin
/// in March there, so that the leap day is a year's last.
fn days_from_civil(year: i128, month: i128, day: i128) -> i128 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - DAYS_TO_1970
}

/// Year, month and day: `civil_from_days` of the same source.
fn civil_from_days(days: i128) -> (i128, i128, i128) {
    let days = days + DAYS_TO_1970;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(
            parse(text).map(rfc3339).as_deref(),
            expected,
            "read from {text:?}"
        );
    }

    #[test]
    fn forms_seen_in_real_events_are_read() {
        check("2020-12-09T17:24:32+0000", Some("2020-12-09T17:24:32Z"));
        check(
            "2020-12-09T17:24:32.663+0000",
            Some("2020-12-09T17:24:32.663Z"),
        );
        check(
            "2020-12-09T17:24:32.6+0000",
            Some("2020-12-09T17:24:32.600Z"),
        );
        check(
            "2020-12-09T17:24:32.01+00:00",
            Some("2020-12-09T17:24:32.010Z"),
        );
        check("2020-12-09T17:24:06Z", Some("2020-12-09T17:24:06Z"));
        check("2020-12-09T17:24:58-06:00", Some("2020-12-09T23:24:58Z"));
        check("2021-1-17T17:24:32Z", Some("2021-01-17T17:24:32Z"));
        check("2021-1-7T17:24:32", Some("2021-01-07T17:24:32Z"));
    }

    #[test]
    fn other_forms_that_are_read() {
        check("2024-02-29", Some("2024-02-29T00:00:00Z"));
        check("2024-01-01 00:00:00", Some("2024-01-01T00:00:00Z"));
        check("2024-01-01t00:00:00z", Some("2024-01-01T00:00:00Z"));
        check(
            "2024-01-01T00:00:00,000001",
            Some("2024-01-01T00:00:00.000001Z"),
        );
        check(
            "2024-01-01T00:00:00.123456789+01",
            Some("2023-12-31T23:00:00.123456789Z"),
        );
        check("2024-01-01T00:00:00-00:00", Some("2024-01-01T00:00:00Z"));
        check("2016-12-31T23:59:60Z", Some("2017-01-01T00:00:00Z"));
        check("0001-01-01", Some("0001-01-01T00:00:00Z"));
        check(
            "9999-12-31T23:59:59.999999999",
            Some("9999-12-31T23:59:59.999999999Z"),
        );
    }

    #[test]
    fn what_is_no_timestamp_is_nothing() {
        for text in [
            "",
            "2024",
            "2024-01",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "0000-01-01",
            "10000-01-01",
            "-2024-01-01",
            "2024-01-01T",
            "2024-01-01T00:00",
            "2024-01-01T1:00:00",
            "2024-01-01T24:00:00",
            "2024-01-01T00:60:00",
            "2024-01-01T00:00:61",
            "2024-01-01T00:00:00.",
            "2024-01-01T00:00:00.1234567890",
            "2024-01-01T00:00:00+1",
            "2024-01-01T00:00:00+01:",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+00:60",
            "2024-01-01T00:00:00ZZ",
            "2024-01-01T00:00:00 Z",
            " 2024-01-01",
            "2024-01-01 ",
            "2024-01-01Z",
            "2024-1\u{664}-01",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn known_days_have_known_numbers() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(
            parse("1969-12-31T23:59:59.999999999Z"),
            Some(-1),
            "before 1970"
        );
        assert_eq!(parse("2000-03-01"), Some(951_868_800 * SECOND));
        assert_eq!(parse("2024-01-01"), Some(1_704_067_200 * SECOND));
        assert_eq!(parse("0001-01-01"), Some(-62_135_596_800 * SECOND));
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn every_day_of_ten_thousand_years_comes_back() {
        let (first, last) = (days_from_civil(1, 1, 1), days_from_civil(9999, 12, 31));
        let mut before = (0, 12, 31);
        for days in first..=last {
            let (year, month, day) = civil_from_days(days);
            let after = if before.2 < month_days(before.0, before.1) {
                (before.0, before.1, before.2 + 1)
            } else if before.1 < 12 {
                (before.0, before.1 + 1, 1)
            } else {
                (before.0 + 1, 1, 1)
            };
            assert_eq!((year, month, day), after);
            assert_eq!(days_from_civil(year, month, day), days);
            before = after;
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            nanoseconds in -62_135_596_800_000_000_000_i128..253_402_300_800_000_000_000,
        ) {
            prop_assert_eq!(parse(&rfc3339(nanoseconds)), Some(nanoseconds));
        }

        #[test]
        fn any_number_is_written_and_any_text_read(nanoseconds: i128, text in "[0-9TZ:.,+ -]{0,40}") {
            prop_assert!(rfc3339(nanoseconds).ends_with('Z'));
            let read = parse(&text);
            prop_assert_eq!(read.and_then(|read| parse(&rfc3339(read))), read);
        }
    }
}
