//! A body that is one JSON array of events: finds the elements and judges each like a line.
//!
//! Owns: the array's own structure (its brackets and the commas between elements), and the one change it makes to
//! bytes: a raw line break outside strings becomes a space, since events are stored one a line. Promises: an array
//! whose structure is broken yields an error with its place, and no element; an element that is wrong in itself is
//! rejected alone. Pure, one pass, no recursion. Leaves the elements' grammar to the judge.

use super::admission::Verdict;
use crate::limits::NESTING_DEPTH_MAX;
use std::ops::Range;

/// One element of the array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Where it stands in the body, without the white space around it.
    pub span: Range<usize>,
    /// What the judge said.
    pub verdict: Verdict,
}

/// The body is not an array of elements parted by commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub struct BrokenArray {
    /// Place in the body, in bytes from 0; its length when the body ended too early.
    pub at: usize,
    /// What was expected there.
    pub what: BrokenArrayKind,
}

/// What was expected where the array's structure broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenArrayKind {
    /// The body does not begin with `[`.
    #[error("expected `[`")]
    ArrayExpected,
    /// A comma without an element before or behind it.
    #[error("expected an event")]
    ElementExpected,
    /// Two elements without a comma, or a bracket that closes what was not open.
    #[error("expected `,` or `]` after the event")]
    CommaOrBracketExpected,
    /// A closing bracket of the other kind than the open one.
    #[error("this bracket does not match the one it closes")]
    BracketMismatch,
    /// The body ended within the array.
    #[error("the body ends before the array is closed")]
    UnexpectedEnd,
    /// Something follows the array.
    #[error("expected the end of the body after the array")]
    Trailing,
}

/// True when the body's first byte that is no white space is `[`.
pub fn is_array(body: &[u8]) -> bool {
    body.iter().find(|byte| !is_space(**byte)) == Some(&b'[')
}

/// The elements in order, each judged; line breaks between tokens become spaces in `body`.
///
/// # Errors
/// [`BrokenArray`] when the body is not an array of elements parted by commas. Then nothing may be admitted.
pub fn split(
    body: &mut [u8],
    mut judge: impl FnMut(&[u8]) -> Verdict,
) -> Result<Vec<Element>, BrokenArray> {
    let mut elements = Vec::new();
    let mut at = skip_space(body, 0);
    if body.get(at) != Some(&b'[') {
        return Err(BrokenArray {
            at,
            what: BrokenArrayKind::ArrayExpected,
        });
    }
    at = skip_space(body, at + 1);
    if body.get(at) == Some(&b']') {
        return ended(body, at + 1, elements);
    }
    loop {
        let span = element(body, at)?;
        let verdict = judge(&body[span.clone()]);
        at = skip_space(body, span.end);
        elements.push(Element { span, verdict });
        match body.get(at) {
            Some(b',') => at = skip_space(body, at + 1),
            Some(b']') => return ended(body, at + 1, elements),
            Some(_) => {
                return Err(BrokenArray {
                    at,
                    what: BrokenArrayKind::CommaOrBracketExpected,
                });
            }
            None => {
                return Err(BrokenArray {
                    at,
                    what: BrokenArrayKind::UnexpectedEnd,
                });
            }
        }
    }
}

/// Only white space may follow the array.
fn ended(body: &[u8], end: usize, elements: Vec<Element>) -> Result<Vec<Element>, BrokenArray> {
    let at = skip_space(body, end);
    if at == body.len() {
        Ok(elements)
    } else {
        Err(BrokenArray {
            at,
            what: BrokenArrayKind::Trailing,
        })
    }
}

/// The element that begins at `start`: to the bracket that closes its first, or, where it is no container, to the
/// next comma or bracket.
fn element(body: &mut [u8], start: usize) -> Result<Range<usize>, BrokenArray> {
    let mut open = Open::default();
    let mut at = start;
    loop {
        let broken = |what| Err(BrokenArray { at, what });
        match body.get(at) {
            None => return broken(BrokenArrayKind::UnexpectedEnd),
            Some(b'"') => at = skip_string(body, at)?,
            Some(b',' | b']') if open.depth == 0 && at == start => {
                return broken(BrokenArrayKind::ElementExpected);
            }
            Some(b',' | b']') if open.depth == 0 => return Ok(start..trimmed_end(body, start, at)),
            Some(b'{' | b'[') if open.depth == 0 && at > start => {
                return broken(BrokenArrayKind::CommaOrBracketExpected);
            }
            Some(byte @ (b'{' | b'[')) => {
                open.push(*byte == b'[');
                at += 1;
            }
            Some(b'}') if open.depth == 0 => {
                return broken(BrokenArrayKind::CommaOrBracketExpected);
            }
            Some(byte @ (b'}' | b']')) => {
                if !open.pop(*byte == b']') {
                    return broken(BrokenArrayKind::BracketMismatch);
                }
                at += 1;
                if open.depth == 0 {
                    return Ok(start..at);
                }
            }
            Some(b'\n' | b'\r') => {
                body[at] = b' ';
                at += 1;
            }
            Some(_) => at += 1,
        }
    }
}

/// The place behind the string that begins at `start`.
fn skip_string(body: &[u8], start: usize) -> Result<usize, BrokenArray> {
    let mut at = start + 1;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'"', b'\\', rest) else {
            return Err(BrokenArray {
                at: body.len(),
                what: BrokenArrayKind::UnexpectedEnd,
            });
        };
        at += found;
        if body[at] == b'"' {
            return Ok(at + 1);
        }
        at += 2;
    }
}

fn trimmed_end(body: &[u8], start: usize, end: usize) -> usize {
    end - body[start..end]
        .iter()
        .rev()
        .take_while(|byte| is_space(**byte))
        .count()
}

