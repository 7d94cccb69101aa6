//! The fast answer, up to 512 bytes at a time: is this trimmed line one JSON object, yes or not for certain.
//!
//! Owns: the grammar on bit masks. Promises: [`Answer::Valid`] only for a line that [`super::scalar`] accepts. Unsure
//! means "ask the scalar parser", which also finds the place and the words: wrong lines and lines nested more than 61
//! deep end there.
//!
//! How: a token is an opening quote, a bracket, a comma, a colon or the first byte of a number or literal. JSON's
//! grammar is local but for two things, which container a comma belongs to and whether brackets match. So:
//! - *Masks.* Each byte is looked up in a table of classes, whose eight bits become eight masks. With AVX-512 the masks of
//!   a group of eight chunks are one number of 512 bits each, and all that follows happens once per group.
//! - *Local rules* are set algebra. "The token after one of `x`" is `(x << 1) + spaces`, where the addition carries each
//!   bit over a run of white space; the same addition over string bytes leads from a string to what follows it. Bits
//!   that leave a group enter the next one at its bottom.
//! - A colon behind a string that opened a container or followed a comma proves that the container is an object;
//!   anything else in that place proves an array. Each bracket gathers the *proofs* since the bracket before it, and a
//!   closing bracket is a proof of its own kind; so each bracket says what container it must be in.
//! - *Brackets* are packed, 64 to a word, and only these go one by one over a stack of bits, which is compared with what
//!   they said a word at a time.
//! - Integers are checked on masks; other numbers, literals and escapes branch off to where they stand.

use super::scalar;
use crate::os::simd::{CHUNK_BYTES, ClassTable, Classes, Job, Planes, Vector};

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

impl Job for CheckLine<'_> {
    type Output = Answer;

    #[inline(always)]
    fn run<V: Vector>(self, vector: V) -> Answer {
        let line = self.0;
        let mut state = State::new(vector);
        let mut bytes = line;
        let mut planes = vector.planes::<Grammar>(bytes);
        while !bytes.is_empty() {
            let base = line.len() - bytes.len();
            let pending = state.group(vector, &planes, bytes, base);
            let rest = bytes
                .get(V::GROUP_CHUNKS * CHUNK_BYTES..)
                .unwrap_or_default();
            // The grammar is one long chain of dependent steps, the masks are none: made here, between a group's
            // grammar and its brackets, the masks of the next group cost next to nothing.
            if !rest.is_empty() {
                planes = vector.planes::<Grammar>(rest);
            }
            state.nesting(vector, &pending);
            if vector.any(pending.odd) {
                let marks = vector.words(pending.odd);
                if !state
                    .scalars
                    .list(line, base, &marks.as_ref()[..pending.chunks])
                {
                    return Answer::Unsure;
                }
            }
            bytes = rest;
        }
        if !state.scalars.check(line) {
            return Answer::Unsure;
        }
        state.brackets.flush(&mut state.stack);
        let complete =
            state.in_string == 0 && state.stack.containers == EMPTY && state.stack.emptied == 1;
        if !complete || state.stack.wrong != 0 || vector.any(state.wrong) {
            return Answer::Unsure;
        }
        match state.non_ascii_at {
            usize::MAX => Answer::Valid,
            at => Answer::ValidIfUtf8From(at),
        }
    }
}

// The bits of a class. What a byte is to JSON's grammar outside strings, and what ends or breaks a string.
const QUOTE: u8 = 1 << 0;
const BACKSLASH: u8 = 1 << 1;
const CONTROL: u8 = 1 << 2;
const SPACE: u8 = 1 << 3;
const BRACKET: u8 = 1 << 4;
/// With `BRACKET`: it opens. Alone: a colon or comma.
const OPEN: u8 = 1 << 5;
/// With `BRACKET`: a square one. With `OPEN` alone: a colon. With `DIGIT`: zero.
const SECOND: u8 = 1 << 6;
const DIGIT: u8 = 1 << 7;

/// What every byte is to the grammar.
struct Grammar;

