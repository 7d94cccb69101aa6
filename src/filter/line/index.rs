//! The index of a line: where its quotes, colons and brackets are, as bit masks.
//!
//! Owns: the masks, made lazily in groups of 256 bytes, and the bookkeeping of strings and escapes from group to
//! group. Promises: bits are set only for bytes of the line; of a valid line they are right, of any other bytes they
//! are some bits. Leaves to others: what the masks mean for keys and values ([`walk`](super::walk)).

use crate::os::simd::{CHUNK_BYTES, ClassTable, Job, Level, Planes, Vector};

/// Chunks of one group: enough to work on side by side, few enough for a walk that ends early.
const GROUP_CHUNKS: usize = 4;
const GROUP_BYTES: usize = GROUP_CHUNKS * CHUNK_BYTES;

/// The masks of one line, as far as they have been asked for. The memory is used again for the next line.
#[derive(Default)]
pub(in crate::filter) struct Index {
    /// The masks of chunk `c` are in place `c + 1`, so that there are some before each. Those behind the last that is
    /// ready have no quotes.
    chunks: Vec<Masks>,
    /// Chunks that belong to this line; those behind are of earlier lines.
    ready: usize,
    /// All bits set when the next group begins within a string.
    in_string: u64,
    /// 1 when the first byte of the next group is escaped.
    after_escape: u64,
    /// Bytes of the ready chunks before the first with a backslash; with none, more than a line has.
    plain_bytes: usize,
}

/// The masks of one chunk: bit `i` speaks of byte `i`.
#[derive(Clone, Copy, Default)]
struct Masks {
    /// Quotes that begin or end a string.
    quote: u64,
    /// Outside strings: colons and brackets.
    stop: u64,
    /// Outside strings: `{` and `[`.
    open: u64,
    /// Outside strings: `}` and `]`.
    close: u64,
}

/// The bytes of JSON's structure. Set bit 5 makes curly brackets of square ones.
const SOUGHT: [(u8, u8); 5] = [(0, b'"'), (0, b'\\'), (0, b':'), (0x20, b'{'), (0x20, b'}')];

impl Index {
    /// Turns to a line of this length.
    #[inline]
    pub(in crate::filter) fn reset(&mut self, line_bytes: usize) {
        self.ready = 0;
        self.in_string = 0;
        self.after_escape = 0;
        self.plain_bytes = usize::MAX;
        let chunks = line_bytes.div_ceil(GROUP_BYTES) * GROUP_CHUNKS;
        if self.chunks.len() < chunks + 2 {
            self.chunks.resize(chunks + 2, Masks::default());
        }
    }

    /// True when a backslash is in what is ready.
    #[inline(always)]
    pub(in crate::filter) fn has_backslash(&self) -> bool {
        self.plain_bytes != usize::MAX
    }

    /// True when no backslash stands before `at`, which is ready.
    #[inline(always)]
    pub(in crate::filter) fn is_plain_before(&self, at: usize) -> bool {
        at < self.plain_bytes
    }

    /// Bytes of what is ready, beyond the end of the line possibly.
    pub(in crate::filter) fn ready_bytes(&self) -> usize {
        self.ready * CHUNK_BYTES
    }

    #[inline(always)]
    pub(in crate::filter) fn is_ready(&self, word: usize) -> bool {
        word < self.ready
    }

    /// Makes `word` ready; false when the line ends before it.
    #[inline(always)]
    pub(in crate::filter) fn reach(
        &mut self,
        level: Option<Level>,
        line: &[u8],
        word: usize,
    ) -> bool {
        word < self.ready || self.extend_to(level, line, word)
    }

    /// As [`Self::reach`]. A call of its own: its many registers are not those of the walk around it.
    #[inline(never)]
    fn extend_to(&mut self, level: Option<Level>, line: &[u8], word: usize) -> bool {
        while word >= self.ready {
            if self.ready * CHUNK_BYTES >= line.len() {
                return false;
            }
            // Twice as much as there is: a walk that goes far makes few calls, one that ends early few masks.
            let groups = (self.ready / GROUP_CHUNKS * 2).max(1);
            let job = Extend {
                index: self,
                line,
                groups,
            };
            run(level, job);
        }
        true
    }

    /// Makes the next group; there must be bytes for it.
    #[inline(always)]
    fn extend<V: Vector>(&mut self, v: V, line: &[u8]) {
        let first = self.ready;
        let rest = line.get(first * CHUNK_BYTES..).unwrap_or_default();
        // Whole groups go without the question how many bytes there are.
        match rest.first_chunk::<GROUP_BYTES>() {
            Some(group) => self.add(v, group.as_chunks::<CHUNK_BYTES>().0.iter()),
            None => {
                self.chunks[first + 1..=first + GROUP_CHUNKS].fill(Masks::default());
                self.add(v, rest.chunks(CHUNK_BYTES));
            }
        }
        self.ready = first + GROUP_CHUNKS;
        self.chunks[self.ready + 1].quote = 0;
    }

