//! Values of the slow evaluator: what a field, a literal or a function yields, how two compare, how one is converted.
//!
//! Owns: the meaning of `Compare`, `Cast` and `Read` on values, as the doc comments of `weir::filter::tree` have it.

use std::cmp::Ordering;

use weir::filter::time;
use weir::filter::tree::{Compare, Literal, Severity, Type, severity_of};

use crate::decimal::Decimal;
use crate::json::{Document, Kind, Node, is_number};

/// Nanoseconds of a millisecond.
pub(crate) const MILLISECOND: i128 = 1_000_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number as written, of an event or a literal.
    Written(String),
    /// A calculated number, finite.
    Calculated(f64),
    String(String),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    Timestamp(i128),
    /// Nanoseconds.
    Interval(i128),
    Severity(Severity),
    /// An object or array: its characters, escapes decoded.
    Container(String),
}

impl Value {
    pub(crate) fn of_node(document: &Document, node: &Node) -> Self {
        match &node.kind {
            Kind::Null => Self::Null,
            Kind::Bool(value) => Self::Bool(*value),
            Kind::Number => Self::Written(document.raw(node).to_owned()),
            Kind::String(text) => Self::String(text.clone()),
            Kind::Array(_) | Kind::Object(_) => Self::Container(document.decoded(node).to_owned()),
        }
    }

