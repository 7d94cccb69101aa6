//! Values while a rule runs: their types, conversions and comparisons.
//!
//! Owns: what a raw JSON value or a label is as a [`Value`], casts, comparison, arithmetic, as the
//! [`tree`](super::tree) says. Promises: values borrow from the line wherever they can; numbers keep their digits
//! until somebody calculates. Leaves to others: where values come from ([`eval`](super::eval)).

use core::net::{IpAddr, Ipv6Addr};
use std::borrow::Cow;
use std::cmp::Ordering;

use super::line::number;
use super::line::text;
use super::time;
use super::tree::{Arithmetic, Compare, Literal, Severity, Subnet, Type, severity_of};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    String(Cow<'a, str>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Interval(i128),
    Severity(Severity),
    /// An object or array: its raw bytes.
    Container(&'a [u8]),
}

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Number<'a> {
    /// The digits of an event or a rule.
    Exact(Cow<'a, str>),
    /// Never infinite, nor not a number.
    Calculated(f64),
}

impl Number<'_> {
    pub(super) fn to_f64(&self) -> f64 {
        match self {
            Number::Exact(text) => number::to_f64(text),
            Number::Calculated(number) => *number,
        }
    }

    /// How both stand to each other; `None` is not possible for what JSON can write.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Number::Exact(one), Number::Exact(other)) => {
                Some(number::compare(one.as_bytes(), other.as_bytes()))
            }
            (one, other) => one.to_f64().partial_cmp(&other.to_f64()),
        }
    }

    /// As milliseconds, in nanoseconds.
    pub(super) fn millis_to_nanos(&self) -> Option<i128> {
        let millis = self.to_f64();
        if millis.abs() >= MILLIS_END {
            return None;
        }
        // The fraction apart: a product of both would be rounded, and the whole part is exact up to 2^53.
        let whole = truncated(millis)? * NANOS_PER_MILLI;
        Some(whole + truncated(millis.fract() * 1e6)?)
    }
}

/// Milliseconds from which on their nanoseconds are no time any more.
const MILLIS_END: f64 = 1e31;

/// Nanoseconds of a millisecond.
pub(super) const NANOS_PER_MILLI: i128 = 1_000_000;

/// The whole part of a finite float that fits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range was checked; the fraction is meant to go"
)]
pub(super) fn truncated(number: f64) -> Option<i128> {
    (number.abs() < 1e38).then_some(number as i128)
}

impl<'a> Value<'a> {
    /// A calculated number; null when it is not finite.
    pub(super) fn calculated(number: f64) -> Self {
        if number.is_finite() {
            Value::Number(Number::Calculated(number))
        } else {
            Value::Null
        }
    }

    /// What the raw bytes of a JSON value are.
    pub(super) fn of_json(raw: &'a [u8]) -> Self {
        match raw {
            [b'"', ..] => Value::String(text::unescaped_str(inside(raw))),
            [b'{' | b'[', ..] => Value::Container(raw),
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            [b'-' | b'0'..=b'9', ..] => Value::Number(Number::Exact(String::from_utf8_lossy(raw))),
            _ => Value::Null,
        }
    }

