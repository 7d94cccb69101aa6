//! Functions and arithmetic of the slow evaluator.
//!
//! Owns: what each `Function` yields for values already evaluated, as its doc comment has it. `If`, whose first
//! argument is a condition, is left to the evaluator.

use weir::filter::tree::{Arithmetic, Function};

use super::text;
use super::value::{Value, milliseconds, time_of_milliseconds};

/// Two to the 53rd.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A function of these arguments.
pub(crate) fn call(function: Function, arguments: &[Value]) -> Value {
    match function {
        Function::IsUuid => Value::Bool(arguments[0].text().is_some_and(is_uuid)),
        Function::FirstNonNull => arguments
            .iter()
            .find(|value| !matches!(value, Value::Null | Value::Container(_)))
            .cloned()
            .unwrap_or(Value::Null),
        Function::ToUnixTime => match arguments[0] {
            Value::Timestamp(time) => Value::calculated(milliseconds(time)),
            _ => Value::Null,
        },
        _ => of_texts(function, arguments)
            .map(Value::String)
            .or_else(|| of_numbers(function, arguments).map(Value::calculated))
            .or_else(|| time(function, arguments).map(Value::Timestamp))
            .unwrap_or(Value::Null),
    }
}

fn time(function: Function, arguments: &[Value]) -> Option<i128> {
    match function {
        Function::FromUnixTime => time_of_milliseconds(finite(&arguments[0])?),
        _ => None,
    }
}

/// Functions that yield a string.
fn of_texts(function: Function, arguments: &[Value]) -> Option<String> {
    let string = |index: usize| arguments.get(index)?.text();
    let number = |index: usize| finite(arguments.get(index)?);
    match function {
        Function::Concat => arguments.iter().map(Value::text).collect(),
        Function::ToLowerCase => Some(string(0)?.to_lowercase()),
        Function::ToUpperCase => Some(string(0)?.to_uppercase()),
        Function::Trim => Some(string(0)?.trim().to_owned()),
        Function::TrimStart => Some(string(0)?.trim_start().to_owned()),
        Function::TrimEnd => Some(string(0)?.trim_end().to_owned()),
        Function::Substr => {
            let count = match arguments.get(2) {
                Some(count) => finite(count)?,
                None => f64::INFINITY,
            };
            substring(string(0)?, number(1)?.trunc(), count.trunc())
        }
        Function::SplitParts => {
            let delimiter = string(1).filter(|delimiter| !delimiter.is_empty())?;
            let wanted = number(2)?.trunc();
            let parts = string(0)?.split(delimiter).zip(1..);
            parts
                .filter(|(_, place)| f64::from(*place) == wanted)
                .map(|(part, _)| part.to_owned())
                .next()
        }
        Function::PadLeft => {
            let filling = padding(string(0)?, number(1)?, string(2)?);
            Some(filling + string(0)?)
        }
        Function::PadRight => {
            let filling = padding(string(0)?, number(1)?, string(2)?);
            Some(string(0)?.to_owned() + &filling)
        }
        Function::Chr => {
            let code = whole(number(0)?)?;
            char::from_u32(u32::try_from(code).ok()?).map(String::from)
        }
        Function::UrlEncode => Some(text::url_encode(string(0)?)),
        Function::UrlDecode => text::url_decode(string(0)?),
        Function::EncodeBase64 => Some(text::base64_encode(string(0)?)),
        Function::DecodeBase64 => text::base64_decode(string(0)?),
        Function::IpPrefix => text::network(string(0)?, count_of(number(1)?)?),
        Function::ToBase => to_base(number(0)?, number(1)?),
        _ => None,
    }
}

