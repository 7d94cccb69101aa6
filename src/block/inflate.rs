//! Reading bodies: exact, bounded, and with proof that a run can be spliced.
//!
//! Bodies come from disk, so nothing about them is believed: the raw length is declared beside
//! the body and must be met exactly, memory never exceeds it, and what was read must accept
//! the final empty block that a splice puts behind it. Deflate has no checksum of its own; the
//! block's CRCs are the journal format's to check. Always zlib-rs, whatever made the body.

use flate2::{Decompress, FlushDecompress, Status};

use super::CodecId;
use super::codec::{CodecError, FINAL_BLOCK};

/// Reads bodies, always with zlib-rs. One per thread that reads; the state is reused.
#[derive(Debug)]
pub struct Inflater {
    inflate: Decompress,
}

impl Inflater {
    /// Allocates the state (about 50 KiB).
    #[must_use]
    pub fn new() -> Self {
        Self {
            inflate: Decompress::new(false),
        }
    }

    /// Appends the raw form of a body stored under `codec`, exactly `raw_len` bytes, to `out`.
    /// On an error `out` is as it was.
    ///
    /// # Errors
    /// As [`Inflater::inflate_run`]; a stored body must be as long as declared.
    pub fn read_body(
        &mut self,
        codec: CodecId,
        body: &[u8],
        raw_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let body_len = body.len();
        match codec {
            CodecId::DeflateRun => self.inflate_run(body, raw_len, out),
            CodecId::Stored if body_len < raw_len => Err(CodecError::Shorter {
                body_len,
                got: body_len,
                expected: raw_len,
            }),
            CodecId::Stored if body_len > raw_len => Err(CodecError::Longer {
                body_len,
                expected: raw_len,
            }),
            CodecId::Stored => {
                out.extend_from_slice(body);
                Ok(())
            }
        }
    }

    /// Appends the raw bytes of one run (or of several, one behind the other), exactly
    /// `raw_len`, to `out`, and proves that the run can be spliced: not final, whole, ended on
    /// a byte boundary. On an error `out` is as it was.
    ///
    /// # Errors
    /// [`CodecError::Implausible`] before memory is taken; [`CodecError::Corrupt`],
    /// [`CodecError::Shorter`], [`CodecError::Longer`] or [`CodecError::NotARun`] by what the
    /// body turns out to be.
    pub fn inflate_run(
        &mut self,
        body: &[u8],
        raw_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if raw_len > body.len().saturating_mul(DEFLATE_RATIO_MAX) {
            return Err(CodecError::Implausible {
                body_len: body.len(),
                expected: raw_len,
            });
        }
        let start = out.len();
        out.resize(start + raw_len, 0);
        let outcome = self.inflate_exact(body, &mut out[start..]);
        if outcome.is_err() {
            out.truncate(start);
        }
        outcome
    }

    /// Fills `raw` from `body`; both must end together.
    fn inflate_exact(&mut self, body: &[u8], raw: &mut [u8]) -> Result<(), CodecError> {
        let body_len = body.len();
        let expected = raw.len();
        self.inflate.reset(false);
        let mut status = self.inflate_step(body, body, raw)?;
        // What is left of the body, the last flush marker as a rule, must give nothing. The
        // byte behind the end takes what it gives all the same.
        let mut behind = [0u8; 1];
        let rest = &body[self.consumed(body_len)..];
        if status != Status::StreamEnd && !rest.is_empty() {
            status = self.inflate_step(body, rest, &mut behind)?;
        }
        let consumed = self.inflate.total_in();
        if self.inflate.total_out() < expected as u64 {
            let got = usize::try_from(self.inflate.total_out()).unwrap_or(expected);
            return Err(CodecError::Shorter {
                body_len,
                got,
                expected,
            });
        }
        let mut is_run = false;
        if status != Status::StreamEnd && consumed == body_len as u64 {
            // The end that a splice puts behind a run must end this one as well; it does not
            // when the run breaks off within a block or a byte, or still owes bytes.
            let end = self
                .inflate
                .decompress(&FINAL_BLOCK, &mut behind, FlushDecompress::None);
            let end_read = self.inflate.total_in() - consumed;
            is_run = end.is_ok_and(|status| status == Status::StreamEnd)
                && end_read == FINAL_BLOCK.len() as u64;
        }
        if self.inflate.total_out() > expected as u64 {
            Err(CodecError::Longer { body_len, expected })
        } else if is_run {
            Ok(())
        } else {
            Err(CodecError::NotARun { body_len, consumed })
        }
    }

    /// One call of the decompressor on `input`, a tail of `body`.
    fn inflate_step(
        &mut self,
        body: &[u8],
        input: &[u8],
        raw: &mut [u8],
    ) -> Result<Status, CodecError> {
        self.inflate
            .decompress(input, raw, FlushDecompress::None)
            .map_err(|error| CodecError::Corrupt {
                body_len: body.len(),
                consumed: self.inflate.total_in(),
                reason: error.message().unwrap_or("invalid deflate").to_owned(),
            })
    }

