//! The only source of chance: one number, or the bytes of a fuzzer and then one number, gives the whole sequence.

/// A small generator (SplitMix64) that takes its choices from bytes first, while there are any.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    bytes: Vec<u8>,
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            bytes: Vec::new(),
            state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d),
        }
    }

    /// Every choice takes one of these bytes, the last first, so that a fuzzer's small change is a small change here.
    #[allow(dead_code, reason = "only the fuzz target has bytes")]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            ..Self::new(0)
        }
    }

    fn next(&mut self) -> u64 {
        if let Some(byte) = self.bytes.pop() {
            return u64::from(byte);
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.next() % len as u64).expect("an index fits")
    }

    /// A number from `first` to `last`.
    pub(crate) fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.index(last - first + 1)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.index(100) < chance
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence_and_bytes_come_first() {
        let sequence =
            |mut random: Random| -> Vec<usize> { (0..20).map(|_| random.index(1000)).collect() };
        assert_eq!(sequence(Random::new(7)), sequence(Random::new(7)));
        assert_ne!(sequence(Random::new(7)), sequence(Random::new(8)));
        assert_eq!(sequence(Random::of_bytes(&[2, 1]))[..2], [1, 2]);
    }
}