impl ClassTable for Grammar {
    const CLASSES: Classes = {
        let mut classes = [0; 128];
        let mut at = 0;
        while at < 0x20 {
            classes[at] = CONTROL;
            at += 1;
        }
        at = b'1' as usize;
        while at <= b'9' as usize {
            classes[at] = DIGIT;
            at += 1;
        }
        classes[b'0' as usize] = DIGIT | SECOND;
        classes[b'"' as usize] = QUOTE;
        classes[b'\\' as usize] = BACKSLASH;
        classes[b' ' as usize] = SPACE;
        classes[b'\t' as usize] = CONTROL | SPACE;
        classes[b'\n' as usize] = CONTROL | SPACE;
        classes[b'\r' as usize] = CONTROL | SPACE;
        classes[b'{' as usize] = BRACKET | OPEN;
        classes[b'[' as usize] = BRACKET | OPEN | SECOND;
        classes[b'}' as usize] = BRACKET;
        classes[b']' as usize] = BRACKET | SECOND;
        classes[b',' as usize] = OPEN;
        classes[b':' as usize] = OPEN | SECOND;
        classes
    };
}

/// What may follow a backslash: bit 0 any such byte, bit 1 `u`, bit 2 a hex digit.
struct Escapes;

impl ClassTable for Escapes {
    const CLASSES: Classes = {
        let mut classes = [0; 128];
        let (mut at, after_backslash, hex) = (0, b"\"\\/bfnrtu", b"0123456789abcdefABCDEF");
        while at < after_backslash.len() {
            classes[after_backslash[at] as usize] = 1;
            at += 1;
        }
        classes[b'u' as usize] |= 2;
        at = 0;
        while at < hex.len() {
            classes[hex[at] as usize] |= 4;
            at += 1;
        }
        classes
    };
}

/// What one group hands to the next.
struct State<V: Vector> {
    /// Any bit set: a rule is broken somewhere.
    wrong: V::Wide,
    /// The last group's masks, whose top bits enter the next at the bottom.
    before: Before<V::Wide>,
    /// The carries of additions, 0 or 1.
    carry: Carry,
    /// 1 within a string.
    in_string: u64,
    /// 1 when the first byte is escaped by the last of the group before.
    after_escape: u64,
    /// Hex digits of a `\u` escape reach into this group.
    hex_due: bool,
    brackets: Brackets,
    stack: Stack,
    scalars: OddScalars,
    /// Start of the first group with a byte of 0x80 or above.
    non_ascii_at: usize,
}

struct Before<W> {
    scalar: W,
    zero_start: W,
    value_close: W,
    colon: W,
    comma: W,
    /// The bytes one to four places behind the `u` of an escape, less one each.
    hex_due: [W; 4],
}

#[derive(Default)]
struct Carry {
    value: u64,
    colon: u64,
    comma: u64,
    element: u64,
    array: u64,
    object: u64,
}

impl<V: Vector> State<V> {
    #[inline(always)]
    fn new(v: V) -> Self {
        let none = v.none();
        Self {
            wrong: none,
            before: Before {
                scalar: none,
                zero_start: none,
                value_close: none,
                colon: none,
                comma: none,
                hex_due: [none; 4],
            },
            carry: Carry::default(),
            in_string: 0,
            after_escape: 0,
            hex_due: false,
            brackets: Brackets::default(),
            stack: Stack::default(),
            scalars: OddScalars::default(),
            non_ascii_at: usize::MAX,
        }
    }