    /// Makes the masks of at most a group of chunks.
    #[inline(always)]
    fn add<'a, V: Vector, B: AsRef<[u8]> + ?Sized + 'a>(
        &mut self,
        v: V,
        chunks: impl Iterator<Item = &'a B>,
    ) {
        let (mut after_escape, mut in_string) = (self.after_escape, self.in_string);
        let (mut at, mut plain_bytes) = (self.ready * CHUNK_BYTES, self.plain_bytes);
        let group = self.chunks[self.ready + 1..].first_chunk_mut::<GROUP_CHUNKS>();
        let group = group.expect("there is room for whole groups");
        for (bytes, masks) in chunks.zip(group) {
            let [mut quote, backslash, colon, open, close] = v.equal(bytes.as_ref(), SOUGHT);
            if backslash | after_escape != 0 {
                plain_bytes = plain_bytes.min(at);
                quote &= !escaped_by(backslash, &mut after_escape);
            }
            // From each opening quote up to the byte before its closing quote.
            let inside = v.parity_of_word(quote) ^ in_string;
            in_string = 0_u64.wrapping_sub(inside >> 63);
            *masks = Masks {
                quote,
                stop: (colon | open | close) & !inside,
                open: open & !inside,
                close: close & !inside,
            };
            at += CHUNK_BYTES;
        }
        self.plain_bytes = plain_bytes;
        self.after_escape = after_escape;
        self.in_string = in_string;
    }

    /// Colons and brackets of a ready word.
    #[inline(always)]
    pub(in crate::filter) fn stops(&self, word: usize) -> u64 {
        self.chunks[word + 1].stop
    }

    /// The last quote before `at`, which is ready.
    pub(in crate::filter) fn quote_before(&self, at: usize) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        let mut bits = self.chunks.get(word + 1)?.quote & !(u64::MAX << (at % CHUNK_BYTES));
        while bits == 0 {
            word = word.checked_sub(1)?;
            bits = self.chunks[word + 1].quote;
        }
        Some(word * CHUNK_BYTES + 63 - bits.leading_zeros() as usize)
    }

    /// The first quote from `at` on, if it is ready and less than a chunk away.
    #[inline(always)]
    pub(in crate::filter) fn quote_near(&self, at: usize) -> Option<usize> {
        let chunk = at / CHUNK_BYTES;
        let [here, next] = self.chunks.get(chunk + 1..)?.first_chunk()?;
        let shift = at % CHUNK_BYTES;
        let bits = here.quote >> shift | next.quote << 1 << (CHUNK_BYTES - 1 - shift);
        (chunk < self.ready && bits != 0).then(|| at + bits.trailing_zeros() as usize)
    }

    /// The first quote from `at` on.
    #[inline(never)]
    pub(in crate::filter) fn quote_from(
        &mut self,
        level: Option<Level>,
        line: &[u8],
        at: usize,
    ) -> Option<usize> {
        let mut word = at / CHUNK_BYTES;
        let mut mask = u64::MAX << (at % CHUNK_BYTES);
        while self.reach(level, line, word) {
            let bits = self.chunks[word + 1].quote & mask;
            if bits != 0 {
                return Some(word * CHUNK_BYTES + bits.trailing_zeros() as usize);
            }
            mask = u64::MAX;
            word += 1;
        }
        None
    }

    /// Behind the bracket that closes the outermost of `depth` containers, at least one, that `at` is within.
    #[inline(always)]
    pub(in crate::filter) fn skip_containers(
        &mut self,
        level: Option<Level>,
        line: &[u8],
        at: usize,
        mut depth: u32,
    ) -> usize {
        let mut word = at / CHUNK_BYTES;
        let mut mask = u64::MAX << (at % CHUNK_BYTES);
        while self.reach(level, line, word) {
            let masks = self.chunks[word + 1];
            let (open, close) = (masks.open & mask, masks.close & mask);
            let closes = close.count_ones();
            if closes >= depth {
                let (mut left, mut passed) = (close, 1);
                while left != 0 {
                    let below = left.wrapping_sub(1) & !left;
                    if depth + (open & below).count_ones() == passed {
                        return word * CHUNK_BYTES + left.trailing_zeros() as usize + 1;
                    }
                    passed += 1;
                    left &= left - 1;
                }
            }
            // It stays above 0: no closing bracket was that of the outermost container.
            depth = depth + open.count_ones() - closes;
            mask = u64::MAX;
            word += 1;
        }
        line.len()
    }
}

/// Makes the next groups, as far as the line goes.
struct Extend<'a> {
    index: &'a mut Index,
    line: &'a [u8],
    groups: usize,
}

impl Job for Extend<'_> {
    type Output = ();
    #[inline(always)]
    fn run<V: Vector>(self, v: V) {
        for _ in 0..self.groups {
            if self.index.ready * CHUNK_BYTES < self.line.len() {
                self.index.extend(v, self.line);
            }
        }
    }
}

