//! The fast answer, 64 bytes at a time: is this trimmed line one JSON object, yes or not for certain.
//!
//! Owns: the grammar on bit masks. Promises: `true` only for a line that [`super::scalar`] accepts (but for UTF-8,
//! which the caller checks when bytes of 0x80 and above were seen). `false` means "ask the scalar parser", which
//! also finds the place and the words: wrong lines and lines nested more than 61 deep end there.
//!
//! How: a token is an opening quote, a bracket, a comma, a colon or the first byte of a number or literal. JSON's
//! grammar is local but for two things, which container a comma belongs to and whether brackets match. So:
//! - *Local rules* are set algebra on masks. "The token after one of `x`" is `(x << 1) + spaces`, where the addition
//!   carries each bit over a run of white space; the same addition over string bytes leads from a string to what
//!   follows it. Bits that leave a chunk enter the next one at bit 0.
//! - A colon behind a string that opened a container or followed a comma proves that the container is an object;
//!   anything else in that place proves an array. Each bracket gathers the *proofs* since the bracket before it.
//! - *Brackets* are packed, 64 to a word, and only these go one by one over a stack of bits, which is compared
//!   with the proofs a word at a time.
//! - Integers are checked on masks; other numbers, literals and escapes branch off to where they stand.

use super::scalar;
use crate::os::simd::{CHUNK_BYTES, Job, Vector};

/// What the masks said about one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// One object, all ASCII.
    Valid,
    /// One object, if the line is UTF-8 from this byte on (all before it is ASCII).
    ValidIfUtf8From(usize),
    /// The scalar parser decides.
    Unsure,
}

/// One line without the white space around it; it begins with `{` and ends with `}`.
pub(super) struct CheckLine<'a>(pub(super) &'a [u8]);

#[expect(
    clippy::inline_always,
    reason = "only inlined code gets the vector instructions of the caller"
)]
impl Job for CheckLine<'_> {
    type Output = Answer;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Answer {
        let line = self.0;
        let mut state = State {
            stack: EMPTY_STACK,
            non_ascii_at: usize::MAX,
            ..State::default()
        };
        let (chunks, rest) = line.as_chunks::<CHUNK_BYTES>();
        let mut base = 0;
        for chunk in chunks {
            if !state.chunk(vector, vector.load(chunk), line, base) {
                return Answer::Unsure;
            }
            base += CHUNK_BYTES;
        }
        if !rest.is_empty() && !state.chunk(vector, vector.load_partial(rest), line, base) {
            return Answer::Unsure;
        }
        state
            .brackets
            .flush(&mut state.stack, &mut state.emptied, &mut state.wrong);
        let complete = state.in_string == 0 && state.stack == EMPTY_STACK && state.emptied == 1;
        match (state.wrong == 0 && complete, state.non_ascii_at) {
            (false, _) => Answer::Unsure,
            (true, usize::MAX) => Answer::Valid,
            (true, at) => Answer::ValidIfUtf8From(at),
        }
    }
}

/// What one chunk hands to the next. Fields named `after_*` are 0 or 1: the bit that enters at bit 0.
#[derive(Default)]
struct State {
    /// Any bit set: a rule is broken somewhere.
    wrong: u64,
    /// All ones inside a string.
    in_string: u64,
    /// The first byte is escaped by the last of the chunk before.
    after_escape: u64,
    /// First bytes that must be hex digits of a `\u` escape.
    hex_due: u64,
    after_value: u64,
    after_colon: u64,
    after_comma: u64,
    after_element_string: u64,
    after_scalar: u64,
    after_zero_start: u64,
    array_proof: u64,
    object_proof: u64,
    brackets: Brackets,
    /// Open containers, innermost lowest: 1 an array, 0 an object; above them a 1 that marks the end.
    stack: u64,
    /// How often the stack became empty: exactly once, by the last bracket.
    emptied: u64,
    /// Start of the first chunk with a byte of 0x80 or above.
    non_ascii_at: usize,
}

/// No container is open. Read as a container it is an array, which is what a single value looks like.
const EMPTY_STACK: u64 = 1;

/// White space by its low four bits; index 1 holds a byte that no index-1 byte equals.
const SPACES: [u8; 16] = *b" \0\0\0\0\0\0\0\0\t\n\0\0\r\0\0";

/// What may follow a backslash, by its low four bits; `"` and `r` share theirs with `b` and are tested apart.
const ESCAPED: [u8; 16] = *b"\x01\0b\0tuf\0\0\0\0\0\\\0n/";