/// Functions that yield a number.
fn of_numbers(function: Function, arguments: &[Value]) -> Option<f64> {
    let string = |index: usize| arguments.get(index)?.text();
    let number = |index: usize| finite(arguments.get(index)?);
    match function {
        Function::Length => Some(string(0)?.chars().count() as f64),
        Function::IndexOf => Some(index_of(string(0)?, string(1)?)),
        Function::Codepoint => {
            let mut characters = string(0)?.chars();
            let only = characters.next()?;
            characters
                .next()
                .is_none()
                .then(|| f64::from(u32::from(only)))
        }
        Function::Abs => Some(number(0)?.abs()),
        Function::Ceil => Some(number(0)?.ceil()),
        Function::Floor => Some(number(0)?.floor()),
        Function::Round => {
            let digits = match arguments.get(1) {
                Some(digits) => finite(digits)?.trunc(),
                None => 0.0,
            };
            round(number(0)?, digits)
        }
        Function::Sqrt => Some(number(0)?.sqrt()),
        Function::Power => Some(number(0)?.powf(number(1)?)),
        Function::Ln => Some(number(0)?.ln()),
        Function::Log => Some(number(1)?.ln() / number(0)?.ln()),
        Function::Log2 => Some(number(0)?.log2()),
        Function::Mod => Some(number(0)? % number(1)?),
        Function::Max => extreme(arguments, f64::max),
        Function::Min => extreme(arguments, f64::min),
        Function::FromBase => from_base(string(0)?, number(1)?),
        _ => None,
    }
}

/// A number within `f64`.
fn finite(argument: &Value) -> Option<f64> {
    argument.number().filter(|number| number.is_finite())
}

/// `Expr::Arithmetic`.
pub(crate) fn arithmetic(operator: Arithmetic, left: &Value, right: &Value) -> Value {
    use Arithmetic::{Add, Subtract};
    use Value::{Interval, Timestamp};
    if let (Some(left), Some(right)) = (left.number(), right.number()) {
        return Value::calculated(match operator {
            Add => left + right,
            Subtract => left - right,
            Arithmetic::Multiply => left * right,
            Arithmetic::Divide => left / right,
            Arithmetic::Remainder => left % right,
        });
    }
    let (sum, as_time) = match (left, operator, right) {
        (Timestamp(time), Add, Interval(length)) | (Interval(length), Add, Timestamp(time)) => {
            (time.checked_add(*length), true)
        }
        (Timestamp(time), Subtract, Interval(length)) => (time.checked_sub(*length), true),
        (Timestamp(late), Subtract, Timestamp(early)) => (late.checked_sub(*early), false),
        (Interval(one), Add, Interval(other)) => (one.checked_add(*other), false),
        (Interval(one), Subtract, Interval(other)) => (one.checked_sub(*other), false),
        _ => (None, false),
    };
    let of_kind = if as_time { Timestamp } else { Interval };
    sum.map_or(Value::Null, of_kind)
}

/// A number truncated towards zero, when it is one of at most 2^53.
fn whole(number: f64) -> Option<i64> {
    let number = number.trunc();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number of at most 2^53 fits"
    )]
    (number.abs() <= WHOLE_MAX).then_some(number as i64)
}

/// A number truncated towards zero, when it is not negative.
fn count_of(number: f64) -> Option<usize> {
    usize::try_from(whole(number)?).ok()
}

fn substring(text: &str, from: f64, count: f64) -> Option<String> {
    let characters: Vec<char> = text.chars().collect();
    if from < 0.0 || from > characters.len() as f64 || count < 0.0 {
        return None;
    }
    let behind = &characters[count_of(from)?..];
    let taken = behind
        .iter()
        .zip(0_u32..)
        .take_while(|(_, place)| f64::from(*place) < count);
    Some(taken.map(|(character, _)| character).collect())
}

fn index_of(text: &str, wanted: &str) -> f64 {
    let characters: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = wanted.chars().collect();
    (0..=characters.len())
        .find(|&start| characters[start..].starts_with(&wanted))
        .map_or(-1.0, |start| start as f64)
}

/// What has to stand before or behind the text to make it `width` characters long.
fn padding(text: &str, width: f64, fill: &str) -> String {
    let missing = width.trunc().min(1024.0) - text.chars().count() as f64;
    fill.chars()
        .cycle()
        .take(count_of(missing).unwrap_or(0))
        .collect()
}

