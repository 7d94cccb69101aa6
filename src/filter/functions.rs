//! The functions of rules.
//!
//! Owns: every [`Function`], as its doc comment says. Promises: pure, no panic, and no result longer than its
//! arguments make it (padding ends at 1,024 characters). Leaves to others: conditions and fields.

use std::borrow::Cow;

use super::tree::Function;
use super::value::{Number, Value, address, millis_of, network_of, truncated};

/// Calls `function`; its arguments were evaluated in order.
pub(super) fn call<'a>(function: Function, arguments: &[Value<'a>]) -> Value<'a> {
    match function {
        Function::FirstNonNull => arguments
            .iter()
            .find(|value| !matches!(value, Value::Null | Value::Container(_)))
            .cloned()
            .unwrap_or(Value::Null),
        Function::If => match arguments {
            [Value::Bool(true), chosen, ..] | [_, _, chosen] => chosen.clone(),
            _ => Value::Null,
        },
        Function::IsUuid => Value::Bool(match arguments {
            [Value::String(text)] => is_uuid(text),
            _ => false,
        }),
        _ => strict(function, arguments).unwrap_or(Value::Null),
    }
}

/// Functions that are null when an argument is not what it should be.
fn strict<'a>(function: Function, arguments: &[Value<'a>]) -> Option<Value<'a>> {
    use Function::{
        Abs, Ceil, Chr, Codepoint, Concat, DecodeBase64, EncodeBase64, Floor, FromBase,
        FromUnixTime, IndexOf, IpPrefix, Length, Ln, Log, Log2, Max, Min, Mod, PadLeft, PadRight,
        Power, Round, SplitParts, Sqrt, Substr, ToBase, ToLowerCase, ToUnixTime, ToUpperCase, Trim,
        TrimEnd, TrimStart, UrlDecode, UrlEncode,
    };
    let arguments = Arguments(arguments);
    match function {
        Concat | ToLowerCase | ToUpperCase | Trim | TrimStart | TrimEnd | Substr | SplitParts
        | PadLeft | PadRight | Chr | UrlEncode | UrlDecode | EncodeBase64 | DecodeBase64
        | IpPrefix | ToBase => {
            text_result(function, &arguments).map(|text| Value::String(Cow::Owned(text)))
        }
        Length => Some(counted(arguments.text(0)?.chars().count())),
        IndexOf => {
            let (text, part) = (arguments.text(0)?, arguments.text(1)?);
            Some(match text.find(part) {
                Some(at) => counted(text[..at].chars().count()),
                None => Value::calculated(-1.0),
            })
        }
        Codepoint => {
            let mut characters = arguments.text(0)?.chars();
            let only = characters.next()?;
            characters
                .next()
                .is_none()
                .then(|| Value::calculated(f64::from(u32::from(only))))
        }
        ToUnixTime => match arguments.0.first()? {
            Value::Timestamp(nanos) => Some(millis_of(*nanos)),
            _ => None,
        },
        FromUnixTime => match arguments.0.first()? {
            Value::Number(number) => number.millis_to_nanos().map(Value::Timestamp),
            _ => None,
        },
        Abs | Ceil | Floor | Round | Sqrt | Power | Ln | Log | Log2 | Mod | Max | Min
        | FromBase => number_result(function, &arguments).map(Value::calculated),
        Function::FirstNonNull | Function::If | Function::IsUuid => None,
    }
}

struct Arguments<'v, 'a>(&'v [Value<'a>]);

impl Arguments<'_, '_> {
    fn text(&self, at: usize) -> Option<&str> {
        match self.0.get(at)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A finite number.
    fn number(&self, at: usize) -> Option<f64> {
        match self.0.get(at)? {
            Value::Number(number) => Some(number.to_f64()).filter(|number| number.is_finite()),
            _ => None,
        }
    }

    /// A position or count, truncated towards zero.
    fn whole(&self, at: usize) -> Option<i128> {
        match self.0.get(at)? {
            Value::Number(Number::Exact(digits)) => match super::number::to_integer(digits) {
                Some(integer) => Some(i128::from(integer)),
                None => truncated(self.number(at)?),
            },
            Value::Number(Number::Calculated(number)) => truncated(*number),
            _ => None,
        }
    }

    fn numbers(&self) -> Option<Vec<f64>> {
        (0..self.0.len()).map(|at| self.number(at)).collect()
    }
}

fn counted(count: usize) -> Value<'static> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "texts have fewer than 2^53 characters"
    )]
    let number = count as f64;
    Value::calculated(number)
}