#[expect(
    clippy::inline_always,
    reason = "only inlined code gets the vector instructions of the caller"
)]
impl State {
    /// Takes in one chunk, which starts at `base`; `false` when the line is certainly not for the fast path.
    #[inline(always)]
    fn chunk<V: Vector>(&mut self, v: V, chunk: V::Chunk, line: &[u8], base: usize) -> bool {
        let mut quote = v.equal(chunk, b'"');
        let backslash = v.equal(chunk, b'\\');
        if backslash | self.after_escape | self.hex_due != 0 {
            quote &= !self.escapes(v, chunk, backslash, quote);
        }
        // From each opening quote up to the byte before its closing quote.
        let inside = v.prefix_xor(quote) ^ self.in_string;
        self.in_string = (inside.cast_signed() >> 63).cast_unsigned();
        self.wrong |= v.within(chunk, 0, 0x20) & inside;
        let non_ascii = v.non_ascii(chunk);
        if non_ascii != 0 {
            self.non_ascii_at = self.non_ascii_at.min(base);
        }
        let string = inside | quote;
        let tokens = Tokens {
            string,
            string_open: quote & inside,
            string_close: quote & !inside,
            open: v.equal_folded(chunk, b'{') & !string,
            close: v.equal_folded(chunk, b'}') & !string,
            colon: v.equal(chunk, b':') & !string,
            comma: v.equal(chunk, b',') & !string,
            space: v.equal_to_entry(chunk, &SPACES) & !string,
        };
        let Tokens {
            open,
            close,
            colon,
            comma,
            space,
            ..
        } = tokens;
        let scalar = !(string | open | close | colon | comma | space);
        let scalar_shifted = scalar << 1 | self.after_scalar;
        self.after_scalar = scalar >> 63;
        let scalar_start = scalar & !scalar_shifted;
        let scalar_end = scalar_shifted & !scalar;

        let digit = v.within(chunk, b'0', 10);
        let zero_start = v.equal(chunk, b'0') & scalar_start;
        self.wrong |= (zero_start << 1 | self.after_zero_start) & digit;
        self.after_zero_start = zero_start >> 63;

        let proofs = self.neighbours(&tokens, scalar_start, scalar_end);
        self.nesting(v, open, open | close, !v.bit_0x20(chunk), proofs);
        scalar & !digit == 0 || scalars_are_well_formed(line, base, scalar & !digit)
    }

    /// The local rules, and the proofs of the container kinds.
    #[inline(always)]
    fn neighbours(&mut self, tokens: &Tokens, scalar_start: u64, scalar_end: u64) -> Proofs {
        let Tokens {
            string,
            string_open,
            string_close,
            open,
            close,
            colon,
            comma,
            space,
        } = *tokens;
        let value_end = (string_close | close) << 1 | scalar_end | self.after_value;
        let (landed, over) = value_end.overflowing_add(space);
        let follows_value = landed & !space;
        self.after_value = (string_close | close) >> 63 | u64::from(over);

        let (landed, over) = (colon << 1 | self.after_colon).overflowing_add(space);
        let follows_colon = landed & !space;
        self.after_colon = colon >> 63 | u64::from(over);

        let (landed, over) = (comma << 1 | self.after_comma).overflowing_add(space);
        let follows_comma = landed & !space;
        self.after_comma = comma >> 63 | u64::from(over);

        // Strings that do not follow a colon follow a bracket or comma: keys, or elements of an array.
        let element = string_open & !follows_colon;
        let passed = string | space;
        let (landed, over) = (element | self.after_element_string).overflowing_add(passed);
        let follows_element = landed & !passed;
        self.after_element_string = u64::from(over);

        let starts = string_open | scalar_start | open;
        self.wrong |= starts & follows_value;
        self.wrong |= close & (follows_colon | follows_comma);
        self.wrong |= comma & !follows_value;
        self.wrong |= colon & !follows_element;
        Proofs {
            array: (follows_element & !colon) | ((scalar_start | open) & !follows_colon),
            object: colon,
        }
    }

    /// Packs the brackets, each with what was proved between the bracket before it and itself.
    #[inline(always)]
    fn nesting<V: Vector>(&mut self, v: V, open: u64, bracket: u64, square: u64, proofs: Proofs) {
        let array = reach(proofs.array, bracket, &mut self.array_proof);
        let object = reach(proofs.object, bracket, &mut self.object_proof);
        let count = bracket.count_ones();
        if self.brackets.count + count > u64::BITS {
            self.brackets
                .flush(&mut self.stack, &mut self.emptied, &mut self.wrong);
        }
        // A count of 64 can only stand when this chunk adds none: shifting by 63 then loses nothing.
        let place = self.brackets.count.min(63);
        self.brackets.open |= v.gather(open, bracket) << place;
        self.brackets.square |= v.gather(square, bracket) << place;
        self.brackets.array |= v.gather(array, bracket) << place;
        self.brackets.object |= v.gather(object, bracket) << place;
        self.brackets.count += count;
    }

