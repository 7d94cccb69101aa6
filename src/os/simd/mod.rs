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

/// What one level can do: sort the bytes of a group of chunks into classes, and calculate with the masks of a group as
/// with one number. Bit `i` of a mask speaks of byte `i` of the group.
pub trait Vector: Copy {
    /// Chunks of one group: one word of wide masks each.
    const GROUP_CHUNKS: usize;
    /// The masks of a group as plain words, the first chunk first: an array of [`Self::GROUP_CHUNKS`].
    type Words: Copy + AsRef<[u64]> + AsMut<[u64]>;
    /// The masks of a group, as one number: the first chunk is the lowest word.
    type Wide: Copy
        + BitAnd<Output = Self::Wide>
        + BitOr<Output = Self::Wide>
        + BitOrAssign
        + BitXor<Output = Self::Wide>
        + Not<Output = Self::Wide>;

    /// Eight masks of the first bytes of `bytes`, at most a group: bit `i` of `planes[p]` is bit `p` of the class of
    /// byte `i`. Places beyond the slice may have any class.
    fn planes<T: ClassTable>(self, bytes: &[u8]) -> Planes<Self::Wide>;
    /// For each `(set, byte)` the bytes of `bytes`, at most a chunk, that are `byte` once their bits of `set` are set.
    /// Places beyond the slice hold 0. For few bytes this costs less than [`Self::planes`], and it waits for no group.
    fn equal<const N: usize>(self, bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N];
    /// Bit `i` of the result is the parity of bits `0..=i`.
    fn parity_of_word(self, bits: u64) -> u64;
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

/// The class of every ASCII byte: eight bits that mean what the caller likes. Other bytes have class 0.
pub type Classes = [u8; 128];

/// A table of classes, known when the loop that uses it is compiled.
pub trait ClassTable {
    /// The table.
    const CLASSES: Classes;
}

/// The classes of a group's bytes, bit by bit.
#[derive(Clone, Copy)]
pub struct Planes<W> {
    /// One mask for each bit of a class, the lowest first.
    pub planes: [W; 8],
    /// No byte is 0x80 or above.
    pub ascii: bool,
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

    /// Checks the classes of bytes, and packing, of one level against the byte loop that defines them.
    struct AgreesWithByteLoop<'a>(&'a [u8]);

    /// All rows used, all bits, no two rows alike.
    struct Full;

    impl ClassTable for Full {
        const CLASSES: Classes = {
            let (mut classes, mut state, mut at) = ([0; 128], 1_u32, 0);
            while at < 128 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                classes[at] = state.to_le_bytes()[3];
                at += 1;
            }
            classes
        };
    }

    /// One byte of one row, as tables of few characters have it.
    struct Sparse;

    impl ClassTable for Sparse {
        const CLASSES: Classes = {
            let mut classes = [0; 128];
            classes[0x5c] = 0x81;
            classes
        };
    }

    impl Job for AgreesWithByteLoop<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: Vector>(self, v: V) {
            agrees::<Full, V>(v, self.0);
            agrees::<Sparse, V>(v, self.0);
        }
    }

    #[inline(always)]
    fn agrees<T: ClassTable, V: Vector>(v: V, bytes: &[u8]) {
        let planes = v.planes::<T>(bytes);
        let group = &bytes[..bytes.len().min(V::GROUP_CHUNKS * CHUNK_BYTES)];
        assert_eq!(planes.ascii, group.is_ascii());
        let words = planes.planes.map(|plane| v.words(plane));
        for (at, byte) in group.iter().enumerate() {
            let bit = |plane: &V::Words| plane.as_ref()[at / 64] >> (at % 64) & 1;
            let class = words
                .iter()
                .rev()
                .fold(0, |class, plane| class << 1 | bit(plane));
            let expected = T::CLASSES.get(usize::from(*byte)).copied().unwrap_or(0);
            assert_eq!(class, u64::from(expected), "byte {at} of {}", bytes.len());
        }
        let (bits, places) = (words[0].as_ref()[0], words[1].as_ref()[0]);
        let (mut packed, mut count) = (0, 0);
        for at in 0..64 {
            if places >> at & 1 == 1 {
                packed |= (bits >> at & 1) << count;
                count += 1;
            }
        }
        assert_eq!(v.gather(bits, places), packed);

        let parity = (0..64).fold(0, |parity: u64, at| {
            let before = if at == 0 { 0 } else { parity >> (at - 1) & 1 };
            parity | (before ^ (bits >> at & 1)) << at
        });
        assert_eq!(v.parity_of_word(bits), parity);

        let sought = [(0, b'"'), (0x20, b'{'), (0, 0), (0, 0x9f)];
        for (mask, (set, byte)) in v.equal(bytes, sought).into_iter().zip(sought) {
            for at in 0..CHUNK_BYTES {
                let here = bytes.get(at).copied().unwrap_or(0);
                assert_eq!(mask >> at & 1 == 1, here | set == byte, "byte {at}");
            }
        }
    }

    /// Random words, good enough to find mistakes.
    struct Draw(u64);

    impl Draw {
        fn word(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed ^ mixed >> 29
        }

        fn byte(&mut self) -> u8 {
            self.word().to_le_bytes()[4]
        }
    }

    #[test]
    fn every_level_sorts_bytes_as_the_byte_loop_does() {
        let mut draw = Draw(1);
        for length in (0..=520).chain([700, 1024]) {
            let ascii = draw.word().is_multiple_of(2);
            // Heap slices of exact length: a read past the end is caught by the sanitizers.
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    if ascii {
                        draw.byte() & 0x7f
                    } else {
                        draw.byte()
                    }
                })
                .collect();
            for level in Level::available() {
                level.run(AgreesWithByteLoop(&bytes));
            }
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
        let mut draw = Draw(2);
        let mut word = |kind: u64| {
            let (drawn, place) = (draw.word(), draw.word() % 64);
            match drawn % kind {
                0 => u64::MAX,
                1 => 0,
                2 => 1 << place,
                3 => u64::MAX << place,
                _ => drawn,
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
}
