//! Exact decimals of any size: slow and obvious.
//!
//! Owns: the order of two numbers written in decimal. Promises: exact, with exponents of any length that count as at
//! most 10^36 on either side, in time and memory linear in the texts. Shares no code with the rule engine.

use std::cmp::Ordering;

/// A number as sign, digits and exponent: `±0.digits · 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Vec<u8>,
    exponent: Integer,
}

impl Decimal {
    /// Reads digits with optional sign, point and exponent; the sign of zero does not count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written: Vec<u8> = [integer, fraction].concat().into_bytes();
        if written.is_empty() || !written.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let zeros = written.iter().take_while(|&&digit| digit == b'0').count();
        let mut digits = written[zeros..].to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let exponent = Integer::parse(exponent)?.within_bound();
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: Integer::from_i64(0),
            });
        }
        let point = i64::try_from(integer.len()).ok()? - i64::try_from(zeros).ok()?;
        Some(Self {
            negative,
            digits,
            exponent: exponent.plus(&Integer::from_i64(point)),
        })
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The number when it is a whole one of at most `digits_max` digits, else `None`.
    pub(crate) fn to_integer(&self, digits_max: usize) -> Option<i128> {
        if self.is_zero() {
            return Some(0);
        }
        let places = self.exponent.to_usize(digits_max)?;
        if places < self.digits.len() {
            return None;
        }
        let mut text = String::from_utf8(self.digits.clone()).expect("digits are ASCII");
        text.extend(std::iter::repeat_n('0', places - self.digits.len()));
        let magnitude: i128 = text.parse().ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    fn magnitude_order(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // Without leading zeros the larger exponent is the larger number; among equal exponents the digits
            // decide, and a prefix is the smaller.
            (false, false) => self
                .exponent
                .cmp(&other.exponent)
                .then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.magnitude_order(other),
            (true, true) => other.magnitude_order(self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A whole number of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Integer {
    /// Never true for zero.
    negative: bool,
    /// Values 0 to 9, the least first, without zeros at the end; empty for zero.
    digits: Vec<u8>,
}

impl Integer {
    fn new(negative: bool, mut digits: Vec<u8>) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self {
            negative: negative && !digits.is_empty(),
            digits,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let negative = text.starts_with('-');
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        Some(Self::new(
            negative,
            digits.bytes().rev().map(|digit| digit - b'0').collect(),
        ))
    }

    /// Exponents end at ±10^36.
    fn within_bound(self) -> Self {
        let mut bound = Self::from_i64(1);
        bound.digits.splice(0..0, [0; 36]);
        if magnitude_order(&self.digits, &bound.digits) == Ordering::Greater {
            bound.negative = self.negative;
            return bound;
        }
        self
    }

    fn from_i64(number: i64) -> Self {
        Self::parse(&number.to_string()).expect("a number is written as a number")
    }

    /// The number when it is not negative and at most `max`.
    fn to_usize(&self, max: usize) -> Option<usize> {
        if self.negative || self.digits.len() > max.to_string().len() {
            return None;
        }
        let number = self
            .digits
            .iter()
            .rev()
            .fold(0_usize, |sum, &digit| sum * 10 + usize::from(digit));
        (number <= max).then_some(number)
    }

    fn plus(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            return Self::new(self.negative, sum(&self.digits, &other.digits));
        }
        if magnitude_order(&self.digits, &other.digits) == Ordering::Less {
            return Self::new(other.negative, difference(&other.digits, &self.digits));
        }
        Self::new(self.negative, difference(&self.digits, &other.digits))
    }
}

impl Ord for Integer {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => magnitude_order(&self.digits, &other.digits),
            (true, true) => magnitude_order(&other.digits, &self.digits),
        }
    }
}

impl PartialOrd for Integer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn magnitude_order(left: &[u8], right: &[u8]) -> Ordering {
    left.len()
        .cmp(&right.len())
        .then_with(|| left.iter().rev().cmp(right.iter().rev()))
}

fn sum(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits = Vec::new();
    for place in 0..left.len().max(right.len()) {
        let digit = |of: &[u8]| of.get(place).copied().unwrap_or(0);
        let total = digit(left) + digit(right) + carry;
        digits.push(total % 10);
        carry = total / 10;
    }
    digits.push(carry);
    digits
}

/// Of magnitudes, the first not below the second.
fn difference(large: &[u8], small: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut digits = Vec::new();
    for (place, &digit) in large.iter().enumerate() {
        let taken = small.get(place).copied().unwrap_or(0) + borrow;
        borrow = u8::from(digit < taken);
        digits.push(digit + borrow * 10 - taken);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_their_values() {
        let many = "9".repeat(300);
        let (huge, tiny) = (format!("1e{many}"), format!("1e-{many}"));
        let (huger, minus_huge) = (format!("1.1e{many}"), format!("-{huge}"));
        let ordered = [
            minus_huge.as_str(),
            "-1e999999999",
            "-18446744073709551616.5",
            "-10",
            "-9.99999999999999999999999999",
            "-1e-5",
            "0",
            tiny.as_str(),
            "1e-999999999",
            "0.1",
            "0.10000000000000000000000001",
            ".5",
            "1",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551616",
            "1e20",
            "123456789012345678901234567890",
            "1e999999999",
            "1e999999999999999999999999999999999999",
            huge.as_str(),
            huger.as_str(),
        ];
        let numbers: Vec<Decimal> = ordered
            .iter()
            .map(|text| Decimal::parse(text).unwrap())
            .collect();
        for (left, one) in numbers.iter().enumerate() {
            for (right, other) in numbers.iter().enumerate() {
                assert_eq!(
                    one.cmp(other),
                    left.cmp(&right),
                    "{} {}",
                    ordered[left],
                    ordered[right]
                );
            }
        }
    }

    #[test]
    fn one_value_in_many_forms_is_equal() {
        let check = |forms: &[&str]| {
            for form in forms {
                assert_eq!(Decimal::parse(form), Decimal::parse(forms[0]), "{form}");
                assert!(Decimal::parse(form).is_some());
            }
        };
        check(&[
            "0",
            "-0",
            "0.0",
            "-0.000e17",
            "0e99999999999999999999",
            "000",
        ]);
        check(&[
            "100", "1e2", "1E+2", "0.1e3", "1000e-1", "100.000", "+100", "0100", "100.",
        ]);
        check(&["-1.5", "-15e-1", "-0.15E1", "-.15e0001"]);
        let bound = format!("1e1{}", "0".repeat(36));
        check(&[
            &bound,
            "1e9999999999999999999999999999999999999",
            &bound.replace("e1", "e0002"),
        ]);
    }

    #[test]
    fn whole_numbers_are_known() {
        let check = |text: &str, number: Option<i128>| {
            assert_eq!(
                Decimal::parse(text).unwrap().to_integer(30),
                number,
                "{text}"
            );
        };
        check("0", Some(0));
        check("-12e1", Some(-120));
        check("6.0", Some(6));
        check("1.5", None);
        check("1e29", Some(100_000_000_000_000_000_000_000_000_000));
        check("1e30", None);
        check("1e99999999999999999999999", None);
        check("1e-99999999999999999999999", None);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", ".", "e5", "1e", "1e+", "1x", "1.2.3", "--1", "1e5.0",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