fn round(number: f64, digits: f64) -> Option<f64> {
    if digits.abs() > 15.0 {
        return None;
    }
    let factor = 10_f64.powi(i32::try_from(whole(digits.abs())?).ok()?);
    Some(if digits < 0.0 {
        (number / factor).round() * factor
    } else {
        (number * factor).round() / factor
    })
}

fn extreme(arguments: &[Value], better: fn(f64, f64) -> f64) -> Option<f64> {
    let numbers: Vec<f64> = arguments.iter().map(finite).collect::<Option<_>>()?;
    numbers.into_iter().reduce(better)
}

fn base(base: f64) -> Option<u32> {
    let base = u32::try_from(whole(base)?).ok()?;
    (2..=36).contains(&base).then_some(base)
}

fn from_base(text: &str, radix: f64) -> Option<f64> {
    let radix = base(radix)?;
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for digit in digits.chars() {
        number = number * u64::from(radix) + u64::from(digit.to_digit(radix)?);
        if number > 1 << 53 {
            return None;
        }
    }
    let whole = i64::try_from(number).ok()?;
    Some(if negative { -whole } else { whole } as f64)
}

fn to_base(number: f64, radix: f64) -> Option<String> {
    let radix = base(radix)?;
    let number = whole(number)?;
    let mut rest = number.unsigned_abs();
    let mut digits = Vec::new();
    while rest > 0 || digits.is_empty() {
        let digit = u32::try_from(rest % u64::from(radix)).ok()?;
        digits.push(char::from_digit(digit, radix)?);
        rest /= u64::from(radix);
    }
    if number < 0 {
        digits.push('-');
    }
    Some(digits.into_iter().rev().collect())
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    fn number(text: &str) -> Value {
        Value::Written(text.to_owned())
    }

    fn check(function: Function, arguments: &[Value], expected: &Value) {
        assert_eq!(
            call(function, arguments),
            *expected,
            "{function:?} {arguments:?}"
        );
    }

    #[test]
    fn string_functions_are_as_written() {
        use Function::{
            Chr, Codepoint, Concat, IndexOf, Length, PadLeft, PadRight, SplitParts, Substr, Trim,
        };
        let null = Value::Null;
        check(Concat, &[text("a"), text("b")], &text("ab"));
        check(Concat, &[text("a"), null.clone()], &null);
        check(Length, &[text("aé😀")], &Value::Calculated(3.0));
        check(Length, &[number("1")], &null);
        check(Length, &[Value::Container("[]".into())], &null);
        check(IndexOf, &[text("éab"), text("ab")], &Value::Calculated(1.0));
        check(IndexOf, &[text("a"), text("b")], &Value::Calculated(-1.0));
        check(IndexOf, &[text(""), text("")], &Value::Calculated(0.0));
        check(Trim, &[text("\u{3000} a\n")], &text("a"));
        check(Substr, &[text("aéb"), number("1")], &text("éb"));
        check(
            Substr,
            &[text("aéb"), number("1.9"), number("1")],
            &text("é"),
        );
        check(Substr, &[text("ab"), number("2")], &text(""));
        check(Substr, &[text("ab"), number("3")], &null);
        check(Substr, &[text("ab"), number("-1")], &null);
        check(Substr, &[text("ab"), number("0"), number("-1")], &null);
        check(Substr, &[text("ab"), number("0"), null.clone()], &null);
        check(
            SplitParts,
            &[text("a,b"), text(","), number("2")],
            &text("b"),
        );
        check(SplitParts, &[text("a,b"), text(","), number("3")], &null);
        check(SplitParts, &[text("a,b"), text(","), number("0")], &null);
        check(SplitParts, &[text("a,b"), text(""), number("1")], &null);
        check(
            PadLeft,
            &[text("a"), number("4"), text("xy")],
            &text("xyxa"),
        );
        check(
            PadRight,
            &[text("a"), number("4"), text("xy")],
            &text("axyx"),
        );
        check(Chr, &[number("233")], &text("é"));
        check(Chr, &[number("55296")], &null);
        check(Codepoint, &[text("é")], &Value::Calculated(233.0));
        check(Codepoint, &[text("ab")], &null);
        check(Codepoint, &[text("")], &null);
    }

    #[test]
    fn number_functions_are_as_written() {
        use Function::{FromBase, Max, Min, Round, Sqrt, ToBase};
        let null = Value::Null;
        check(Round, &[number("2.5")], &Value::Calculated(3.0));
        check(Round, &[number("-2.5")], &Value::Calculated(-3.0));
        check(
            Round,
            &[number("1.25"), number("1")],
            &Value::Calculated(1.3),
        );
        check(
            Round,
            &[number("1250"), number("-2")],
            &Value::Calculated(1300.0),
        );
        check(Round, &[number("1"), number("16")], &null);
        check(Sqrt, &[number("-1")], &null);
        check(
            Max,
            &[number("1"), number("2"), number("-3")],
            &Value::Calculated(2.0),
        );
        check(Min, &[number("1"), null.clone()], &null);
        check(
            FromBase,
            &[text("-fF"), number("16")],
            &Value::Calculated(-255.0),
        );
        check(
            FromBase,
            &[text("20000000000000"), number("16")],
            &Value::Calculated(9007199254740992.0),
        );
        check(FromBase, &[text("20000000000001"), number("16")], &null);
        check(FromBase, &[text(""), number("10")], &null);
        check(FromBase, &[text("12"), number("2")], &null);
        check(FromBase, &[text("12"), number("37")], &null);
        check(ToBase, &[number("-255.9"), number("16")], &text("-ff"));
        check(ToBase, &[number("-0.5"), number("2")], &text("0"));
        check(ToBase, &[number("9007199254740994"), number("2")], &null);
    }

    #[test]
    fn general_and_time_functions_are_as_written() {
        use Function::{FirstNonNull, FromUnixTime, IsUuid, ToUnixTime};
        let null = Value::Null;
        let container = Value::Container("{}".into());
        check(
            FirstNonNull,
            &[null.clone(), container.clone(), text("a")],
            &text("a"),
        );
        check(FirstNonNull, &[null.clone(), container.clone()], &null);
        check(
            IsUuid,
            &[text("01234567-89ab-CDEF-0123-456789abcdef")],
            &Value::Bool(true),
        );
        check(
            IsUuid,
            &[text("0123456789abCDEF0123456789abcdef")],
            &Value::Bool(false),
        );
        check(IsUuid, std::slice::from_ref(&null), &Value::Bool(false));
        check(IsUuid, &[container], &Value::Bool(false));
        check(
            ToUnixTime,
            &[Value::Timestamp(-1)],
            &Value::Calculated(-1.0),
        );
        check(FromUnixTime, &[number("1.5")], &Value::Timestamp(1_500_000));
    }

    #[test]
    fn arithmetic_is_as_written() {
        use Arithmetic::{Add, Divide, Remainder, Subtract};
        let check = |operator, left: &Value, right: &Value, expected: &Value| {
            assert_eq!(
                arithmetic(operator, left, right),
                *expected,
                "{left:?} {operator:?} {right:?}"
            );
        };
        let (time, length) = (Value::Timestamp(10), Value::Interval(3));
        check(Add, &number("1"), &number("2"), &Value::Calculated(3.0));
        check(Divide, &number("1"), &number("0"), &Value::Null);
        check(
            Divide,
            &number("1"),
            &number("1e999"),
            &Value::Calculated(0.0),
        );
        check(
            Remainder,
            &number("-7"),
            &number("4"),
            &Value::Calculated(-3.0),
        );
        check(Add, &number("1"), &Value::Null, &Value::Null);
        check(
            Add,
            &number("1"),
            &Value::Container("[]".into()),
            &Value::Null,
        );
        check(Add, &time, &length, &Value::Timestamp(13));
        check(Add, &length, &time, &Value::Timestamp(13));
        check(Subtract, &time, &length, &Value::Timestamp(7));
        check(Subtract, &time, &time, &Value::Interval(0));
        check(Subtract, &length, &length, &Value::Interval(0));
        check(Subtract, &length, &time, &Value::Null);
    }
}