    /// Bytes of the body read so far.
    fn consumed(&self, body_len: usize) -> usize {
        usize::try_from(self.inflate.total_in()).map_or(body_len, |read| read.min(body_len))
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

/// Entry for fuzzing: the first two bytes declare a raw length, the rest is a body.
///
/// # Panics
/// When a postcondition fails: a run that is read has the declared length and can be spliced
/// (twice in a row it reads as twice the bytes), and one that is refused leaves `out` alone.
pub fn fuzz_inflate(data: &[u8]) {
    let Some((declared, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let raw_len = usize::from(u16::from_le_bytes(*declared));
    let mut inflater = Inflater::new();
    let mut out = b"before".to_vec();
    if inflater.inflate_run(body, raw_len, &mut out).is_err() {
        assert_eq!(out, b"before", "a refused body left bytes behind");
        return;
    }
    assert_eq!(out.len(), "before".len() + raw_len);
    let mut twice = Vec::new();
    let again = inflater.inflate_run(&[body, body].concat(), 2 * raw_len, &mut twice);
    assert_eq!(again, Ok(()), "a run that was read could not be spliced");
    assert_eq!(twice[..raw_len], out["before".len()..]);
}

/// Raw bytes that one byte of deflate can stand for, at most (258 for each two bits, 1,032).
const DEFLATE_RATIO_MAX: usize = 1_032;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::codec::tests::{codecs, inflate, noise, prose, run_of};
    use crate::block::codec::{CompressionLevel, ZlibCodec};

    #[test]
    fn body_of_another_length_than_declared_is_refused_and_leaves_the_buffer_alone() {
        for codec in &mut codecs() {
            for raw in [prose(40_000, 5), vec![b'a'; 40_000], noise(40_000, 5)] {
                let run = run_of(codec.as_mut(), &raw);
                let mut inflater = Inflater::new();
                for declared in [0, 1, raw.len() - 258, raw.len() - 1] {
                    let mut out = b"x".to_vec();
                    let error = inflater.inflate_run(&run, declared, &mut out).unwrap_err();
                    assert!(matches!(error, CodecError::Longer { .. }), "{error}");
                    assert_eq!(out, b"x");
                }
                let mut out = b"x".to_vec();
                let error = inflater
                    .inflate_run(&run, raw.len() + 1, &mut out)
                    .unwrap_err();
                assert!(
                    matches!(error, CodecError::Shorter { got, .. } if got == raw.len()),
                    "{error}"
                );
                assert_eq!(out, b"x");
            }
        }
    }

    #[test]
    fn declared_length_beyond_what_deflate_can_hold_takes_no_memory() {
        let mut out = Vec::new();
        let error = Inflater::new()
            .inflate_run(&[0; 100], usize::MAX / 2, &mut out)
            .unwrap_err();
        assert!(matches!(
            error,
            CodecError::Implausible { body_len: 100, .. }
        ));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn deflate_that_a_splice_could_not_continue_is_not_a_run() {
        let mut codec = ZlibCodec::new(CompressionLevel::FASTEST);
        let run = run_of(&mut codec, b"{}\n");
        let not_a_run = |body: &[u8]| {
            let error = inflate(body, 3).unwrap_err();
            assert!(matches!(error, CodecError::NotARun { .. }), "{error}");
        };
        // Ended for good; with bytes behind the end; with the marker cut within.
        not_a_run(&[&run[..], &FINAL_BLOCK].concat());
        not_a_run(&[&run[..], &FINAL_BLOCK, b"more"].concat());
        not_a_run(&run[..run.len() - 1]);
        // The block before the marker ends off the byte boundary.
        assert!(inflate(&run[..run.len() - 5], 3).is_err());
    }

    #[test]
    fn stored_body_must_be_as_long_as_declared() {
        let mut inflater = Inflater::new();
        let mut out = Vec::new();
        inflater
            .read_body(CodecId::Stored, b"ab", 2, &mut out)
            .unwrap();
        assert_eq!(out, b"ab");
        let shorter = inflater.read_body(CodecId::Stored, b"ab", 3, &mut out);
        assert!(matches!(shorter, Err(CodecError::Shorter { got: 2, .. })));
        let longer = inflater.read_body(CodecId::Stored, b"ab", 1, &mut out);
        assert!(matches!(
            longer,
            Err(CodecError::Longer { expected: 1, .. })
        ));
        assert_eq!(out, b"ab");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A damaged body gives an error or, since deflate has no checksum, other bytes of the
        /// declared length; the CRCs of the block tell those.
        #[test]
        fn damaged_body_never_panics_nor_breaks_its_bounds(
            seed in any::<u64>(),
            len in 1usize..5000,
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            for codec in &mut codecs() {
                let raw = prose(len, seed);
                let mut body = run_of(codec.as_mut(), &raw);
                let cut = cut.index(body.len());
                // A cut is seen, unless it takes nothing but the marker off a block that
                // happens to end on a byte boundary, which leaves a run.
                if let Ok(read) = inflate(&body[..cut], len) {
                    prop_assert!(body.len() - cut == 5, "cut at {cut} was read");
                    prop_assert!(read == raw);
                }
                for (at, bits) in &flips {
                    let at = at.index(body.len());
                    body[at] ^= bits;
                }
                let mut out = b"before".to_vec();
                match Inflater::new().inflate_run(&body, len, &mut out) {
                    Ok(()) => prop_assert_eq!(out.len(), 6 + len),
                    Err(_) => prop_assert_eq!(&out[..], b"before"),
                }
            }
        }

        #[test]
        fn fuzz_entry_holds_its_postconditions(
            data in prop::collection::vec(any::<u8>(), 0..400),
            raw in prop::collection::vec(0u8..4, 1..300),
        ) {
            fuzz_inflate(&data);
            let run = run_of(&mut ZlibCodec::new(CompressionLevel::FASTEST), &raw);
            let declared = u16::try_from(raw.len()).unwrap().to_le_bytes();
            fuzz_inflate(&[&declared[..], &run].concat());
        }
    }
}
