//! The two levels of x86-64: AVX-512 (with VBMI2 and GFNI: Zen 4, Ice Lake and later) and AVX2.
//!
//! See the parent for the contract. AVX2 has groups of one chunk, whose masks are plain words, and packs bits with a
//! loop, since `pext` is microcode on most AMD generations that end at AVX2.

use super::{CHUNK_BYTES, ClassTable, Job, Kind, Level, Planes, Vector};
use std::arch::x86_64::*;
use std::ops::{BitAnd, BitOr, BitOrAssign, BitXor, Not};

pub(super) fn available() -> Vec<Level> {
    let mut levels = Vec::new();
    let common = is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("avx2");
    if common
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
        && is_x86_feature_detected!("gfni")
        && is_x86_feature_detected!("vpclmulqdq")
    {
        levels.push(Level(Kind::Avx512));
    }
    if common {
        levels.push(Level(Kind::Avx2));
    }
    levels
}

#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq,pclmulqdq,avx2,bmi1,bmi2,lzcnt,popcnt"
)]
pub(super) fn run_avx512<J: Job>(job: J) -> J::Output {
    job.run(Avx512(()))
}

#[target_feature(enable = "avx2,pclmulqdq,bmi1,lzcnt,popcnt")]
pub(super) fn run_avx2<J: Job>(job: J) -> J::Output {
    job.run(Avx2(()))
}

/// Exists only inside `run_avx512`, so its instructions are there.
#[derive(Clone, Copy)]
struct Avx512(());

/// Exists only inside `run_avx2`, so its instructions are there.
#[derive(Clone, Copy)]
struct Avx2(());

/// Calls a function of this CPU level from a method of its token.
macro_rules! on_level {
    ($call:expr) => {
        // SAFETY: the token exists only where its level's features were detected.
        unsafe { $call }
    };
}

impl Vector for Avx512 {
    type Words = [u64; 8];
    type Wide = Wide512;

    const GROUP_CHUNKS: usize = 8;

    #[inline(always)]
    fn planes<T: ClassTable>(self, bytes: &[u8]) -> Planes<Wide512> {
        let (planes, ascii) = on_level!(avx512::planes::<T>(bytes));
        Planes {
            planes: planes.map(Wide512),
            ascii,
        }
    }
    #[inline(always)]
    fn equal<const N: usize>(self, bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N] {
        on_level!(avx512::equal(bytes, sought))
    }
    #[inline(always)]
    fn parity_of_word(self, bits: u64) -> u64 {
        on_level!(avx2::prefix_xor(bits))
    }
    #[inline(always)]
    fn gather(self, bits: u64, places: u64) -> u64 {
        on_level!(_pext_u64(bits, places))
    }

    #[inline(always)]
    fn none(self) -> Wide512 {
        Wide512(on_level!(_mm512_setzero_si512()))
    }
    #[inline(always)]
    fn bits_from(self, bit: usize) -> Wide512 {
        Wide512(on_level!(avx512::bits_from(bit)))
    }
    #[inline(always)]
    fn wide(self, words: &[u64; 8]) -> Wide512 {
        // SAFETY: the array is 64 readable bytes, and the load needs no alignment; the token proves the features.
        Wide512(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }
    #[inline(always)]
    fn words(self, wide: Wide512) -> [u64; 8] {
        let mut words = [0; 8];
        // SAFETY: the array is 64 writable bytes, and the store needs no alignment; the token proves the features.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), wide.0) };
        words
    }
    #[inline(always)]
    fn any(self, wide: Wide512) -> bool {
        on_level!(_mm512_test_epi64_mask(wide.0, wide.0)) != 0
    }
    #[inline(always)]
    fn shift(self, wide: Wide512, before: Wide512) -> Wide512 {
        Wide512(on_level!(avx512::shift(wide.0, before.0)))
    }
    #[inline(always)]
    fn add(self, one: Wide512, other: Wide512, carry: u64) -> (Wide512, u64) {
        let (sum, over) = on_level!(avx512::add(one.0, other.0, carry));
        (Wide512(sum), over)
    }
    #[inline(always)]
    fn parity(self, wide: Wide512, carry: u64) -> (Wide512, u64) {
        let (parity, over) = on_level!(avx512::parity(wide.0, carry));
        (Wide512(parity), over)
    }
}

impl Vector for Avx2 {
    type Words = [u64; 1];
    type Wide = u64;

