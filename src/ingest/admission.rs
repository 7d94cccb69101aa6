//! What becomes of a line: the judgement every input asks for before a line may enter a block.
//!
//! Owns: the order of the tests and the words of their outcomes. Empty lines are skipped; lines over the limit are
//! rejected as `too_long`; lines that are not one complete JSON object as `malformed`. Pure: no I/O, no clock, no
//! counters. Leaves to others: cutting lines (`framer`), counting and keeping rejects (the shard), and asking the
//! node's exclusion rules (`exclusion`), which comes after all of these.

use super::settings::Validation;
use super::validate::{Malformed, Validator};
use crate::metrics::ledger::RejectReason;

/// The judge of one input.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    /// Longest accepted line, in bytes without its line end.
    pub line_bytes_max: usize,
    /// How much of a line is looked at.
    pub validate: Validation,
    validator: Validator,
}

/// The judgement of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is an event.
    Accept,
    /// It is empty or white space: no event, and counted nowhere but as a line.
    Skip,
    /// It is an event that an exclusion rule of the node drops.
    Exclude,
    /// It is refused for good.
    Reject(Reject),
}

/// Why a line is refused, with the facts for whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Longer than the input allows.
    #[error("the line is longer than {line_bytes_max} bytes")]
    TooLong {
        /// The limit it broke, in bytes.
        line_bytes_max: usize,
    },
    /// Not one complete JSON object.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It came over a relay, and had come over one before.
    #[error("the event came over a relay before (_meta._source); relays take one hop")]
    RelayLoop,
}

impl Reject {
    /// The kind, for counters.
    pub fn reason(&self) -> RejectReason {
        match self {
            Self::TooLong { .. } => RejectReason::TooLong,
            Self::Malformed(_) => RejectReason::Malformed,
            Self::RelayLoop => RejectReason::RelayLoop,
        }
    }
}

impl Admission {
    /// A judge with the widest instructions of this CPU.
    pub fn new(line_bytes_max: usize, validate: Validation) -> Self {
        Self {
            line_bytes_max,
            validate,
            validator: Validator::new(),
        }
    }

    /// Judges a line, given without its line end.
    #[inline]
    pub fn judge(&self, line: &[u8]) -> Verdict {
        // A line that begins with a brace, as nearly all do, is not empty.
        if line.first() != Some(&b'{') && line.trim_ascii_start().is_empty() {
            return Verdict::Skip;
        }
        if line.len() > self.line_bytes_max {
            return Verdict::Reject(Reject::TooLong {
                line_bytes_max: self.line_bytes_max,
            });
        }
        let outcome = match self.validate {
            Validation::Full => self.validator.validate(line),
            Validation::None => self.validator.validate_ends(line),
        };
        outcome.map_or_else(
            |malformed| Verdict::Reject(malformed.into()),
            |()| Verdict::Accept,
        )
    }

    /// Judges a last line that no line end followed. It is always looked at in full: a line cut short by a closing
    /// connection can end with `}` by chance, but it cannot be a complete object.
    pub fn judge_unterminated(&self, line: &[u8]) -> Verdict {
        Self {
            validate: Validation::Full,
            ..*self
        }
        .judge(line)
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::MalformedKind;
    use super::*;

    fn check(validate: Validation, line: &str, expected: Verdict) {
        assert_eq!(
            Admission::new(16, validate).judge(line.as_bytes()),
            expected,
            "{line:?}"
        );
    }

    fn malformed(at: usize, what: MalformedKind) -> Verdict {
        Verdict::Reject(Reject::Malformed(Malformed { at, what }))
    }

    #[test]
    fn lines_are_judged_in_order_empty_then_long_then_malformed() {
        let too_long = Verdict::Reject(Reject::TooLong { line_bytes_max: 16 });
        check(Validation::Full, "", Verdict::Skip);
        check(Validation::Full, " \t\r", Verdict::Skip);
        check(Validation::Full, "                       ", Verdict::Skip);
        check(Validation::Full, r#"{"a":12345678}"#, Verdict::Accept);
        check(Validation::Full, r#" {"a":12345678} "#, Verdict::Accept);
        check(Validation::Full, r#"{"a":12345678901}"#, too_long);
        check(Validation::Full, "not json at all, and long", too_long);
        check(
            Validation::Full,
            "[1]",
            malformed(0, MalformedKind::ObjectExpected),
        );
        check(
            Validation::Full,
            r#"{"a":1,}"#,
            malformed(7, MalformedKind::KeyExpected),
        );
    }

    #[test]
    fn without_validation_only_the_ends_are_looked_at() {
        check(Validation::None, "{whatever}", Verdict::Accept);
        check(Validation::None, " { } ", Verdict::Accept);
        check(
            Validation::None,
            "{",
            malformed(1, MalformedKind::UnexpectedEnd),
        );
        check(
            Validation::None,
            r#"{"a":1"#,
            malformed(6, MalformedKind::UnexpectedEnd),
        );
        check(
            Validation::None,
            "\"{}\"",
            malformed(0, MalformedKind::ObjectExpected),
        );
        check(Validation::None, "", Verdict::Skip);
    }

    #[test]
    fn an_unterminated_line_is_validated_whatever_the_mode() {
        let cut = br#"{"a":{"b":1}"#;
        let admission = Admission::new(100, Validation::None);
        assert_eq!(admission.judge(cut), Verdict::Accept);
        assert_eq!(
            admission.judge_unterminated(cut),
            malformed(12, MalformedKind::UnexpectedEnd)
        );
        assert_eq!(admission.judge_unterminated(br#"{"a":1}"#), Verdict::Accept);
    }

    #[test]
    fn rejects_explain_themselves() {
        let Verdict::Reject(reject) = Admission::new(100, Validation::Full).judge(br#"{"a" 1}"#)
        else {
            panic!("accepted");
        };
        assert_eq!(
            (reject.reason().as_str(), reject.to_string().as_str()),
            ("malformed", "byte 5: expected `:` after the key")
        );
        let long = Reject::TooLong { line_bytes_max: 7 };
        assert_eq!(
            (long.reason().as_str(), long.to_string().as_str()),
            ("too_long", "the line is longer than 7 bytes")
        );
    }
}
