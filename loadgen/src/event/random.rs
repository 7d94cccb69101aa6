//! Seeded random numbers for event content.
//!
//! Owns one small generator (SplitMix64) whose sequence is part of the event format: the same run
//! id gives the same events on every machine and version. Promises nothing about cryptography.

/// SplitMix64: a 64-bit state, every output a function of the seed alone.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    /// A generator whose whole sequence is determined by `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
        }
    }

    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`; `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// True in about `percent` of 100 calls.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One element; `from` is not empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.index(from.len())]
    }

    /// An index from 0 to `length - 1`; `length` is at least 1.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// One of the first elements far more often than one of the last, as with users and actions of
    /// a real account: the cube of a uniform number.
    pub(crate) fn skewed(&mut self, length: usize) -> usize {
        let unit = self.below(1 << 16);
        usize::try_from((u128::from(unit * unit * unit) * length as u128) >> 48)
            .expect("below a usize")
    }

    /// A random GUID in lower-case hexadecimal (version 4 form).
    pub(crate) fn guid(&mut self) -> String {
        let (high, low) = (self.bits(), self.bits());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }

    /// A public or private IPv4 address.
    pub(crate) fn address(&mut self) -> String {
        let bits = self.bits();
        match bits >> 60 {
            0..=3 => format!("10.{}.{}.{}", bits & 31, bits >> 8 & 255, bits >> 16 & 255),
            4..=5 => format!(
                "172.{}.{}.{}",
                16 + (bits & 15),
                bits >> 8 & 255,
                bits >> 16 & 255
            ),
            _ => format!(
                "{}.{}.{}.{}",
                11 + bits % 200,
                bits >> 8 & 255,
                bits >> 16 & 255,
                bits >> 24 & 255
            ),
        }
    }
}