    pub(super) fn of_literal(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Bool(*value),
            Literal::Number(digits) => Value::Number(Number::Exact(Cow::Borrowed(digits))),
            Literal::String(text) => Value::String(Cow::Borrowed(text)),
            Literal::Timestamp(nanos) => Value::Timestamp(*nanos),
            Literal::Interval(nanos) => Value::Interval(*nanos),
            Literal::Severity(severity) => Value::Severity(*severity),
        }
    }

    /// The value as a condition's.
    pub(super) fn condition(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn of_condition(condition: Option<bool>) -> Self {
        condition.map_or(Value::Null, Value::Bool)
    }

    /// [`Expr::Read`](super::tree::Expr::Read): the value where one of this type is wanted.
    pub(super) fn read_as(self, wanted: Type) -> Self {
        match (&self, wanted) {
            (Value::Container(_), _)
            | (Value::Bool(_), Type::Bool)
            | (Value::Number(_), Type::Number)
            | (Value::String(_), Type::String)
            | (Value::Timestamp(_), Type::Timestamp)
            | (Value::Severity(_), Type::Severity)
            | (Value::Interval(_), Type::Interval) => self,
            (Value::String(_), Type::Timestamp | Type::Severity) => self.cast(wanted),
            _ => Value::Null,
        }
    }

    /// [`Expr::Cast`](super::tree::Expr::Cast).
    pub(super) fn cast(self, to: Type) -> Self {
        if let Value::Container(_) = self {
            return self;
        }
        match to {
            Type::String => self.into_text().map_or(Value::Null, Value::String),
            Type::Number => self.into_number(),
            Type::Bool => match &self {
                Value::Bool(_) => self,
                Value::String(text) if text.eq_ignore_ascii_case("true") => Value::Bool(true),
                Value::String(text) if text.eq_ignore_ascii_case("false") => Value::Bool(false),
                Value::Number(number) => Value::Bool(!number.is_zero()),
                _ => Value::Null,
            },
            Type::Timestamp => match &self {
                Value::Timestamp(_) => self,
                Value::String(text) => time::parse(text).map_or(Value::Null, Value::Timestamp),
                Value::Number(number) => number
                    .millis_to_nanos()
                    .map_or(Value::Null, Value::Timestamp),
                _ => Value::Null,
            },
            Type::Interval => match self {
                Value::Interval(_) => self,
                _ => Value::Null,
            },
            Type::Severity => match &self {
                Value::Severity(_) => self,
                Value::String(text) => severity_of(text).map_or(Value::Null, Value::Severity),
                Value::Number(number) => number.severity().map_or(Value::Null, Value::Severity),
                _ => Value::Null,
            },
        }
    }

    /// The text of a scalar; a container has none here.
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Value::Null | Value::Container(_) => return None,
            Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Value::Number(Number::Exact(digits)) => digits,
            Value::Number(Number::Calculated(number)) => Cow::Owned(number.to_string()),
            Value::String(text) => text,
            Value::Timestamp(nanos) => Cow::Owned(time::rfc3339(nanos)),
            Value::Interval(nanos) => Cow::Owned(nanos.to_string()),
            Value::Severity(severity) => Cow::Borrowed(match severity {
                Severity::Verbose => "Verbose",
                Severity::Debug => "Debug",
                Severity::Info => "Info",
                Severity::Warning => "Warning",
                Severity::Error => "Error",
                Severity::Critical => "Critical",
            }),
        })
    }

    fn into_number(self) -> Self {
        match self {
            Value::Number(_) => self,
            Value::Bool(value) => {
                Value::Number(Number::Exact(Cow::Borrowed(if value { "1" } else { "0" })))
            }
            Value::String(text) => numeric(&text).map_or(Value::Null, |digits| {
                Value::Number(Number::Exact(Cow::Owned(digits.to_owned())))
            }),
            Value::Timestamp(nanos) => millis_of(nanos),
            _ => Value::Null,
        }
    }
}

/// A timestamp as milliseconds since 1970, truncated downwards.
pub(super) fn millis_of(nanos: i128) -> Value<'static> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a calculated number is a float; milliseconds of this age are exact in it"
    )]
    let millis = nanos.div_euclid(NANOS_PER_MILLI) as f64;
    Value::calculated(millis)
}

/// The JSON number that a text is, when trimmed of white space.
pub(super) fn numeric(text: &str) -> Option<&str> {
    let digits = text.trim();
    number::is_json(digits.as_bytes()).then_some(digits)
}

impl Number<'_> {
    fn is_zero(&self) -> bool {
        match self {
            Number::Exact(digits) => number::compare(digits.as_bytes(), b"0") == Ordering::Equal,
            Number::Calculated(number) => *number == 0.0,
        }
    }

    fn severity(&self) -> Option<Severity> {
        [
            ("1", Severity::Debug),
            ("2", Severity::Verbose),
            ("3", Severity::Info),
            ("4", Severity::Warning),
            ("5", Severity::Error),
            ("6", Severity::Critical),
        ]
        .into_iter()
        .find(|(digit, _)| {
            self.compare(&Number::Exact(Cow::Borrowed(digit))) == Some(Ordering::Equal)
        })
        .map(|(_, severity)| severity)
    }
}

/// Without the quotes.
pub(super) fn inside(raw: &[u8]) -> &[u8] {
    let raw = raw.strip_prefix(b"\"").unwrap_or(raw);
    raw.strip_suffix(b"\"").unwrap_or(raw)
}