    const GROUP_CHUNKS: usize = 1;

    #[inline(always)]
    fn planes<T: ClassTable>(self, bytes: &[u8]) -> Planes<u64> {
        let (planes, ascii) = on_level!(avx2::planes::<T>(bytes));
        Planes { planes, ascii }
    }
    #[inline(always)]
    fn equal<const N: usize>(self, bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N] {
        on_level!(avx2::equal(bytes, sought))
    }
    #[inline(always)]
    fn parity_of_word(self, bits: u64) -> u64 {
        on_level!(avx2::prefix_xor(bits))
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
        if bit < 64 { u64::MAX << bit } else { 0 }
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
        let parity = on_level!(avx2::prefix_xor(wide)) ^ carry.wrapping_neg();
        (parity, parity >> 63)
    }
}

/// Wide masks in one register; made only by the methods of [`Avx512`], so its instructions are there.
#[derive(Clone, Copy)]
struct Wide512(__m512i);

macro_rules! operator {
    ($operator:ident, $method:ident, $intrinsic:ident) => {
        impl $operator for Wide512 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(on_level!($intrinsic(self.0, other.0)))
            }
        }
    };
}

operator!(BitAnd, bitand, _mm512_and_si512);
operator!(BitOr, bitor, _mm512_or_si512);
operator!(BitXor, bitxor, _mm512_xor_si512);

impl BitOrAssign for Wide512 {
    #[inline(always)]
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl Not for Wide512 {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        self ^ Self::ONES
    }
}

impl Wide512 {
    // SAFETY: both types are 64 bytes, and every pattern of bits is a value of either.
    const ONES: Self = Self(unsafe { std::mem::transmute::<[u64; 8], __m512i>([u64::MAX; 8]) });
}

mod avx512 {
    use super::*;

    /// Looks up the classes of each chunk, turns bytes into bit planes, and turns the planes of eight chunks into
    /// eight wide masks. All of it stays in registers.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
    #[inline]
    pub(super) fn planes<T: ClassTable>(bytes: &[u8]) -> ([__m512i; 8], bool) {
        let (low, high) = const { &T::CLASSES }.split_at(64);
        let table = (load(low), load(high));
        let mut seen = _mm512_setzero_si512();
        let mut rows = [seen; 8];
        if let Some(group) = bytes.first_chunk::<512>() {
            for (row, chunk) in rows.iter_mut().zip(group.as_chunks::<CHUNK_BYTES>().0) {
                let chunk = load(chunk);
                seen = _mm512_or_si512(seen, chunk);
                *row = chunk_planes(chunk, table);
            }
        } else {
            for (row, chunk) in rows.iter_mut().zip(bytes.chunks(CHUNK_BYTES)) {
                let chunk = load(chunk);
                seen = _mm512_or_si512(seen, chunk);
                *row = chunk_planes(chunk, table);
            }
        }
        (transposed(rows), _mm512_movepi8_mask(seen) == 0)
    }