    /// Which bytes a backslash escapes, after checking that they may be; rare, so not inlined into the loop's path.
    #[inline(always)]
    fn escapes<V: Vector>(&mut self, v: V, chunk: V::Chunk, backslash: u64, quote: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        // Runs of backslashes alternate between escaping and escaped. Subtraction finds for each run that starts with
        // an escape the end of that alternation, whatever the parity of its start (the method of simdjson).
        let starts = backslash & !self.after_escape;
        let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = alternating ^ (backslash | self.after_escape);
        self.after_escape = (alternating & backslash) >> 63;

        let permitted = v.equal_to_entry(chunk, &ESCAPED) | v.equal(chunk, b'r') | quote;
        self.wrong |= escaped & !permitted;
        let unicode = escaped & v.equal(chunk, b'u');
        let hex = v.within(chunk, b'0', 10) | v.within_folded(chunk, b'a', 6);
        let due = unicode << 1 | unicode << 2 | unicode << 3 | unicode << 4 | self.hex_due;
        self.wrong |= due & !hex;
        self.hex_due = unicode >> 63 | unicode >> 62 | unicode >> 61 | unicode >> 60;
        escaped
    }
}

/// Structure of one chunk, outside strings but for the first three.
#[derive(Clone, Copy)]
struct Tokens {
    /// Strings with both quotes.
    string: u64,
    string_open: u64,
    string_close: u64,
    open: u64,
    close: u64,
    colon: u64,
    comma: u64,
    space: u64,
}

/// Bytes that show the kind of the container they are in (for a bracket: that it is in).
#[derive(Clone, Copy)]
struct Proofs {
    array: u64,
    object: u64,
}

/// The brackets not yet compared with the stack, the first lowest, one bit a bracket in each word.
#[derive(Default)]
struct Brackets {
    count: u32,
    open: u64,
    square: u64,
    /// Something since the bracket before proves that the container is an array.
    array: u64,
    /// Something since the bracket before proves that the container is an object.
    object: u64,
}

impl Brackets {
    /// Plays the brackets over the stack, compares, and starts anew.
    #[inline]
    fn flush(&mut self, stack: &mut u64, emptied: &mut u64, wrong: &mut u64) {
        let mut containers = 0;
        let mut open = self.open;
        let mut square = self.square;
        let (mut top, mut empty) = (*stack, *emptied);
        for place in 0..self.count {
            containers |= (top & 1) << place;
            top = if open & 1 == 1 {
                top << 1 | (square & 1)
            } else {
                top >> 1
            };
            empty += u64::from(top <= EMPTY_STACK);
            // Deeper than the stack is wide: the scalar parser knows the real limit.
            *wrong |= top >> 63;
            open >>= 1;
            square >>= 1;
        }
        (*stack, *emptied) = (top, empty);
        *wrong |= self.array & !containers | self.object & containers;
        let listed = if self.count == 64 {
            u64::MAX
        } else {
            (1 << self.count) - 1
        };
        *wrong |= (self.square ^ containers) & !self.open & listed;
        *self = Self::default();
    }
}

/// The `brackets` that have one of `marks` on them or between the bracket before and themselves. `carry` brings and
/// takes a mark over the chunk's edge.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "only inlined code gets the vector instructions of the caller"
)]
fn reach(marks: u64, brackets: u64, carry: &mut u64) -> u64 {
    // A run of bytes that are no brackets is a run of ones: adding marks within it carries exactly one bit out of it.
    let between = !brackets;
    let (sum, over) = between.overflowing_add(marks & between);
    let (sum, over_carry) = sum.overflowing_add(*carry);
    *carry = u64::from(over | over_carry);
    (sum | marks) & brackets
}

/// Checks the numbers and literals that hold the bytes of `marks`, which are not digits. They may have begun in an
/// earlier chunk.
#[inline(never)]
fn scalars_are_well_formed(line: &[u8], base: usize, mut marks: u64) -> bool {
    while marks != 0 {
        let mut start = base + marks.trailing_zeros() as usize;
        // Not quadratic: a number holds at most five bytes that are no digits, and any other run ends the check.
        while start > 0 && !scalar::ends_scalar(line[start - 1]) {
            start -= 1;
        }
        let Ok(end) = scalar::skip_scalar(line, start) else {
            return false;
        };
        if line
            .get(end)
            .is_some_and(|byte| !scalar::ends_scalar(*byte))
        {
            return false;
        }
        marks = match end - base {
            0..CHUNK_BYTES => marks & u64::MAX << (end - base),
            _ => 0,
        };
    }
    true
}