    pub(crate) fn of_literal(literal: &Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Number(text) => Self::Written(text.to_string()),
            Literal::String(text) => Self::String(text.to_string()),
            Literal::Timestamp(time) => Self::Timestamp(*time),
            Literal::Interval(length) => Self::Interval(*length),
            Literal::Severity(severity) => Self::Severity(*severity),
        }
    }

    /// A calculated number, or null when it is not finite.
    pub(crate) fn calculated(number: f64) -> Self {
        if number.is_finite() {
            Self::Calculated(number)
        } else {
            Self::Null
        }
    }

    pub(crate) fn of_condition(condition: Option<bool>) -> Self {
        condition.map_or(Self::Null, Self::Bool)
    }

    /// The value as a condition: what is no boolean is unknown.
    pub(crate) fn condition(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A number in `f64`.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Written(text) => text.parse().ok(),
            Self::Calculated(number) => Some(*number),
            _ => None,
        }
    }

    /// The characters of a string, number or boolean.
    pub(crate) fn characters(&self) -> Option<String> {
        match self {
            Self::String(text) | Self::Written(text) => Some(text.clone()),
            Self::Calculated(number) => Some(number.to_string()),
            Self::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The number, or the string that is a JSON number when trimmed.
    pub(crate) fn numeric_text(&self) -> Option<&str> {
        match self {
            Self::Written(text) => Some(text),
            Self::String(text) => Some(text.trim()).filter(|text| is_number(text)),
            _ => None,
        }
    }

    /// `Expr::Compare`.
    pub(crate) fn compare(&self, how: Compare, other: &Self) -> Option<bool> {
        use Value::{Container, Null};
        match (self, other) {
            (Container(_), _) | (_, Container(_)) => None,
            (Null, Null) => Some(how == Compare::Equal),
            (Null, _) | (_, Null) => Some(how == Compare::NotEqual),
            _ => Some(match self.order(other) {
                Some(order) => holds(how, order),
                None => how == Compare::NotEqual,
            }),
        }
    }

    /// The order of two values of one type, else `None`.
    fn order(&self, other: &Self) -> Option<Ordering> {
        use Value::{Bool, Calculated, Interval, Severity, String, Timestamp, Written};
        match (self, other) {
            (Bool(left), Bool(right)) => Some(left.cmp(right)),
            (String(left), String(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
            (Timestamp(left), Timestamp(right)) | (Interval(left), Interval(right)) => {
                Some(left.cmp(right))
            }
            (Severity(left), Severity(right)) => Some(left.cmp(right)),
            (Written(left), Written(right)) => Some(written_order(left, right)),
            (Written(_) | Calculated(_), Written(_) | Calculated(_)) => {
                self.number()?.partial_cmp(&other.number()?)
            }
            _ => None,
        }
    }

    /// `Expr::Cast`.
    pub(crate) fn cast(self, to: Type) -> Self {
        if matches!(self, Self::Null | Self::Container(_)) {
            return self;
        }
        match to {
            Type::Bool => self.to_bool(),
            Type::Number => self.to_number(),
            Type::String => self.to_text().map_or(Self::Null, Self::String),
            Type::Timestamp => self.to_timestamp(),
            Type::Interval => match self {
                Self::Interval(_) => self,
                _ => Self::Null,
            },
            Type::Severity => self.to_severity(),
        }
    }

    fn to_bool(&self) -> Self {
        match self {
            Self::Bool(value) => Self::Bool(*value),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Self::Bool(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Self::Bool(false),
            Self::Written(text) => Self::Bool(!decimal(text).is_zero()),
            Self::Calculated(number) => Self::Bool(*number != 0.0),
            _ => Self::Null,
        }
    }

    fn to_number(&self) -> Self {
        match self {
            Self::Written(_) | Self::Calculated(_) => self.clone(),
            Self::String(_) => self
                .numeric_text()
                .map_or(Self::Null, |text| Self::Written(text.to_owned())),
            Self::Bool(value) => Self::Written(u8::from(*value).to_string()),
            Self::Timestamp(time) => Self::calculated(milliseconds(*time)),
            _ => Self::Null,
        }
    }

    fn to_text(&self) -> Option<String> {
        match self {
            Self::Timestamp(time) => Some(rfc_3339(*time)),
            Self::Interval(length) => Some(length.to_string()),
            Self::Severity(severity) => Some(format!("{severity:?}")),
            _ => self.characters(),
        }
    }

    fn to_timestamp(&self) -> Self {
        match self {
            Self::Timestamp(_) => self.clone(),
            Self::String(text) => time::parse(text).map_or(Self::Null, Self::Timestamp),
            Self::Written(_) | Self::Calculated(_) => self
                .number()
                .and_then(time_of_milliseconds)
                .map_or(Self::Null, Self::Timestamp),
            _ => Self::Null,
        }
    }

    fn to_severity(&self) -> Self {
        const BY_NUMBER: [Severity; 6] = [
            Severity::Debug,
            Severity::Verbose,
            Severity::Info,
            Severity::Warning,
            Severity::Error,
            Severity::Critical,
        ];
        let number = match self {
            Self::Severity(_) => return self.clone(),
            Self::String(text) => return severity_of(text).map_or(Self::Null, Self::Severity),
            Self::Written(text) => decimal(text).to_integer(2),
            Self::Calculated(number) => decimal(&number.to_string()).to_integer(2),
            _ => None,
        };
        number
            .and_then(|number| usize::try_from(number).ok()?.checked_sub(1))
            .and_then(|index| BY_NUMBER.get(index))
            .map_or(Self::Null, |severity| Self::Severity(*severity))
    }

    /// `Expr::Read`.
    pub(crate) fn read(self, wanted: Type) -> Self {
        match (&self, wanted) {
            (Self::Container(_), _)
            | (Self::Bool(_), Type::Bool)
            | (Self::Written(_), Type::Number)
            | (Self::String(_), Type::String)
            | (Self::Timestamp(_), Type::Timestamp) => self,
            (Self::String(_), Type::Timestamp | Type::Severity) => self.cast(wanted),
            _ => Self::Null,
        }
    }
}

/// True when two values in this order pass the comparison.
fn holds(how: Compare, order: Ordering) -> bool {
    match how {
        Compare::Equal => order.is_eq(),
        Compare::NotEqual => order.is_ne(),
        Compare::Less => order.is_lt(),
        Compare::LessEqual => order.is_le(),
        Compare::Greater => order.is_gt(),
        Compare::GreaterEqual => order.is_ge(),
    }
}

/// Whether two numbers as written pass the comparison, exactly.
pub(crate) fn written_holds(how: Compare, left: &str, right: &str) -> bool {
    holds(how, written_order(left, right))
}

fn written_order(left: &str, right: &str) -> Ordering {
    decimal(left).cmp(&decimal(right))
}

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).expect("a number of an event or a rule is one")
}

/// Milliseconds since 1970 of a time, truncated downwards.
pub(crate) fn milliseconds(time: i128) -> f64 {
    time.div_euclid(MILLISECOND) as f64
}

/// The time so many milliseconds after 1970, truncated to nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range was checked; what is below a nanosecond is meant to go"
)]
pub(crate) fn time_of_milliseconds(number: f64) -> Option<i128> {
    if number.is_nan() || number.abs() >= 1e31 {
        return None;
    }
    // Apart, because a product of all of it would be rounded.
    let (whole, fraction) = (number.trunc(), number.fract());
    Some(whole as i128 * MILLISECOND + (fraction * 1e6) as i128)
}