    /// Checks the grammar of the first group of `bytes`, which starts at `base`, but for what it leaves pending.
    #[inline(always)]
    fn group(&mut self, v: V, planes: &Planes<V::Wide>, bytes: &[u8], base: usize) -> Pending<V> {
        let Planes { planes, ascii } = *planes;
        let [
            mut quote,
            backslash,
            control,
            space,
            bracket,
            first,
            second,
            digit,
        ] = planes;
        if !ascii {
            self.non_ascii_at = self.non_ascii_at.min(base);
        }
        if v.any(backslash) || self.after_escape != 0 || self.hex_due {
            quote = quote & !self.escapes(v, backslash, bytes);
        }
        // From each opening quote up to the byte before its closing quote.
        let (inside, in_string) = v.parity(quote, self.in_string);
        self.in_string = in_string;
        self.wrong |= control & inside;
        let string = inside | quote;
        let beyond = v.bits_from(bytes.len());
        let blank = string | beyond;
        let tokens = Tokens {
            string,
            string_open: quote & inside,
            string_close: quote & !inside,
            open: bracket & first & !blank,
            close: bracket & !first & !blank,
            colon: first & !bracket & second & !blank,
            comma: first & !bracket & !second & !blank,
            space: space & !blank,
        };
        let Tokens { open, close, .. } = tokens;
        let scalar = !(bracket | first | space | blank);
        let behind_scalar = v.shift(scalar, self.before.scalar);
        self.before.scalar = scalar;
        let scalar_start = scalar & !behind_scalar;

        let zero_start = digit & second & scalar_start;
        self.wrong |= v.shift(zero_start, self.before.zero_start) & digit;
        self.before.zero_start = zero_start;

        let proofs = self.neighbours(v, &tokens, scalar_start, behind_scalar & !scalar);
        let odd = scalar & !digit;
        let (bracket, square) = (open | close, second);
        // Every bracket has a proof: an opening one follows a colon or is an element, a closing one has its own kind.
        let array = reach(v, proofs.array, bracket, &mut self.carry.array) | (close & square);
        let object = reach(v, proofs.object, bracket, &mut self.carry.object) | (close & !square);
        self.wrong |= array & object;
        Pending {
            chunks: bytes.len().div_ceil(CHUNK_BYTES).min(V::GROUP_CHUNKS),
            bracket: v.words(bracket),
            open: v.words(open),
            square: v.words(square),
            array: v.words(array),
            odd: odd & !v.shift(odd, v.none()),
        }
    }

    /// The local rules, and the proofs of the container kinds.
    #[inline(always)]
    fn neighbours(
        &mut self,
        v: V,
        tokens: &Tokens<V::Wide>,
        scalar_start: V::Wide,
        scalar_end: V::Wide,
    ) -> Proofs<V::Wide> {
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
        let value_close = string_close | close;
        let behind_value = v.shift(value_close, self.before.value_close) | scalar_end;
        let behind_colon = v.shift(colon, self.before.colon);
        let behind_comma = v.shift(comma, self.before.comma);
        (
            self.before.value_close,
            self.before.colon,
            self.before.comma,
        ) = (value_close, colon, comma);
        let (follows_value, follows_colon, follows_comma) =
            if v.any(space) || self.carry.value | self.carry.colon | self.carry.comma != 0 {
                (
                    over_space(v, behind_value, space, &mut self.carry.value),
                    over_space(v, behind_colon, space, &mut self.carry.colon),
                    over_space(v, behind_comma, space, &mut self.carry.comma),
                )
            } else {
                (behind_value, behind_colon, behind_comma)
            };

        // Strings that do not follow a colon follow a bracket or comma: keys, or elements of an array.
        let element = string_open & !follows_colon;
        let passed = string | space;
        let (landed, over) = v.add(element, passed, self.carry.element);
        self.carry.element = over;
        let follows_element = landed & !passed;

        self.wrong |= (string_open | scalar_start | open) & follows_value;
        self.wrong |= close & (follows_colon | follows_comma);
        self.wrong |= comma & !follows_value;
        self.wrong |= colon & !follows_element;
        Proofs {
            array: (follows_element & !colon) | ((scalar_start | open) & !follows_colon),
            object: colon,
        }
    }

    /// Packs the brackets, each with the kind of container that it must be in.
    #[inline(always)]
    fn nesting(&mut self, v: V, pending: &Pending<V>) {
        for chunk in 0..pending.chunks {
            let places = pending.bracket.as_ref()[chunk];
            let count = places.count_ones();
            // Below 64 brackets listed, so that their number can be a shift, or 64 from this chunk alone.
            if self.brackets.count + count >= u64::BITS {
                self.brackets.flush(&mut self.stack);
            }
            let place = self.brackets.count;
            self.brackets.open |= v.gather(pending.open.as_ref()[chunk], places) << place;
            self.brackets.square |= v.gather(pending.square.as_ref()[chunk], places) << place;
            self.brackets.in_array |= v.gather(pending.array.as_ref()[chunk], places) << place;
            self.brackets.count += count;
        }
    }

