//! Exact decimals: numbers of events and rules compared by value, whatever their size.
//!
//! Owns: comparing two numbers in decimal text. Promises: no rounding, no overflow: `-0` is `0`, `1.0` is `10e-1`,
//! and `1e999999999` is greater than all that are less. Exponents beyond ±10^36 count as ±10^36. Leaves to others:
//! what is a number in JSON's grammar ([`is_json`] decides it for text of strings).

use std::cmp::Ordering;

/// A number of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::filter) struct Decimal {
    text: Box<str>,
    integer: Option<i64>,
}

impl Decimal {
    pub(in crate::filter) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            integer: integer(text.as_bytes()),
        }
    }

    pub(in crate::filter) fn text(&self) -> &str {
        &self.text
    }
}

/// How a number of an event stands to one of a rule.
#[inline]
pub(in crate::filter) fn compare_with(number: &[u8], decimal: &Decimal) -> Ordering {
    match (integer(number), decimal.integer) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => compare(number, decimal.text.as_bytes()),
    }
}

/// How a whole number of an event, which `line` begins with, stands to one of a rule. `None` says nothing: it is another
/// number, has more digits than both types below hold, or stands before white space.
#[inline(always)]
pub(in crate::filter) fn compare_whole(line: &[u8], decimal: &Decimal) -> Option<Ordering> {
    let mut value: u64 = 0;
    for byte in line.iter().take(WHOLE_DIGITS_MAX + 1) {
        match byte {
            b'0'..=b'9' => value = value * 10 + u64::from(byte - b'0'),
            b',' | b'}' => return Some(i64::try_from(value).ok()?.cmp(&decimal.integer?)),
            _ => return None,
        }
    }
    None
}

/// Digits that an `i64` holds; with one more a `u64` does.
const WHOLE_DIGITS_MAX: usize = 18;

/// How two numbers in JSON's form, possibly without digits they need not have, stand to each other.
pub(in crate::filter) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    if let (Some(one), Some(other)) = (integer(one), integer(other)) {
        return one.cmp(&other);
    }
    let (one, other) = (Parts::of(one), Parts::of(other));
    match (one.sign(), other.sign()) {
        (1, 1) => one.compare_magnitude(&other),
        (-1, -1) => other.compare_magnitude(&one),
        (one, other) => one.cmp(&other),
    }
}

/// An integer of few digits without fraction and exponent.
#[inline]
fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > WHOLE_DIGITS_MAX {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if negative { -value } else { value })
}

/// A number taken apart: its value is `0.digits × 10^magnitude`, the first digit not 0.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    magnitude: i128,
}

/// Exponents are held within this bound, so that sums with lengths of text cannot overflow.
const EXPONENT_MAX: i128 = 10_i128.pow(36);

impl<'a> Parts<'a> {
    fn of(text: &'a [u8]) -> Self {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (digits, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (&text[..at], exponent(&text[at + 1..])),
            None => (text, 0),
        };
        let (whole, fraction) = match digits.iter().position(|byte| *byte == b'.') {
            Some(at) => (&digits[..at], &digits[at + 1..]),
            None => (digits, &digits[..0]),
        };
        let whole = without_leading_zeros(whole);
        let significant = without_leading_zeros(fraction);
        let (fraction, magnitude) = if whole.is_empty() {
            (significant, -length(fraction.len() - significant.len()))
        } else {
            (fraction, length(whole.len()))
        };
        Self {
            negative,
            whole,
            fraction,
            magnitude: magnitude + exponent,
        }
    }

    fn sign(&self) -> i8 {
        match (self.digits().all(|digit| digit == b'0'), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.magnitude.cmp(&other.magnitude).then_with(|| {
            let count = self.digit_count().max(other.digit_count());
            let padded = |parts: &Self| -> Vec<u8> {
                let mut digits: Vec<u8> = parts.digits().collect();
                digits.resize(count, b'0');
                digits
            };
            padded(self).cmp(&padded(other))
        })
    }

    fn digit_count(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }
}

fn exponent(text: &[u8]) -> i128 {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let value = digits
        .iter()
        .filter(|digit| digit.is_ascii_digit())
        .fold(0, |value: i128, digit| {
            (value * 10 + i128::from(digit - b'0')).min(EXPONENT_MAX)
        });
    if negative { -value } else { value }
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

fn length(bytes: usize) -> i128 {
    i128::try_from(bytes).expect("a length is below 2^127")
}

/// True when `text` is a number by JSON's grammar, and nothing else.
pub(in crate::filter) fn is_json(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits_of(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits_of(fraction);
        if count == 0 {
            return false;
        }
        rest = &fraction[count..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = match exponent {
            [b'+' | b'-', digits @ ..] => digits,
            digits => digits,
        };
        let count = digits_of(exponent);
        return count != 0 && count == exponent.len();
    }
    rest.is_empty()
}

fn digits_of(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number as a float: the nearest, infinite when too large.
pub(in crate::filter) fn to_f64(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}