/// [`Expr::Compare`](super::tree::Expr::Compare).
pub(super) fn compare(operator: Compare, one: &Value<'_>, other: &Value<'_>) -> Option<bool> {
    let ordering = match (one, other) {
        (Value::Container(_), _) | (_, Value::Container(_)) => return None,
        (Value::Null, Value::Null) => return Some(operator == Compare::Equal),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Number(one), Value::Number(other)) => one.compare(other),
        (Value::String(one), Value::String(other)) => Some(one.as_bytes().cmp(other.as_bytes())),
        (Value::Timestamp(one), Value::Timestamp(other))
        | (Value::Interval(one), Value::Interval(other)) => Some(one.cmp(other)),
        (Value::Severity(one), Value::Severity(other)) => Some(one.cmp(other)),
        _ => None,
    };
    Some(match ordering {
        Some(ordering) => holds(operator, ordering),
        None => operator == Compare::NotEqual,
    })
}

/// True when a comparison is true of two values that stand to each other like this.
#[inline]
pub(super) fn holds(operator: Compare, ordering: Ordering) -> bool {
    match operator {
        Compare::Equal => ordering.is_eq(),
        Compare::NotEqual => ordering.is_ne(),
        Compare::Less => ordering.is_lt(),
        Compare::LessEqual => ordering.is_le(),
        Compare::Greater => ordering.is_gt(),
        Compare::GreaterEqual => ordering.is_ge(),
    }
}

/// [`Expr::Arithmetic`](super::tree::Expr::Arithmetic).
pub(super) fn arithmetic<'a>(
    operator: Arithmetic,
    one: &Value<'_>,
    other: &Value<'_>,
) -> Value<'a> {
    use Arithmetic::{Add, Divide, Multiply, Remainder, Subtract};
    let in_nanos = |one: &i128, other: &i128| match operator {
        Add => one.checked_add(*other),
        Subtract => one.checked_sub(*other),
        Multiply | Divide | Remainder => None,
    };
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.to_f64(), other.to_f64());
            Value::calculated(match operator {
                Add => one + other,
                Subtract => one - other,
                Multiply => one * other,
                Divide => one / other,
                Remainder => one % other,
            })
        }
        (Value::Timestamp(one), Value::Interval(other)) => {
            in_nanos(one, other).map_or(Value::Null, Value::Timestamp)
        }
        (Value::Interval(one), Value::Timestamp(other)) if operator == Add => {
            in_nanos(one, other).map_or(Value::Null, Value::Timestamp)
        }
        (Value::Timestamp(one), Value::Timestamp(other)) if operator == Subtract => {
            in_nanos(one, other).map_or(Value::Null, Value::Interval)
        }
        (Value::Interval(one), Value::Interval(other)) => {
            in_nanos(one, other).map_or(Value::Null, Value::Interval)
        }
        _ => Value::Null,
    }
}

/// The address that a text is, when trimmed; an IPv4-mapped one as IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// True when `address` is in the network.
pub(super) fn is_in_subnet(address: IpAddr, subnet: &Subnet) -> bool {
    let bits_kept = u32::from(subnet.prefix_bits);
    // An IPv4-mapped network is one of IPv4 as far as its prefix reaches beyond the mapping.
    let (network, bits_kept) = match subnet.address {
        IpAddr::V6(network) if bits_kept >= 96 => match network.to_ipv4_mapped() {
            Some(mapped) => (IpAddr::V4(mapped), bits_kept - 96),
            None => (subnet.address, bits_kept),
        },
        network => (network, bits_kept),
    };
    let differing = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= bits_kept.min(u128::BITS)
}

/// `ipPrefix`: the network of the first `bits` bits in CIDR form.
pub(super) fn network_of(address: IpAddr, bits: u32) -> Option<String> {
    let keep = |width: u32| u128::MAX.checked_shl(width - bits).unwrap_or(0);
    Some(match address {
        IpAddr::V4(four) => {
            let kept = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            format!(
                "{}/{bits}",
                core::net::Ipv4Addr::from_bits(four.to_bits() & kept)
            )
        }
        IpAddr::V6(six) if bits <= 128 => {
            format!("{}/{bits}", Ipv6Addr::from_bits(six.to_bits() & keep(128)))
        }
        IpAddr::V6(_) => return None,
    })
}