/// Runs a job with the instructions of a level; without one, portably.
#[inline(always)]
pub(in crate::filter) fn run<J: Job>(level: Option<Level>, job: J) -> J::Output {
    match level {
        Some(level) => level.run(job),
        None => job.run(Portable),
    }
}

/// Bit `i` is the parity of bits `0..=i`.
#[inline(always)]
fn parity(bits: u64) -> u64 {
    let mut parity = bits;
    for distance in [1, 2, 4, 8, 16, 32] {
        parity ^= parity << distance;
    }
    parity
}

/// Which bytes of a chunk a backslash escapes; `after_escape` tells the next chunk of its first byte.
#[inline(always)]
fn escaped_by(backslash: u64, after_escape: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    // Runs of backslashes alternate between escaping and escaped. Subtraction finds for each run that starts with an
    // escape the end of that alternation, whatever the parity of its start (the method of simdjson).
    let starts = backslash & !*after_escape;
    let alternating = (starts << 1 | ODD).wrapping_sub(starts) ^ ODD;
    let escaped = alternating ^ (backslash | *after_escape);
    *after_escape = (alternating & backslash) >> 63;
    escaped
}

/// Bit `i` for each byte `i` that is 0.
#[inline(always)]
fn zero_bytes(eight: u64) -> u64 {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // The top bit of each byte that has any bit set, and no carry from byte to byte.
    let some = ((eight & LOW_SEVEN) + LOW_SEVEN) | eight;
    let zero = (!some & !LOW_SEVEN) >> 7;
    zero.wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The portable level: one chunk at a time, eight bytes at once.
#[derive(Clone, Copy)]
struct Portable;

impl Vector for Portable {
    const GROUP_CHUNKS: usize = 1;
    type Words = [u64; 1];
    type Wide = u64;

    #[inline(always)]
    fn planes<T: ClassTable>(self, bytes: &[u8]) -> Planes<u64> {
        let (mut planes, mut ascii) = ([0; 8], true);
        for (at, byte) in bytes.iter().take(CHUNK_BYTES).enumerate() {
            let class = const { &T::CLASSES }
                .get(usize::from(*byte))
                .copied()
                .unwrap_or(0);
            ascii &= byte.is_ascii();
            if class != 0 {
                for (plane, mask) in planes.iter_mut().enumerate() {
                    *mask |= u64::from(class >> plane & 1) << at;
                }
            }
        }
        Planes { planes, ascii }
    }
    #[inline(always)]
    fn equal<const N: usize>(self, bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N] {
        let mut chunk = [0; CHUNK_BYTES];
        let present = bytes.len().min(CHUNK_BYTES);
        chunk[..present].copy_from_slice(&bytes[..present]);
        let mut masks = [0; N];
        for (place, eight) in chunk.as_chunks::<8>().0.iter().enumerate() {
            let eight = u64::from_le_bytes(*eight);
            for (mask, (set, byte)) in masks.iter_mut().zip(sought) {
                let differing =
                    (eight | u64::from_le_bytes([set; 8])) ^ u64::from_le_bytes([byte; 8]);
                *mask |= zero_bytes(differing) << (8 * place);
            }
        }
        masks
    }
    #[inline(always)]
    fn parity_of_word(self, bits: u64) -> u64 {
        parity(bits)
    }
    #[inline(always)]
    fn gather(self, bits: u64, places: u64) -> u64 {
        let (mut left, mut packed, mut count) = (places, 0, 0);
        while left != 0 {
            packed |= (bits >> left.trailing_zeros() & 1) << count;
            count += 1;
            left &= left - 1;
        }
        packed
    }
    #[inline(always)]
    fn none(self) -> u64 {
        0
    }
    #[inline(always)]
    fn bits_from(self, bit: usize) -> u64 {
        if bit < CHUNK_BYTES {
            u64::MAX << bit
        } else {
            0
        }
    }
    #[inline(always)]
    fn wide(self, words: &[u64; 1]) -> u64 {
        words[0]
    }
    #[inline(always)]
    fn words(self, wide: u64) -> [u64; 1] {
        [wide]
    }
    #[inline(always)]
    fn any(self, wide: u64) -> bool {
        wide != 0
    }
    #[inline(always)]
    fn shift(self, wide: u64, before: u64) -> u64 {
        wide << 1 | before >> 63
    }
    #[inline(always)]
    fn add(self, one: u64, other: u64, carry: u64) -> (u64, u64) {
        let (partial, over) = one.overflowing_add(other);
        let (sum, over_carry) = partial.overflowing_add(carry);
        (sum, u64::from(over | over_carry))
    }
    #[inline(always)]
    fn parity(self, wide: u64, carry: u64) -> (u64, u64) {
        let parity = parity(wide) ^ carry.wrapping_neg();
        (parity, parity >> 63)
    }
}
