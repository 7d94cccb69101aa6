//! The two levels of x86-64: AVX-512 (BW, VBMI2 generation) and AVX2. See the parent for the contract.
//!
//! AVX2 has groups of one chunk, whose masks are plain words, and packs bits with a loop, since `pext` is microcode on the AMD generations that end at AVX2.

use super::{CHUNK_BYTES, Job, Kind, Level, Vector};
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
        && is_x86_feature_detected!("avx512vbmi2")
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
    enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,vpclmulqdq,pclmulqdq,avx2,bmi1,bmi2,lzcnt,popcnt"
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
    type Chunk = __m512i;
    type Words = [u64; 8];
    type Wide = Wide512;

    const GROUP_CHUNKS: usize = 8;

    #[inline(always)]
    fn load(self, bytes: &[u8; CHUNK_BYTES]) -> __m512i {
        // SAFETY: the array is 64 readable bytes, and the load needs no alignment; the token proves the features.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }
    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> __m512i {
        on_level!(avx512::load_partial(bytes))
    }
    #[inline(always)]
    fn merge(self, one: __m512i, other: __m512i) -> __m512i {
        on_level!(_mm512_or_si512(one, other))
    }
    #[inline(always)]
    fn equal(self, chunk: __m512i, byte: u8) -> u64 {
        on_level!(avx512::equal(chunk, byte))
    }
    #[inline(always)]
    fn equal_folded(self, chunk: __m512i, byte: u8) -> u64 {
        on_level!(avx512::equal_folded(chunk, byte))
    }
    #[inline(always)]
    fn within(self, chunk: __m512i, low: u8, count: u8) -> u64 {
        on_level!(avx512::within(chunk, low, count))
    }
    #[inline(always)]
    fn within_folded(self, chunk: __m512i, low: u8, count: u8) -> u64 {
        on_level!(avx512::within_folded(chunk, low, count))
    }
    #[inline(always)]
    fn equal_to_entry(self, chunk: __m512i, table: &[u8; 16]) -> u64 {
        on_level!(avx512::equal_to_entry(chunk, table))
    }
    #[inline(always)]
    fn non_ascii(self, chunk: __m512i) -> u64 {
        on_level!(_mm512_movepi8_mask(chunk))
    }
    #[inline(always)]
    fn bit_0x20(self, chunk: __m512i) -> u64 {
        on_level!(avx512::bit_0x20(chunk))
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
    type Chunk = [__m256i; 2];
    type Words = [u64; 1];
    type Wide = u64;

    const GROUP_CHUNKS: usize = 1;

    #[inline(always)]
    fn load(self, bytes: &[u8; CHUNK_BYTES]) -> [__m256i; 2] {
        on_level!(avx2::load(bytes))
    }
    #[inline(always)]
    fn load_partial(self, bytes: &[u8]) -> [__m256i; 2] {
        let mut whole = [b' '; CHUNK_BYTES];
        let count = bytes.len().min(CHUNK_BYTES);
        whole[..count].copy_from_slice(&bytes[..count]);
        self.load(&whole)
    }
    #[inline(always)]
    fn merge(self, one: [__m256i; 2], other: [__m256i; 2]) -> [__m256i; 2] {
        on_level!(avx2::merge(one, other))
    }
    #[inline(always)]
    fn equal(self, chunk: [__m256i; 2], byte: u8) -> u64 {
        on_level!(avx2::equal(chunk, byte))
    }
    #[inline(always)]
    fn equal_folded(self, chunk: [__m256i; 2], byte: u8) -> u64 {
        on_level!(avx2::equal_folded(chunk, byte))
    }
    #[inline(always)]
    fn within(self, chunk: [__m256i; 2], low: u8, count: u8) -> u64 {
        on_level!(avx2::within(chunk, low, count))
    }
    #[inline(always)]
    fn within_folded(self, chunk: [__m256i; 2], low: u8, count: u8) -> u64 {
        on_level!(avx2::within_folded(chunk, low, count))
    }
    #[inline(always)]
    fn equal_to_entry(self, chunk: [__m256i; 2], table: &[u8; 16]) -> u64 {
        on_level!(avx2::equal_to_entry(chunk, table))
    }
    #[inline(always)]
    fn non_ascii(self, chunk: [__m256i; 2]) -> u64 {
        on_level!(avx2::mask(chunk))
    }
    #[inline(always)]
    fn bit_0x20(self, chunk: [__m256i; 2]) -> u64 {
        on_level!(avx2::bit_0x20(chunk))
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

    #[target_feature(enable = "avx512f,avx512bw,bmi2")]
    #[inline]
    pub(super) fn load_partial(bytes: &[u8]) -> __m512i {
        let count = bytes.len().min(CHUNK_BYTES);
        let present = if count == CHUNK_BYTES {
            u64::MAX
        } else {
            (1 << count) - 1
        };
        let spaces = _mm512_set1_epi8(0x20);
        // SAFETY: masked-out bytes are not touched (nor do they fault), and the mask covers only bytes of the slice.
        unsafe { _mm512_mask_loadu_epi8(spaces, present, bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn equal(chunk: __m512i, byte: u8) -> u64 {
        _mm512_cmpeq_epi8_mask(chunk, _mm512_set1_epi8(byte.cast_signed()))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn equal_folded(chunk: __m512i, byte: u8) -> u64 {
        equal(_mm512_or_si512(chunk, _mm512_set1_epi8(0x20)), byte)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn within_folded(chunk: __m512i, low: u8, count: u8) -> u64 {
        within(_mm512_or_si512(chunk, _mm512_set1_epi8(0x20)), low, count)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn within(chunk: __m512i, low: u8, count: u8) -> u64 {
        let from_low = _mm512_sub_epi8(chunk, _mm512_set1_epi8(low.cast_signed()));
        _mm512_cmplt_epu8_mask(from_low, _mm512_set1_epi8(count.cast_signed()))
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn equal_to_entry(chunk: __m512i, table: &[u8; 16]) -> u64 {
        let quarter = u128::from_le_bytes(*table);
        let low = i64::from_le_bytes(
            quarter.to_le_bytes()[..8]
                .try_into()
                .expect("8 of 16 bytes"),
        );
        let high = i64::from_le_bytes(
            quarter.to_le_bytes()[8..]
                .try_into()
                .expect("8 of 16 bytes"),
        );
        let entries = _mm512_broadcast_i32x4(_mm_set_epi64x(high, low));
        _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(entries, chunk), chunk)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn bit_0x20(chunk: __m512i) -> u64 {
        _mm512_test_epi8_mask(chunk, _mm512_set1_epi8(0x20))
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
    pub(super) fn merge(one: [__m256i; 2], other: [__m256i; 2]) -> [__m256i; 2] {
        [
            _mm256_or_si256(one[0], other[0]),
            _mm256_or_si256(one[1], other[1]),
        ]
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn load(bytes: &[u8; CHUNK_BYTES]) -> [__m256i; 2] {
        let (low, high) = bytes.split_at(32);
        // SAFETY: the first half of the array is 32 readable bytes, and the load needs no alignment.
        let low = unsafe { _mm256_loadu_si256(low.as_ptr().cast()) };
        // SAFETY: the second half of the array is 32 readable bytes, and the load needs no alignment.
        let high = unsafe { _mm256_loadu_si256(high.as_ptr().cast()) };
        [low, high]
    }

    /// The top bit of each byte.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn mask(chunk: [__m256i; 2]) -> u64 {
        let low = _mm256_movemask_epi8(chunk[0]).cast_unsigned();
        let high = _mm256_movemask_epi8(chunk[1]).cast_unsigned();
        u64::from(low) | u64::from(high) << 32
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn equal(chunk: [__m256i; 2], byte: u8) -> u64 {
        let wanted = _mm256_set1_epi8(byte.cast_signed());
        mask([
            _mm256_cmpeq_epi8(chunk[0], wanted),
            _mm256_cmpeq_epi8(chunk[1], wanted),
        ])
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn equal_folded(chunk: [__m256i; 2], byte: u8) -> u64 {
        let bit = _mm256_set1_epi8(0x20);
        equal(merge(chunk, [bit, bit]), byte)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn within_folded(chunk: [__m256i; 2], low: u8, count: u8) -> u64 {
        let bit = _mm256_set1_epi8(0x20);
        within(merge(chunk, [bit, bit]), low, count)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn within(chunk: [__m256i; 2], low: u8, count: u8) -> u64 {
        // There is no unsigned comparison: a byte is at most the bound when the smaller of both is the byte.
        let low = _mm256_set1_epi8(low.cast_signed());
        let last = _mm256_set1_epi8((count - 1).cast_signed());
        let from_low = [
            _mm256_sub_epi8(chunk[0], low),
            _mm256_sub_epi8(chunk[1], low),
        ];
        mask([
            _mm256_cmpeq_epi8(_mm256_min_epu8(from_low[0], last), from_low[0]),
            _mm256_cmpeq_epi8(_mm256_min_epu8(from_low[1], last), from_low[1]),
        ])
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn equal_to_entry(chunk: [__m256i; 2], table: &[u8; 16]) -> u64 {
        // SAFETY: the table is 16 readable bytes, and the load needs no alignment.
        let entries = unsafe { _mm_loadu_si128(table.as_ptr().cast()) };
        let entries = _mm256_broadcastsi128_si256(entries);
        mask([
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(entries, chunk[0]), chunk[0]),
            _mm256_cmpeq_epi8(_mm256_shuffle_epi8(entries, chunk[1]), chunk[1]),
        ])
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn bit_0x20(chunk: [__m256i; 2]) -> u64 {
        // Bit 5 becomes the top bit of its byte: whole words may shift, only bits 0 to 4 cross into a neighbour.
        mask([
            _mm256_slli_epi16::<2>(chunk[0]),
            _mm256_slli_epi16::<2>(chunk[1]),
        ])
    }
}
