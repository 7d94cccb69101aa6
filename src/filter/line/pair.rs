//! Searching an ASCII term in any case, by two of its bytes at once.
//!
//! Owns: which two, and the search with vector instructions. Promises: what the obvious search finds, at about the speed
//! of reading: a chunk of a line seldom has the two rarest bytes of a term just as far apart as the term has them.
//! Leaves to others: whether the term may stand there.

use crate::os::simd::{CHUNK_BYTES, Job, Level, Vector};

/// A lower-case ASCII term and the two bytes of it that are looked for.
#[derive(Debug, Clone)]
pub(super) struct PairSearch {
    term: Box<[u8]>,
    pair: [Sought; 2],
}

/// A byte of the term.
#[derive(Debug, Clone, Copy)]
struct Sought {
    /// Its place in the term.
    at: usize,
    /// Bits to be set before the comparison, and what then is equal.
    equal: (u8, u8),
}

impl PairSearch {
    /// Of a term that is not empty.
    pub(super) fn new(term: &[u8]) -> Self {
        let mut places: Vec<usize> = (0..term.len()).collect();
        places.sort_by_key(|at| commonness(term[*at]));
        let rarest = places.first().copied().unwrap_or(0);
        // Two equal bytes would say less.
        let other = places.iter().find(|at| term[**at] != term[rarest]);
        let pair = [rarest, other.copied().unwrap_or(rarest)].map(|at| Sought {
            at,
            equal: match term[at] {
                letter if letter.is_ascii_lowercase() => (0x20, letter),
                other => (0, other),
            },
        });
        Self {
            term: term.into(),
            pair,
        }
    }

    /// The first place of the term from `from` on.
    pub(super) fn find(&self, level: Option<Level>, text: &[u8], from: usize) -> Option<usize> {
        match level {
            Some(level) => level.run(Find {
                search: self,
                text,
                from,
            }),
            None => self.find_portably(text, from),
        }
    }

    fn find_portably(&self, text: &[u8], from: usize) -> Option<usize> {
        let Sought { at, equal } = self.pair[0];
        let within = text.get(from + at..)?;
        memchr::memchr2_iter(equal.1, equal.1.to_ascii_uppercase(), within)
            .map(|found| from + found)
            .find(|start| self.is_at(text, *start))
    }

    #[inline(always)]
    fn is_at(&self, text: &[u8], start: usize) -> bool {
        text.get(start..start + self.term.len())
            .is_some_and(|here| here.eq_ignore_ascii_case(&self.term))
    }
}

struct Find<'a> {
    search: &'a PairSearch,
    text: &'a [u8],
    from: usize,
}

impl Job for Find<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn run<V: Vector>(self, v: V) -> Option<usize> {
        let Self { search, text, from } = self;
        let mut start = from;
        while start + search.term.len() <= text.len() {
            let [one, other] = search.pair.map(|sought| &text[start + sought.at..]);
            let [first, second] = search.pair.map(|sought| [sought.equal]);
            // Whole chunks go without the question how many bytes there are.
            let mut both = match (one.first_chunk::<CHUNK_BYTES>(), other.first_chunk()) {
                (Some(one), Some::<&[u8; CHUNK_BYTES]>(other)) => {
                    v.equal(one, first)[0] & v.equal(other, second)[0]
                }
                _ => v.equal(one, first)[0] & v.equal(other, second)[0],
            };
            while both != 0 {
                let found = start + both.trailing_zeros() as usize;
                if search.is_at(text, found) {
                    return Some(found);
                }
                both &= both - 1;
            }
            start += CHUNK_BYTES;
        }
        None
    }
}

/// How often a byte stands in JSON lines of logs, both cases together, roughly: the later in the list the more.
fn commonness(byte: u8) -> usize {
    const RARE_FIRST: &[u8] =
        b"~^`|#$&!?*%<>;\\'+@zqjxk=w()vhyfgu[]{}bmpdl/9876543 _2.1-0onrsicat:,e\"";
    RARE_FIRST
        .iter()
        .position(|listed| *listed == byte)
        .unwrap_or(0)
}