fn text_result(function: Function, arguments: &Arguments<'_, '_>) -> Option<String> {
    if function == Function::Concat {
        return (0..arguments.0.len())
            .map(|at| arguments.text(at))
            .collect();
    }
    if function == Function::Chr {
        let code = u32::try_from(arguments.whole(0)?).ok()?;
        return char::from_u32(code).map(String::from);
    }
    if function == Function::ToBase {
        return to_base(arguments.whole(0)?, arguments.whole(1)?);
    }
    let text = arguments.text(0)?;
    match function {
        Function::ToLowerCase => Some(text.to_lowercase()),
        Function::ToUpperCase => Some(text.to_uppercase()),
        Function::Trim => Some(text.trim().to_owned()),
        Function::TrimStart => Some(text.trim_start().to_owned()),
        Function::TrimEnd => Some(text.trim_end().to_owned()),
        Function::Substr => substr(text, arguments),
        Function::SplitParts => {
            let (delimiter, part) = (arguments.text(1)?, arguments.whole(2)?);
            let skipped = usize::try_from(part.checked_sub(1)?).ok()?;
            if delimiter.is_empty() {
                return None;
            }
            text.split(delimiter).nth(skipped).map(str::to_owned)
        }
        Function::PadLeft | Function::PadRight => {
            let fill = padding(text, arguments.whole(1)?, arguments.text(2)?);
            Some(if function == Function::PadLeft {
                fill + text
            } else {
                format!("{text}{fill}")
            })
        }
        Function::UrlEncode => Some(url_encode(text)),
        Function::UrlDecode => url_decode(text),
        Function::EncodeBase64 => Some(encode_base64(text.as_bytes())),
        Function::DecodeBase64 => String::from_utf8(decode_base64(text.as_bytes())?).ok(),
        Function::IpPrefix => {
            let bits = u32::try_from(arguments.whole(1)?).ok()?;
            network_of(address(text)?, bits)
        }
        _ => None,
    }
}

fn substr(text: &str, arguments: &Arguments<'_, '_>) -> Option<String> {
    let from = usize::try_from(arguments.whole(1)?).ok()?;
    let count = match arguments.0.get(2) {
        Some(_) => match arguments.whole(2)? {
            count if count < 0 => return None,
            count => usize::try_from(count).unwrap_or(usize::MAX),
        },
        None => usize::MAX,
    };
    if from > text.chars().count() {
        return None;
    }
    Some(text.chars().skip(from).take(count).collect())
}

/// What makes `text` `width` characters long.
fn padding(text: &str, width: i128, fill: &str) -> String {
    let width = usize::try_from(width.clamp(0, 1024)).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    fill.chars().cycle().take(missing).collect()
}

fn number_result(function: Function, arguments: &Arguments<'_, '_>) -> Option<f64> {
    if function == Function::FromBase {
        return from_base(arguments.text(0)?, arguments.whole(1)?);
    }
    let numbers = arguments.numbers()?;
    Some(match (function, numbers.as_slice()) {
        (Function::Abs, [n]) => n.abs(),
        (Function::Ceil, [n]) => n.ceil(),
        (Function::Floor, [n]) => n.floor(),
        (Function::Round, [n]) => n.round(),
        (Function::Round, [n, digits]) => round(*n, *digits)?,
        (Function::Sqrt, [n]) => n.sqrt(),
        (Function::Power, [n, m]) => n.powf(*m),
        (Function::Ln, [n]) => n.ln(),
        (Function::Log, [base, n]) => n.log(*base),
        (Function::Log2, [n]) => n.log2(),
        (Function::Mod, [n, m]) => n % m,
        (Function::Max, [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::max),
        (Function::Min, [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::min),
        _ => return None,
    })
}

fn round(number: f64, digits: f64) -> Option<f64> {
    let digits = i32::try_from(truncated(digits)?).ok()?;
    if !(-15..=15).contains(&digits) {
        return None;
    }
    // Powers of ten up to 15 are exact, those below 0 are not: dividing by them keeps whole numbers whole.
    let power = 10_f64.powi(digits.abs());
    Some(if digits >= 0 {
        (number * power).round() / power
    } else {
        (number / power).round() * power
    })
}

/// The greatest whole number up to which floats hold every one.
const EXACT_MAX: i128 = 1 << 53;

fn from_base(text: &str, base: i128) -> Option<f64> {
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base))?;
    let whole = i128::from_str_radix(text, base).ok()?;
    #[expect(clippy::cast_precision_loss, reason = "the bound was checked")]
    (whole.abs() <= EXACT_MAX).then_some(whole as f64)
}

fn to_base(number: i128, base: i128) -> Option<String> {
    let base = u32::try_from(base)
        .ok()
        .filter(|base| (2..=36).contains(base))?;
    if number.abs() > EXACT_MAX {
        return None;
    }
    let (mut left, mut digits) = (u64::try_from(number.abs()).ok()?, Vec::new());
    loop {
        let digit = u32::try_from(left % u64::from(base)).ok()?;
        digits.push(char::from_digit(digit, base)?);
        left /= u64::from(base);
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        digits.push('-');
    }
    Some(digits.iter().rev().collect())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                out.push(digit.to_ascii_uppercase());
            }
        }
    }
    out
}

fn url_decode(text: &str) -> Option<String> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let [high, low, behind @ ..] = rest else {
            return None;
        };
        rest = behind;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        out.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
    }
    String::from_utf8(out).ok()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three
            .iter()
            .chain([0; 2].iter())
            .take(3)
            .fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for place in 0..4 {
            out.push(if place <= three.len() {
                char::from(BASE64[bits >> (18 - 6 * place) & 63])
            } else {
                '='
            });
        }
    }
    out
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in &text[..text.len() - padding] {
        let value = BASE64.iter().position(|known| known == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    // Bits behind the last byte must be 0, or two texts would stand for the same bytes.
    (bits & ((1 << count) - 1) == 0).then_some(out)
}