    /// The first bytes of a slice, at most 64, then zeros.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn load(bytes: &[u8]) -> __m512i {
        let present = if bytes.len() < CHUNK_BYTES {
            (1 << bytes.len()) - 1
        } else {
            u64::MAX
        };
        // SAFETY: masked-out bytes are not touched (nor do they fault), and the mask covers only bytes of the slice.
        unsafe { _mm512_maskz_loadu_epi8(present, bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn equal<const N: usize>(bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N] {
        // An empty slice may point anywhere, and a load from an unmapped page, though masked out, takes a slow way
        // through the CPU's microcode.
        let chunk = if bytes.is_empty() {
            _mm512_setzero_si512()
        } else {
            load(bytes)
        };
        let mut masks = [0; N];
        for (mask, (set, byte)) in masks.iter_mut().zip(sought) {
            let bits = _mm512_or_si512(chunk, _mm512_set1_epi8(set.cast_signed()));
            *mask = _mm512_cmpeq_epi8_mask(bits, _mm512_set1_epi8(byte.cast_signed()));
        }
        masks
    }

    /// The planes of one chunk, a word each.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
    #[inline]
    fn chunk_planes(chunk: __m512i, table: (__m512i, __m512i)) -> __m512i {
        // The lookup ignores the top bit, so bytes of 0x80 and above are masked out.
        let ascii = _mm512_cmpge_epi8_mask(chunk, _mm512_setzero_si512());
        let classes = _mm512_maskz_permutex2var_epi8(ascii, table.0, chunk, table.1);
        // A product of bit matrices with the unit matrix in the other place transposes each 8 by 8 bits; it counts
        // the rows of a matrix from its last byte, so the bytes are turned round before.
        let last_first = _mm512_broadcast_i32x4(_mm_set_epi8(
            8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7,
        ));
        let unit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64.cast_signed());
        let squares =
            _mm512_gf2p8affine_epi64_epi8::<0>(unit, _mm512_shuffle_epi8(classes, last_first));
        // Byte p of each square is plane p of its eight bytes: the same plane of all squares becomes one word.
        let by_plane: [u8; 64] = const {
            let (mut order, mut at) = ([0; 64], 0);
            while at < 64 {
                order[at] = (at % 8 * 8 + at / 8).to_le_bytes()[0];
                at += 1;
            }
            order
        };
        _mm512_permutexvar_epi8(load(&by_plane), squares)
    }

    /// Word `w` of row `r` becomes word `r` of row `w`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn transposed(rows: [__m512i; 8]) -> [__m512i; 8] {
        let [a, b, c, d, e, f, g, h] = rows;
        // Pairs of rows: words of even place, then of odd place, two rows side by side.
        let even = [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpacklo_epi64(e, f),
            _mm512_unpacklo_epi64(g, h),
        ];
        let odd = [
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpackhi_epi64(c, d),
            _mm512_unpackhi_epi64(e, f),
            _mm512_unpackhi_epi64(g, h),
        ];
        let [p0, p2, p4, p6] = quarters_transposed(even);
        let [p1, p3, p5, p7] = quarters_transposed(odd);
        [p0, p1, p2, p3, p4, p5, p6, p7]
    }

    /// Quarter `q` of row `r` becomes quarter `r` of row `q`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn quarters_transposed([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        let low_of_ab = _mm512_shuffle_i64x2::<0b01_00_01_00>(a, b);
        let high_of_ab = _mm512_shuffle_i64x2::<0b11_10_11_10>(a, b);
        let low_of_cd = _mm512_shuffle_i64x2::<0b01_00_01_00>(c, d);
        let high_of_cd = _mm512_shuffle_i64x2::<0b11_10_11_10>(c, d);
        [
            _mm512_shuffle_i64x2::<0b10_00_10_00>(low_of_ab, low_of_cd),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(low_of_ab, low_of_cd),
            _mm512_shuffle_i64x2::<0b10_00_10_00>(high_of_ab, high_of_cd),
            _mm512_shuffle_i64x2::<0b11_01_11_01>(high_of_ab, high_of_cd),
        ]
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn bits_from(bit: usize) -> __m512i {
        let bit = _mm512_set1_epi64(bit.min(512).cast_signed() as i64);
        let first_bits = _mm512_set_epi64(448, 384, 320, 256, 192, 128, 64, 0);
        // Shifting a word by 64 and more empties it.
        let distances = _mm512_max_epi64(_mm512_sub_epi64(bit, first_bits), _mm512_setzero_si512());
        _mm512_sllv_epi64(_mm512_set1_epi64(-1), distances)
    }

    #[target_feature(enable = "avx512f,avx512vbmi2")]
    #[inline]
    pub(super) fn shift(wide: __m512i, before: __m512i) -> __m512i {
        let below = _mm512_alignr_epi64::<7>(wide, before);
        _mm512_shldi_epi64::<1>(wide, below)
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(super) fn add(one: __m512i, other: __m512i, carry: u64) -> (__m512i, u64) {
        let ones = _mm512_set1_epi64(-1);
        let sums = _mm512_add_epi64(one, other);
        // A word makes a carry or, when all ones, passes one on. Adding the words' bits as one small number lets the
        // carries run through the passing words just as through the wide number.
        let made = u64::from(_mm512_cmplt_epu64_mask(sums, one));
        let passing = u64::from(_mm512_cmpeq_epi64_mask(sums, ones));
        let ran = (made << 1 | carry) + passing;
        let [receiving, over, ..] = (ran ^ passing).to_le_bytes();
        (
            _mm512_mask_sub_epi64(sums, receiving, sums, ones),
            u64::from(over),
        )
    }

    #[target_feature(enable = "avx512f,avx512dq,vpclmulqdq")]
    #[inline]
    pub(super) fn parity(wide: __m512i, carry: u64) -> (__m512i, u64) {
        let ones = _mm512_set1_epi64(-1);
        // A carryless product with all ones is the parity from the bottom up, of every second word at a time.
        let even = _mm512_clmulepi64_epi128::<0x00>(wide, ones);
        let odd = _mm512_clmulepi64_epi128::<0x01>(wide, ones);
        let within = _mm512_unpacklo_epi64(even, odd);
        let mut words = u64::from(_mm512_movepi64_mask(within));
        words ^= words << 1;
        words ^= words << 2;
        words ^= words << 4;
        let words = (words << 1 & 0x1ff) ^ carry.wrapping_neg();
        let [flipped, over, ..] = words.to_le_bytes();
        (
            _mm512_mask_xor_epi64(within, flipped, within, ones),
            u64::from(over & 1),
        )
    }
}

mod avx2 {
    use super::*;

