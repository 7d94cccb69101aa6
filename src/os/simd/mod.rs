//! Vector instructions behind a safe seam: 64 bytes become 64-bit masks.
//!
//! Owns: every vector intrinsic of the package, and the choice of the widest level this CPU has, made once at run
//! time. Promises: nothing is read outside the slice it was given; all levels compute the same masks (tested against
//! the obvious byte loop). Leaves to others: what the masks mean. A caller writes its loop once, generic over
//! [`Vector`], as a [`Job`]; [`Level::run`] compiles it a second and third time with the instructions of each level.
//! Functions of a job must be `#[inline(always)]`: only what is inlined into the function that has the instructions
//! may use them.
#![expect(
    unsafe_code,
    reason = "vector loads through pointers, and calls into functions compiled for a CPU level"
)]

use std::ops::{BitAnd, BitOr, BitOrAssign, BitXor, Not};
use std::sync::OnceLock;

/// Bytes of one chunk: one bit of a mask each.
pub const CHUNK_BYTES: usize = 64;

/// What one level can do: turn a chunk of 64 bytes into masks (bit `i` speaks of byte `i`), and calculate with the
/// masks of a group of chunks as with one number of up to 512 bits.
pub trait Vector: Copy {
    /// Chunks of one group: one word of wide masks each.
    const GROUP_CHUNKS: usize;
    /// A chunk in vector registers.
    type Chunk: Copy;
    /// The masks of a group as plain words, the first chunk first: an array of [`Self::GROUP_CHUNKS`].
    type Words: Copy + AsRef<[u64]> + AsMut<[u64]>;
    /// The masks of a group, as one number: the first chunk is the lowest word.
    type Wide: Copy
        + BitAnd<Output = Self::Wide>
        + BitOr<Output = Self::Wide>
        + BitOrAssign
        + BitXor<Output = Self::Wide>
        + Not<Output = Self::Wide>;

    /// Loads a whole chunk.
    fn load(self, bytes: &[u8; CHUNK_BYTES]) -> Self::Chunk;
    /// Loads the first 64 bytes at most, and fills up with spaces.
    fn load_partial(self, bytes: &[u8]) -> Self::Chunk;
    /// The bits of both.
    fn merge(self, one: Self::Chunk, other: Self::Chunk) -> Self::Chunk;
    /// Bytes equal to `byte`.
    fn equal(self, chunk: Self::Chunk, byte: u8) -> u64;
    /// Bytes that are `byte` once bit 0x20 is set: letters without case, `[` as `{`, `]` as `}`.
    fn equal_folded(self, chunk: Self::Chunk, byte: u8) -> u64;
    /// Bytes from `low` to `low + count - 1`.
    fn within(self, chunk: Self::Chunk, low: u8, count: u8) -> u64;
    /// Bytes that, once bit 0x20 is set, lie from `low` to `low + count - 1`.
    fn within_folded(self, chunk: Self::Chunk, low: u8, count: u8) -> u64;
    /// Bytes that equal the entry of `table` which their low four bits select: one test for up to 16 characters of
    /// distinct low halves. Entries must be ASCII; an unused entry must not have its own index as its low half.
    fn equal_to_entry(self, chunk: Self::Chunk, table: &[u8; 16]) -> u64;
    /// Bytes of 0x80 and above.
    fn non_ascii(self, chunk: Self::Chunk) -> u64;
    /// Bytes with bit 0x20 set.
    fn bit_0x20(self, chunk: Self::Chunk) -> u64;
    /// The bits of `bits` at the places set in `places`, packed to the low end.
    fn gather(self, bits: u64, places: u64) -> u64;