    /// Which bytes backslashes escape, after checking that they may.
    #[inline(always)]
    fn escapes(&mut self, v: V, backslash: V::Wide, bytes: &[u8]) -> V::Wide {
        let mut escaped = v.words(backslash);
        for word in escaped.as_mut() {
            *word = self.escaped(*word);
        }
        let escaped = v.wide(&escaped);
        let [permitted, letter_u, hex, ..] = v.planes::<Escapes>(bytes).planes;
        self.wrong |= escaped & !permitted;
        let mut due = escaped & letter_u;
        self.hex_due = false;
        for before in &mut self.before.hex_due {
            let shifted = v.shift(due, *before);
            self.wrong |= shifted & !hex;
            self.hex_due |= v.words(due).as_ref()[V::GROUP_CHUNKS - 1] >> 63 != 0;
            *before = due;
            due = shifted;
        }
        escaped
    }

    /// Which bytes of a chunk a backslash escapes.
    #[inline(always)]
    fn escaped(&mut self, backslash: u64) -> u64 {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        // Runs of backslashes alternate between escaping and escaped. Subtraction finds for each run that starts with
        // an escape the end of that alternation, whatever the parity of its start (the method of simdjson).
        let starts = backslash & !self.after_escape;
        let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
        let escaped = alternating ^ (backslash | self.after_escape);
        self.after_escape = (alternating & backslash) >> 63;
        escaped
    }
}

/// Structure of one group, outside strings but for the first three.
#[derive(Clone, Copy)]
struct Tokens<W> {
    /// Strings with both quotes.
    string: W,
    string_open: W,
    string_close: W,
    open: W,
    close: W,
    colon: W,
    comma: W,
    space: W,
}

/// Bytes that show the kind of the container they are in (for a bracket: that it is in).
struct Proofs<W> {
    array: W,
    object: W,
}

/// What of a group is left to do one by one.
struct Pending<V: Vector> {
    /// Chunks that hold bytes of the line.
    chunks: usize,
    bracket: V::Words,
    /// Of the brackets: those that open. Other bits may be set in this and the next two.
    open: V::Words,
    square: V::Words,
    /// Of the brackets: those that must be within an array.
    array: V::Words,
    /// Bytes of numbers and literals that are no digits, the first of each run.
    odd: V::Wide,
}

/// The brackets not yet compared with the stack, the first lowest, one bit a bracket in each word.
#[derive(Default)]
struct Brackets {
    count: u32,
    /// It opens a container.
    open: u64,
    /// It is `[` or `]`.
    square: u64,
    /// It must be within an array; else within an object.
    in_array: u64,
}

/// The containers open now, and what was found out about them.
struct Stack {
    /// Innermost lowest: 1 an array, 0 an object; above them a 1 that marks the end.
    containers: u64,
    /// How often it became empty: exactly once, by the last bracket, if all is well.
    emptied: u64,
    /// Any bit set: a bracket was not where it said.
    wrong: u64,
}

/// No container is open. Read as a container it is an array, which is what a single value looks like.
const EMPTY: u64 = 1;

impl Default for Stack {
    fn default() -> Self {
        Self {
            containers: EMPTY,
            emptied: 0,
            wrong: 0,
        }
    }
}

impl Brackets {
    /// Plays the brackets over the stack, compares, and starts anew.
    #[inline]
    fn flush(&mut self, stack: &mut Stack) {
        let Self {
            count,
            mut open,
            mut square,
            in_array,
        } = std::mem::take(self);
        let (mut found, mut top, mut emptied, mut deep) = (0, stack.containers, stack.emptied, 0);
        for place in 0..count {
            found |= (top & 1) << place;
            top = if open & 1 == 1 {
                top << 1 | (square & 1)
            } else {
                top >> 1
            };
            emptied += u64::from(top <= EMPTY);
            // Deeper than the stack is wide: the scalar parser knows the real limit.
            deep |= top;
            open >>= 1;
            square >>= 1;
        }
        *stack = Stack {
            containers: top,
            emptied,
            wrong: stack.wrong | deep >> 63 | (found ^ in_array),
        };
    }
}