fn skip_space(body: &[u8], at: usize) -> usize {
    at + body
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| is_space(**byte))
        .count()
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The open containers of one element.
#[derive(Default)]
struct Open {
    depth: usize,
    /// 1 for an array, the innermost lowest. Deeper than its width the kinds are not known: the element is nested too
    /// deep for any judge, and only its end matters.
    arrays: u128,
}

const _: () = assert!(
    NESTING_DEPTH_MAX <= u128::BITS as usize,
    "an element a judge accepts has all its kinds known"
);

impl Open {
    fn push(&mut self, array: bool) {
        self.depth += 1;
        if self.depth <= NESTING_DEPTH_MAX {
            self.arrays = self.arrays << 1 | u128::from(array);
        }
    }

    /// False when the innermost container is of the other kind.
    fn pop(&mut self, array: bool) -> bool {
        let known = self.depth <= NESTING_DEPTH_MAX;
        let matches = !known || (self.arrays & 1 == 1) == array;
        if known {
            self.arrays >>= 1;
        }
        self.depth -= 1;
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::Admission;
    use super::*;
    use crate::ingest::settings::Validation;
    use proptest::prelude::*;
    use serde_json::Value;

    fn elements(body: &str) -> Result<Vec<(String, bool)>, BrokenArray> {
        let mut bytes = body.as_bytes().to_vec();
        let admission = Admission::new(1 << 20, Validation::Full);
        let elements = split(&mut bytes, |line| admission.judge(line))?;
        let text =
            |element: &Element| String::from_utf8_lossy(&bytes[element.span.clone()]).into_owned();
        Ok(elements
            .iter()
            .map(|element| (text(element), element.verdict == Verdict::Accept))
            .collect())
    }

    fn check(body: &str, expected: &[(&str, bool)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(text, good)| ((*text).to_owned(), *good))
            .collect();
        assert_eq!(elements(body), Ok(expected), "{body:?}");
    }

    fn check_broken(body: &str, at: usize, what: BrokenArrayKind) {
        assert_eq!(elements(body), Err(BrokenArray { at, what }), "{body:?}");
    }

    #[test]
    fn elements_keep_their_bytes_and_lose_their_line_breaks() {
        check("[]", &[]);
        check(" [ \n ] \n", &[]);
        check(
            r#"[{"a":1},{"b":[1,2,{}]}]"#,
            &[(r#"{"a":1}"#, true), (r#"{"b":[1,2,{}]}"#, true)],
        );
        check(
            "[\n  {\r\n\t\"a\" : 1 }\n,{}]\n",
            &[("{  \t\"a\" : 1 }", true), ("{}", true)],
        );
        check(r#"[{"a":"]},{\"["}]"#, &[(r#"{"a":"]},{\"["}"#, true)]);
    }

    #[test]
    fn an_element_wrong_in_itself_is_rejected_alone() {
        check(
            r#"[1, {"a":1},"x" ,[{}]]"#,
            &[
                ("1", false),
                (r#"{"a":1}"#, true),
                ("\"x\"", false),
                ("[{}]", false),
            ],
        );
        check(
            r#"[{"a":tru},{}]"#,
            &[(r#"{"a":tru}"#, false), ("{}", true)],
        );
        check(
            "[{\"a\":\"x\ny\"},{}]",
            &[("{\"a\":\"x\ny\"}", false), ("{}", true)],
        );
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        check(&format!("[{deep},{{}}]"), &[(&deep, false), ("{}", true)]);
    }

    #[test]
    fn a_broken_array_yields_nothing_and_says_where() {
        check_broken("", 0, BrokenArrayKind::ArrayExpected);
        check_broken(" {}", 1, BrokenArrayKind::ArrayExpected);
        check_broken("[", 1, BrokenArrayKind::UnexpectedEnd);
        check_broken("[{}", 3, BrokenArrayKind::UnexpectedEnd);
        check_broken("[{},]", 4, BrokenArrayKind::ElementExpected);
        check_broken("[,{}]", 1, BrokenArrayKind::ElementExpected);
        check_broken("[{} {}]", 4, BrokenArrayKind::CommaOrBracketExpected);
        check_broken("[1 {}]", 3, BrokenArrayKind::CommaOrBracketExpected);
        check_broken("[}]", 1, BrokenArrayKind::CommaOrBracketExpected);
        check_broken("[{]}]", 2, BrokenArrayKind::BracketMismatch);
        check_broken("[{}] x", 5, BrokenArrayKind::Trailing);
        check_broken(r#"[{"a":"]"#, 8, BrokenArrayKind::UnexpectedEnd);
        check_broken("[\"\\", 3, BrokenArrayKind::UnexpectedEnd);
    }

    proptest! {
        #[test]
        fn valid_arrays_split_as_serde_json_splits_them(body in "[\\[\\]{},:\"\\\\ \n1a]{0,24}") {
            let body = format!("[{body}]");
            if let Ok(expected) = serde_json::from_str::<Vec<Value>>(&body) {
                let split = elements(&body);
                prop_assert_eq!(split.as_ref().map(Vec::len), Ok(expected.len()));
                for ((text, _), value) in split.iter().flatten().zip(expected) {
                    prop_assert_eq!(serde_json::from_str::<Value>(text).ok(), Some(value));
                }
            }
        }

        #[test]
        fn no_body_makes_it_panic_or_leave_a_line_break_in_an_event(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut bytes = [b"[{\"", body.as_slice(), b"]"].concat();
            let admission = Admission::new(1 << 20, Validation::Full);
            if let Ok(elements) = split(&mut bytes, |line| admission.judge(line)) {
                for element in elements.iter().filter(|element| element.verdict == Verdict::Accept) {
                    prop_assert!(!bytes[element.span.clone()].contains(&b'\n'));
                }
            }
        }
    }
}