/// RFC 3339 with `Z` and as many fraction digits as the time needs: none, 3, 6 or 9.
fn rfc_3339(time: i128) -> String {
    let (seconds, nanoseconds) = (
        time.div_euclid(1_000_000_000),
        time.rem_euclid(1_000_000_000),
    );
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (mut year, mut day) = (1970, days);
    let year_days = |year: i128| {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        if leap { 366 } else { 365 }
    };
    // A year at a time; whole cycles of 400 years first.
    year += day.div_euclid(146_097) * 400;
    day = day.rem_euclid(146_097);
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    let february = year_days(year) - 337;
    for month_days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < month_days {
            break;
        }
        day -= month_days;
        month += 1;
    }
    let fraction = match nanoseconds {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let day = day + 1;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn written(text: &str) -> Value {
        Value::Written(text.to_owned())
    }

    #[test]
    fn comparison_of_null_containers_and_types_is_as_written() {
        use Compare::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        let container = Value::Container("{}".to_owned());
        let check = |left: &Value, how: Compare, right: &Value, holds: Option<bool>| {
            assert_eq!(
                left.compare(how, right),
                holds,
                "{left:?} {how:?} {right:?}"
            );
        };
        for how in [Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual] {
            check(&container, how, &Value::Null, None);
            check(&written("1"), how, &container, None);
            check(&Value::Null, how, &Value::Null, Some(how == Equal));
            check(&Value::Null, how, &written("1"), Some(how == NotEqual));
            check(&string("1"), how, &written("1"), Some(how == NotEqual));
        }
        check(&string("a"), Less, &string("b"), Some(true));
        check(&string("Z"), Less, &string("a"), Some(true));
        check(&string("é"), Greater, &string("z"), Some(true));
        check(&written("1e2"), Equal, &written("100.0"), Some(true));
        check(
            &written("9007199254740993"),
            Equal,
            &written("9007199254740992"),
            Some(false),
        );
        check(
            &written("9007199254740993"),
            Equal,
            &Value::Calculated(9007199254740992.0),
            Some(true),
        );
        check(&Value::Bool(false), Less, &Value::Bool(true), Some(true));
        check(
            &Value::Severity(Severity::Verbose),
            Less,
            &Value::Severity(Severity::Debug),
            Some(true),
        );
    }

    #[test]
    fn conversions_to_strings_are_as_written() {
        let check = |from: Value, to: Type, expected: Value| {
            assert_eq!(from.clone().cast(to), expected, "{from:?} to {to:?}");
        };
        check(Value::Null, Type::String, Value::Null);
        check(
            Value::Container("[]".into()),
            Type::Bool,
            Value::Container("[]".into()),
        );
        check(written("1.50"), Type::String, string("1.50"));
        check(Value::Calculated(1.5), Type::String, string("1.5"));
        check(Value::Calculated(3.0), Type::String, string("3"));
        check(Value::Bool(true), Type::String, string("true"));
        check(
            Value::Timestamp(0),
            Type::String,
            string("1970-01-01T00:00:00Z"),
        );
        check(
            Value::Timestamp(1_000_000),
            Type::String,
            string("1970-01-01T00:00:00.001Z"),
        );
        check(
            Value::Timestamp(-1_000),
            Type::String,
            string("1969-12-31T23:59:59.999999Z"),
        );
        check(
            Value::Timestamp(951_782_400_000_000_001),
            Type::String,
            string("2000-02-29T00:00:00.000000001Z"),
        );
        check(
            Value::Timestamp(4_107_542_399_000_000_000),
            Type::String,
            string("2100-02-28T23:59:59Z"),
        );
        check(
            Value::Timestamp(4_107_542_400_000_000_000),
            Type::String,
            string("2100-03-01T00:00:00Z"),
        );
        check(Value::Interval(-5), Type::String, string("-5"));
        check(
            Value::Severity(Severity::Info),
            Type::String,
            string("Info"),
        );
    }

    #[test]
    fn conversions_from_strings_and_numbers_are_as_written() {
        let check = |from: Value, to: Type, expected: Value| {
            assert_eq!(from.clone().cast(to), expected, "{from:?} to {to:?}");
        };
        check(string(" 1e3\n"), Type::Number, written("1e3"));
        check(string("0x1"), Type::Number, Value::Null);
        check(string(".5"), Type::Number, Value::Null);
        check(Value::Bool(true), Type::Number, written("1"));
        check(Value::Timestamp(-1), Type::Number, Value::Calculated(-1.0));
        check(Value::Severity(Severity::Info), Type::Number, Value::Null);
        check(string("TRUE"), Type::Bool, Value::Bool(true));
        check(string("False"), Type::Bool, Value::Bool(false));
        check(string("1"), Type::Bool, Value::Null);
        check(written("-0.0e5"), Type::Bool, Value::Bool(false));
        check(written("1e-999999"), Type::Bool, Value::Bool(true));
        check(
            written("1500"),
            Type::Timestamp,
            Value::Timestamp(1_500_000_000),
        );
        check(Value::Bool(true), Type::Timestamp, Value::Null);
        check(
            string(" ERR "),
            Type::Severity,
            Value::Severity(Severity::Error),
        );
        check(
            written("1"),
            Type::Severity,
            Value::Severity(Severity::Debug),
        );
        check(
            written("2.0"),
            Type::Severity,
            Value::Severity(Severity::Verbose),
        );
        check(written("7"), Type::Severity, Value::Null);
        check(written("0"), Type::Severity, Value::Null);
        check(written("1.5"), Type::Severity, Value::Null);
    }

    #[test]
    fn a_read_converts_nothing_but_times_and_severities() {
        let check = |from: Value, wanted: Type, expected: Value| {
            assert_eq!(
                from.clone().read(wanted),
                expected,
                "{from:?} as {wanted:?}"
            );
        };
        check(written("1"), Type::Number, written("1"));
        check(written("1"), Type::String, Value::Null);
        check(string("1"), Type::Number, Value::Null);
        check(string("true"), Type::Bool, Value::Null);
        check(
            string("warn"),
            Type::Severity,
            Value::Severity(Severity::Warning),
        );
        check(written("1"), Type::Severity, Value::Null);
        check(written("1"), Type::Timestamp, Value::Null);
        check(Value::Timestamp(1), Type::Timestamp, Value::Timestamp(1));
        check(Value::Timestamp(1), Type::String, Value::Null);
        check(string("1h"), Type::Interval, Value::Null);
        check(
            Value::Container("{}".into()),
            Type::Interval,
            Value::Container("{}".into()),
        );
        check(Value::Null, Type::String, Value::Null);
    }
}