    /// No bit set.
    fn none(self) -> Self::Wide;
    /// All bits from this one up.
    fn bits_from(self, bit: usize) -> Self::Wide;
    /// Wide masks from words.
    fn wide(self, words: &Self::Words) -> Self::Wide;
    /// Words from wide masks.
    fn words(self, wide: Self::Wide) -> Self::Words;
    /// True when a bit is set.
    fn any(self, wide: Self::Wide) -> bool;
    /// All bits one place up; the top bit of `before`, the group before, enters at the bottom.
    fn shift(self, wide: Self::Wide, before: Self::Wide) -> Self::Wide;
    /// Sum with a carry, 0 or 1, in and out.
    fn add(self, one: Self::Wide, other: Self::Wide, carry: u64) -> (Self::Wide, u64);
    /// Bit `i` of the result is the parity of bits `0..=i` and `carry`, 0 or 1; with the carry for the group behind.
    fn parity(self, wide: Self::Wide, carry: u64) -> (Self::Wide, u64);
}

/// A loop written once for all levels. `run` and all it calls per chunk must be `#[inline(always)]`.
pub trait Job {
    /// What the loop returns.
    type Output;
    /// The loop.
    fn run<V: Vector>(self, vector: V) -> Self::Output;
}

/// A level that this CPU was found to have. There is no other way to make one, so running on it is sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    /// The widest level of this CPU, `None` where it has none. Found once, then remembered.
    #[inline]
    pub fn best() -> Option<Self> {
        static BEST: OnceLock<Option<Level>> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().into_iter().next())
    }

    /// Every level of this CPU, widest first: for tests that compare them.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            x86::available()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Vec::new()
        }
    }

    /// Name for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
        }
    }

    /// Runs `job` with the instructions of this level.
    #[inline]
    pub fn run<J: Job>(self, job: J) -> J::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a `Level` of this kind is made only after the CPU was asked for every feature the function has.
            Kind::Avx512 => unsafe { x86::run_avx512(job) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Kind::Avx2 => unsafe { x86::run_avx2(job) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks every operation of one level against the byte loop that defines it.
    struct AgreesWithByteLoop<'a>(&'a [u8]);

    fn bits_of(bytes: &[u8; CHUNK_BYTES], test: impl Fn(u8) -> bool) -> u64 {
        bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| test(**byte))
            .map(|(at, _)| 1 << at)
            .sum()
    }

    impl Job for AgreesWithByteLoop<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector>(self, v: V) {
            let mut bytes = [b' '; CHUNK_BYTES];
            bytes[..self.0.len()].copy_from_slice(self.0);
            let chunk = v.load_partial(self.0);
            let table = *b" x\"b t\x01fx\t\n{\\\rn/";
            for byte in 0..=255 {
                assert_eq!(v.equal(chunk, byte), bits_of(&bytes, |b| b == byte));
                assert_eq!(
                    v.equal_folded(chunk, byte),
                    bits_of(&bytes, |b| b | 0x20 == byte)
                );
                assert_eq!(
                    v.within(chunk, byte, 7),
                    bits_of(&bytes, |b| b.wrapping_sub(byte) < 7)
                );
                let folded = |b: u8| (b | 0x20).wrapping_sub(byte) < 6;
                assert_eq!(v.within_folded(chunk, byte, 6), bits_of(&bytes, folded));
            }
            let entry = |b: u8| b < 0x80 && table[usize::from(b & 15)] == b;
            assert_eq!(v.equal_to_entry(chunk, &table), bits_of(&bytes, entry));
            assert_eq!(v.non_ascii(chunk), bits_of(&bytes, |b| b >= 0x80));
            assert_eq!(v.bit_0x20(chunk), bits_of(&bytes, |b| b & 0x20 != 0));
            assert_eq!(
                v.equal(v.load(&bytes), b'7'),
                bits_of(&bytes, |b| b == b'7')
            );
            let (bits, places) = (v.equal_folded(chunk, b'{'), v.bit_0x20(chunk));
            let (mut packed, mut count) = (0, 0);
            for at in 0..64 {
                if places >> at & 1 == 1 {
                    packed |= (bits >> at & 1) << count;
                    count += 1;
                }
            }
            assert_eq!(v.gather(bits, places), packed);
            assert_eq!(
                v.non_ascii(v.merge(chunk, v.load(&[0x80; CHUNK_BYTES]))),
                u64::MAX
            );
        }
    }

    /// Checks the arithmetic on wide masks of one level against the bit loop that defines it.
    struct CalculatesLikeBitLoop {
        one: [u64; 8],
        other: [u64; 8],
        carry: u64,
    }

    impl Job for CalculatesLikeBitLoop {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector>(self, v: V) {
            let Self { one, other, carry } = self;
            let words = V::GROUP_CHUNKS;
            let (mut shifted, mut sum, mut parity) = ([0; 8], [0; 8], [0; 8]);
            let (mut shift_bit, mut carry_bit, mut parity_bit) =
                (other[words - 1] >> 63, carry, carry);
            for place in 0..words * 64 {
                let (word, bit) = (place / 64, place % 64);
                let (a, b) = (one[word] >> bit & 1, other[word] >> bit & 1);
                shifted[word] |= shift_bit << bit;
                shift_bit = a;
                sum[word] |= (a ^ b ^ carry_bit) << bit;
                carry_bit = u64::from(a + b + carry_bit >= 2);
                parity_bit ^= a;
                parity[word] |= parity_bit << bit;
            }
            let wide = |from: &[u64]| {
                let mut to = v.words(v.none());
                to.as_mut().copy_from_slice(&from[..words]);
                v.wide(&to)
            };
            let (a, b) = (wide(&one), wide(&other));
            assert_eq!(v.words(v.shift(a, b)).as_ref(), &shifted[..words]);
            let (wide, over) = v.add(a, b, carry);
            assert_eq!((v.words(wide).as_ref(), over), (&sum[..words], carry_bit));
            let (wide, over) = v.parity(a, carry);
            assert_eq!(
                (v.words(wide).as_ref(), over),
                (&parity[..words], parity_bit)
            );
            for bit in 0..=words * 64 + 70 {
                let wide = v.words(v.bits_from(bit));
                let expected = |place: usize| place >= bit;
                for place in 0..words * 64 {
                    assert_eq!(
                        wide.as_ref()[place / 64] >> (place % 64) & 1 == 1,
                        expected(place),
                        "{bit}"
                    );
                }
            }
            assert_eq!(v.any(a), one[..words].iter().any(|word| *word != 0));
            assert!(!v.any(v.none()) && v.any(a | !a) && !v.any(a & !a) && !v.any(!(a ^ !a)));
        }
    }

    #[test]
    fn every_level_calculates_what_the_bit_loop_calculates() {
        // Words that make carries run: all ones and zeros beside random ones.
        let mut state = 7_u64;
        let mut word = |kind: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            match (state >> 33) % kind {
                0 => u64::MAX,
                1 => 0,
                2 => 1 << (state >> 58),
                3 => u64::MAX << (state >> 58),
                _ => state ^ state >> 29,
            }
        };
        for round in 0..200 {
            let kind = 2 + round % 6;
            let (one, other) = (
                std::array::from_fn(|_| word(kind)),
                std::array::from_fn(|_| word(kind)),
            );
            for level in Level::available() {
                level.run(CalculatesLikeBitLoop {
                    one,
                    other,
                    carry: round & 1,
                });
            }
        }
    }

    #[test]
    fn every_level_computes_what_the_byte_loop_computes() {
        // Heap slices of exact length: a read past the end is caught by the sanitizers.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for length in (0..=CHUNK_BYTES).cycle().take(300) {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    let [.., drawn] = state.to_le_bytes();
                    if drawn & 3 == 0 {
                        b"{[]}:,\"\\ \t\n\r709"[usize::from(drawn >> 2) % 15]
                    } else {
                        drawn
                    }
                })
                .collect();
            for level in Level::available() {
                level.run(AgreesWithByteLoop(&bytes));
            }
        }
    }
}