/// Where `marks` lead over the white space they stand before. `carry` takes a mark over the group's edge.
#[inline(always)]
fn over_space<V: Vector>(v: V, marks: V::Wide, space: V::Wide, carry: &mut u64) -> V::Wide {
    let (landed, over) = v.add(marks, space, *carry);
    *carry = over;
    landed & !space
}

/// The `brackets` that have one of `marks` on them or between the bracket before and themselves. `carry` brings and
/// takes a mark over the group's edge.
#[inline(always)]
fn reach<V: Vector>(v: V, marks: V::Wide, brackets: V::Wide, carry: &mut u64) -> V::Wide {
    // A run of bytes that are no brackets is a run of ones: adding marks within it carries exactly one bit out of it.
    let (sum, over) = v.add(!brackets, marks & !brackets, *carry);
    *carry = over;
    (sum | marks) & brackets
}

/// Literals, and numbers that are not just digits: listed without branches, checked together.
#[derive(Default)]
struct OddScalars {
    count: usize,
    /// A byte of each that is no digit.
    places: [usize; 32],
}

impl OddScalars {
    /// Lists the places of `marks`, words of the group at `base`; `false` if one checked for want of room is wrong.
    #[inline(always)]
    fn list(&mut self, line: &[u8], base: usize, marks: &[u64]) -> bool {
        let mut word_base = base;
        for word in marks {
            // Nearly always at most two: both are written, whatever their number, and the count says which hold.
            let second = word & word.wrapping_sub(1);
            let places = [word.trailing_zeros(), second.trailing_zeros()];
            if second & second.wrapping_sub(1) != 0 || self.count + 2 > self.places.len() {
                if !self.check(line) || !all_are_well_formed(line, word_base, *word) {
                    return false;
                }
            } else {
                for (listed, place) in self.places[self.count..].iter_mut().zip(places) {
                    *listed = word_base + place as usize;
                }
                self.count += word.count_ones() as usize;
            }
            word_base += CHUNK_BYTES;
        }
        true
    }

    /// Checks what is listed, and empties the list.
    #[inline]
    fn check(&mut self, line: &[u8]) -> bool {
        let count = std::mem::take(&mut self.count);
        self.places[..count]
            .iter()
            .all(|place| is_well_formed(line, *place))
    }
}

/// Checks a word's marks one by one.
#[cold]
fn all_are_well_formed(line: &[u8], base: usize, mut marks: u64) -> bool {
    while marks != 0 {
        if !is_well_formed(line, base + marks.trailing_zeros() as usize) {
            return false;
        }
        marks &= marks - 1;
    }
    true
}

/// Checks the number or literal that `at` is a byte of.
#[inline]
fn is_well_formed(line: &[u8], at: usize) -> bool {
    if let Some(eight) = line.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let four = word & 0xffff_ffff;
        let is_false = word & 0xff_ffff_ffff == u64::from_le_bytes(*b"false\0\0\0");
        let is_literal = (four == u64::from_le_bytes(*b"true\0\0\0\0"))
            | (four == u64::from_le_bytes(*b"null\0\0\0\0"))
            | is_false;
        let behind = eight[4 + usize::from(is_false)];
        // The line begins with a brace, so there is a byte before.
        if is_literal
            & scalar::ends_scalar(behind)
            & scalar::ends_scalar(line[at.saturating_sub(1)])
        {
            return true;
        }
    }
    number_is_well_formed(line, at)
}

/// Checks the number, or whatever it is, that `at` is a byte of. It may have begun in an earlier group.
#[inline(never)]
fn number_is_well_formed(line: &[u8], at: usize) -> bool {
    let mut start = at;
    // Not quadratic: a number holds at most five bytes that are no digits, and any other run ends the check.
    while start > 0 && !scalar::ends_scalar(line[start - 1]) {
        start -= 1;
    }
    match scalar::skip_scalar(line, start) {
        Ok(end) => line.get(end).is_none_or(|byte| scalar::ends_scalar(*byte)),
        Err(_) => false,
    }
}