    #[target_feature(enable = "pclmulqdq")]
    #[inline]
    pub(super) fn prefix_xor(bits: u64) -> u64 {
        // A carryless product with all ones is the parity from the bottom up.
        let product =
            _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits.cast_signed()), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product).cast_unsigned()
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn planes<T: ClassTable>(bytes: &[u8]) -> ([u64; 8], bool) {
        let mut partial = [0; CHUNK_BYTES];
        let chunk = bytes.first_chunk().unwrap_or_else(|| {
            partial[..bytes.len()].copy_from_slice(bytes);
            &partial
        });
        let (low, high) = chunk.split_at(32);
        let (low, high) = (load(low), load(high));
        let (low_planes, high_planes) = (half_planes::<T>(low), half_planes::<T>(high));
        let mut planes = [0; 8];
        for (plane, (low, high)) in planes
            .iter_mut()
            .zip(low_planes.into_iter().zip(high_planes))
        {
            *plane = u64::from(low) | u64::from(high) << 32;
        }
        (
            planes,
            _mm256_movemask_epi8(_mm256_or_si256(low, high)) == 0,
        )
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn equal<const N: usize>(bytes: &[u8], sought: [(u8, u8); N]) -> [u64; N] {
        let mut partial = [0; CHUNK_BYTES];
        let chunk = bytes.first_chunk().unwrap_or_else(|| {
            partial[..bytes.len()].copy_from_slice(bytes);
            &partial
        });
        let (low, high) = chunk.split_at(32);
        let halves = [load(low), load(high)];
        let mut masks = [0; N];
        for (mask, (set, byte)) in masks.iter_mut().zip(sought) {
            let (set, byte) = (
                _mm256_set1_epi8(set.cast_signed()),
                _mm256_set1_epi8(byte.cast_signed()),
            );
            for (place, half) in halves.iter().enumerate() {
                let same = _mm256_cmpeq_epi8(_mm256_or_si256(*half, set), byte);
                *mask |= u64::from(_mm256_movemask_epi8(same).cast_unsigned()) << (32 * place);
            }
        }
        masks
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(half: &[u8]) -> __m256i {
        let half: &[u8; 32] = half.first_chunk().expect("half a chunk has 32 bytes");
        // SAFETY: the array is 32 readable bytes, and the load needs no alignment.
        unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn half_planes<T: ClassTable>(half: __m256i) -> [u32; 8] {
        let mut found = _mm256_setzero_si256();
        let mut first = 0;
        for row in const { &T::CLASSES }.as_chunks::<16>().0 {
            // Rows without any class cost nothing: the table is known when this is compiled.
            if row.iter().any(|class| *class != 0) {
                // SAFETY: the row is 16 readable bytes, and the load needs no alignment.
                let row = unsafe { _mm_loadu_si128(row.as_ptr().cast()) };
                // Bytes of this row become 0x70 to 0x7f, all others 0x80 and above, which look up nothing.
                let index = _mm256_xor_si256(half, _mm256_set1_epi8(first));
                let index = _mm256_adds_epu8(index, _mm256_set1_epi8(0x70));
                let classes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(row), index);
                found = _mm256_or_si256(found, classes);
            }
            first = first.wrapping_add(16);
        }
        let mut planes = [0; 8];
        for plane in planes.iter_mut().rev() {
            *plane = _mm256_movemask_epi8(found).cast_unsigned();
            // Doubling a byte brings its next bit to the top.
            found = _mm256_add_epi8(found, found);
        }
        planes
    }
}
