//! The codec: what turns a block's raw form into its body and back.
//!
//! A body is a **run**: raw deflate (RFC 1951), not final, ended on a byte boundary by a full
//! flush (`00 00 ff ff`), and independent of every other run. So any number of runs in any
//! order, with a final empty block behind them, is one deflate stream; `stream::gzip` builds
//! on that. No raw bytes make an empty run of no bytes.
//!
//! Promises: the state of a codec or [`Inflater`] is reused, so a block costs no allocation
//! beyond the room in the caller's buffer; a run is never longer than [`run_bytes_max`], since
//! what does not shrink is stored; bytes from disk give errors, never a panic, and never more
//! memory than the declared length. Checksums and the place of the body in the image are the
//! journal format's matter. Reading is in `inflate.rs`; ISA-L, behind feature `isal`, is in
//! `isal.rs`.

use flate2::{Compress, Compression, FlushCompress};
use thiserror::Error;

use super::CodecId;
pub use super::inflate::{Inflater, fuzz_inflate};

/// Compresses blocks into runs that can be spliced. One per shard or stream thread; the state
/// is large (about 300 KiB) and reused.
pub trait Codec: Send {
    /// How a body made by this codec is marked on disk.
    fn id(&self) -> CodecId;

    /// The library behind it, for logs and benches.
    fn name(&self) -> &'static str;

    /// Appends the run of `raw` to `out`, at most [`run_bytes_max`] bytes; nothing for empty
    /// `raw`. On an error `out` is as it was.
    ///
    /// # Errors
    /// [`CodecError::RawTooLong`] above [`RUN_RAW_BYTES_MAX`]; [`CodecError::Deflate`] when the
    /// library refuses, which no input causes.
    fn compress_run(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// The fastest codec this build has.
#[must_use]
pub fn best_codec(level: CompressionLevel) -> Box<dyn Codec> {
    #[cfg(feature = "isal")]
    {
        Box::new(super::isal::IsalCodec::new(level))
    }
    #[cfg(not(feature = "isal"))]
    {
        Box::new(ZlibCodec::new(level))
    }
}

/// Room that a run of `raw_len` raw bytes can take, at most: stored blocks of 65,535 bytes with
/// 5 bytes of header each, and the flush marker.
#[must_use]
pub const fn run_bytes_max(raw_len: usize) -> usize {
    raw_len + STORED_HEADER_BYTES * raw_len.div_ceil(STORED_BLOCK_BYTES_MAX) + FLUSH_MARKER.len()
}

/// Room that a codec reserves in the caller's buffer for `raw_len` raw bytes while it works:
/// fixed codes at 9 bits a byte, before it sees that storing is shorter. A buffer with that
/// much spare capacity is never reallocated.
#[must_use]
pub const fn run_room_bytes(raw_len: usize) -> usize {
    raw_len + raw_len / 8 + 512
}

/// What can go wrong between raw bytes and a body.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodecError {
    /// More raw bytes than a run may hold.
    #[error("compress {raw_len} bytes: a run holds at most {raw_len_max}")]
    RawTooLong { raw_len: usize, raw_len_max: usize },
    /// The compressor failed. Not caused by any input: a fault of the library or its set-up.
    #[error("compress {raw_len} bytes with {codec}: {reason}")]
    Deflate {
        codec: &'static str,
        raw_len: usize,
        reason: String,
    },
    /// The body is not deflate from byte `consumed` on.
    #[error("inflate body of {body_len} bytes: corrupt near byte {consumed}: {reason}")]
    Corrupt {
        body_len: usize,
        consumed: u64,
        reason: String,
    },
    /// The body holds fewer raw bytes than declared, or breaks off.
    #[error("inflate body of {body_len} bytes: gave {got} raw bytes, declared {expected}")]
    Shorter {
        body_len: usize,
        got: usize,
        expected: usize,
    },
    /// The body holds more raw bytes than declared.
    #[error("inflate body of {body_len} bytes: gives more than the declared {expected} raw bytes")]
    Longer { body_len: usize, expected: usize },
    /// The body is deflate of the right length but could not be spliced: it is final, does not
    /// end on a byte boundary, or has bytes behind its end.
    #[error(
        "inflate body of {body_len} bytes: not a whole run, its deflate ends at byte {consumed}"
    )]
    NotARun { body_len: usize, consumed: u64 },
    /// No body of that length can hold that many raw bytes; refused before memory is taken.
    #[error("inflate body of {body_len} bytes: cannot hold the declared {expected} raw bytes")]
    Implausible { body_len: usize, expected: usize },
}

/// How hard to compress: 1 (fastest, the default) to 9.
///
/// zlib-rs has all nine; ISA-L has 1, 2 and 3, and takes 3 for all above. Level 2 of zlib-rs
/// gives about the ratio of ISA-L level 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CompressionLevel(u8);

impl CompressionLevel {
    /// Level 1.
    pub const FASTEST: Self = Self(1);

    /// A level of 1 to 9; `None` outside.
    #[must_use]
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            1..=9 => Some(Self(level)),
            _ => None,
        }
    }

    /// The level, 1 to 9.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for CompressionLevel {
    fn default() -> Self {
        Self::FASTEST
    }
}

/// The portable codec: zlib-rs, pure Rust.
#[derive(Debug)]
pub struct ZlibCodec {
    deflate: Compress,
}

impl ZlibCodec {
    /// Allocates the state (about 300 KiB).
    #[must_use]
    pub fn new(level: CompressionLevel) -> Self {
        let level = Compression::new(u32::from(level.level()));
        Self {
            deflate: Compress::new(level, false),
        }
    }
}

impl Codec for ZlibCodec {
    fn id(&self) -> CodecId {
        CodecId::DeflateRun
    }

    fn name(&self) -> &'static str {
        "zlib-rs"
    }

    fn compress_run(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if !reserve_run(raw, out)? {
            return Ok(());
        }
        let start = out.len();
        let flushed = self.deflate_all(raw, out);
        if let Err(reason) = flushed {
            out.truncate(start);
            return Err(CodecError::Deflate {
                codec: self.name(),
                raw_len: raw.len(),
                reason,
            });
        }
        store_if_larger(raw, out, start);
        Ok(())
    }
}

impl ZlibCodec {
    /// Compresses and flushes, giving room until all is written. As a rule one call does it.
    ///
    /// Every run is drained to its end, also one that would better be stored: zlib-rs 0.6.8
    /// keeps its place in a half drained output buffer across a reset and panics on a later
    /// run.
    fn deflate_all(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.deflate.reset();
        let mut rest = raw;
        loop {
            let read_before = self.deflate.total_in();
            self.deflate
                .compress_vec(rest, out, FlushCompress::Full)
                .map_err(|error| error.to_string())?;
            let read = usize::try_from(self.deflate.total_in() - read_before)
                .expect("no more is read than was given");
            rest = &rest[read..];
            // Room left is deflate's sign that the flush is complete.
            if out.len() < out.capacity() {
                return if rest.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{} bytes were not read", rest.len()))
                };
            }
            out.reserve(RESERVE_MORE_BYTES.max(rest.len()));
        }
    }
}

/// Refuses what is too long, makes room for the run of the rest; false when the run is empty.
pub(super) fn reserve_run(raw: &[u8], out: &mut Vec<u8>) -> Result<bool, CodecError> {
    if raw.len() > RUN_RAW_BYTES_MAX {
        return Err(CodecError::RawTooLong {
            raw_len: raw.len(),
            raw_len_max: RUN_RAW_BYTES_MAX,
        });
    }
    if raw.is_empty() {
        return Ok(false);
    }
    out.reserve(run_room_bytes(raw.len()));
    Ok(true)
}

/// Replaces the run of `raw` that begins at `start` by stored blocks, which are a run as well,
/// where those are shorter.
pub(super) fn store_if_larger(raw: &[u8], out: &mut Vec<u8>, start: usize) {
    if out.len() - start <= run_bytes_max(raw.len()) {
        return;
    }
    out.truncate(start);
    for chunk in raw.chunks(STORED_BLOCK_BYTES_MAX) {
        let len = u16::try_from(chunk.len()).expect("a chunk is at most 65,535 bytes");
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out.extend_from_slice(&FLUSH_MARKER);
}

/// Raw bytes in one run, at most: far above a block, far below where ISA-L's 32-bit totals wrap.
pub const RUN_RAW_BYTES_MAX: usize = 256 << 20;

/// The final empty block with fixed codes: what ends a splice.
pub const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];

/// Further room when what was reserved did not do; far above the few bytes of a flush marker.
pub(super) const RESERVE_MORE_BYTES: usize = 4 << 10;

/// An empty stored block on a byte boundary; its last four bytes are what a flush ends with.
const FLUSH_MARKER: [u8; 5] = [0x00, 0x00, 0x00, 0xff, 0xff];

/// Most bytes in one stored deflate block.
const STORED_BLOCK_BYTES_MAX: usize = 65_535;

/// Bytes in front of each stored block.
const STORED_HEADER_BYTES: usize = 5;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every codec of this build, so that each property is shown for each.
    pub(crate) fn codecs() -> Vec<Box<dyn Codec>> {
        let mut codecs: Vec<Box<dyn Codec>> = Vec::new();
        for level in [
            CompressionLevel::FASTEST,
            CompressionLevel(2),
            CompressionLevel(6),
        ] {
            codecs.push(Box::new(ZlibCodec::new(level)));
            #[cfg(feature = "isal")]
            codecs.push(Box::new(crate::block::isal::IsalCodec::new(level)));
        }
        codecs
    }

    pub(crate) fn run_of(codec: &mut dyn Codec, raw: &[u8]) -> Vec<u8> {
        let mut run = Vec::new();
        codec.compress_run(raw, &mut run).unwrap();
        run
    }

    pub(crate) fn inflate(body: &[u8], raw_len: usize) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        Inflater::new().inflate_run(body, raw_len, &mut out)?;
        Ok(out)
    }

    /// Bytes that do not compress, from a seed.
    pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        out.truncate(len);
        out
    }

    /// Text-like bytes: few letters, long and short repeats.
    pub(crate) fn prose(len: usize, seed: u64) -> Vec<u8> {
        let dice = noise(len, seed);
        let mut out = Vec::with_capacity(len + 64);
        for die in dice {
            if out.len() >= len {
                break;
            }
            let text = format!("{{\"n\":{die},\"host\":\"h{}\"}}\n", die % 7);
            out.extend_from_slice(text.as_bytes());
        }
        out.truncate(len);
        out
    }

    fn check_run(codec: &mut dyn Codec, raw: &[u8]) {
        let run = run_of(codec, raw);
        let what = format!("{} of {} raw bytes", codec.name(), raw.len());
        assert!(
            run.len() <= run_bytes_max(raw.len()),
            "{what}: {} long",
            run.len()
        );
        if raw.is_empty() {
            assert!(run.is_empty(), "{what}");
        } else {
            assert!(run.ends_with(&[0, 0, 0xff, 0xff]), "{what}");
        }
        let back = inflate(&run, raw.len()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(back == raw, "{what}: other bytes came back");
    }

    #[test]
    fn run_of_every_size_and_kind_reads_back_and_ends_with_a_flush() {
        let k = 1024;
        let mut sizes = vec![0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 31, 257, 258, 259];
        for edge in [32 * k, 64 * k, 128 * k, 512 * k, 1024 * k] {
            sizes.extend([edge - 1, edge, edge + 1]);
        }
        sizes.extend([65_534, 65_535, 65_536 + 288, 131_070, 131_071]);
        for codec in &mut codecs() {
            for &size in &sizes {
                check_run(codec.as_mut(), &vec![0; size]);
                check_run(codec.as_mut(), &vec![0xff; size]);
                check_run(codec.as_mut(), &vec![b'a'; size]);
                check_run(codec.as_mut(), &noise(size, 7));
                check_run(codec.as_mut(), &prose(size, 9));
            }
        }
    }

    #[test]
    fn noise_is_stored_and_costs_five_bytes_in_65535() {
        for codec in &mut codecs() {
            let raw = noise(512 << 10, 3);
            let run = run_of(codec.as_mut(), &raw);
            assert!(
                run.len() <= raw.len() + 9 * 5 + 5,
                "{}: {}",
                codec.name(),
                run.len()
            );
        }
    }

    #[test]
    fn run_does_not_depend_on_what_the_codec_did_before() {
        for codec in &mut codecs() {
            let inputs = [
                prose(300_000, 1),
                noise(70_000, 2),
                prose(5, 3),
                prose(300_000, 1),
            ];
            let runs: Vec<_> = inputs
                .iter()
                .map(|raw| run_of(codec.as_mut(), raw))
                .collect();
            assert!(
                runs[0] == runs[3],
                "{}: state leaks into the next run",
                codec.name()
            );
            for (raw, run) in inputs.iter().zip(&runs) {
                assert!(inflate(run, raw.len()).unwrap() == *raw);
            }
        }
    }

    #[test]
    fn run_is_appended_behind_what_the_buffer_holds() {
        for codec in &mut codecs() {
            let mut out = b"header".to_vec();
            codec.compress_run(b"line\n", &mut out).unwrap();
            assert_eq!(&out[..6], b"header");
            assert_eq!(inflate(&out[6..], 5).unwrap(), b"line\n");
        }
    }

    #[test]
    fn run_that_outgrows_its_buffer_goes_on_and_the_next_is_not_disturbed() {
        let raw = noise(400_000, 11);
        for level in 1..=9 {
            let mut codec = ZlibCodec::new(CompressionLevel(level));
            let mut out = Vec::with_capacity(10);
            codec.deflate_all(&raw, &mut out).unwrap();
            assert!(inflate(&out, raw.len()).unwrap() == raw, "level {level}");
            check_run(&mut codec, &prose(400_000, 12));
        }
    }

    #[test]
    fn raw_beyond_the_limit_is_refused_before_memory_is_taken() {
        let raw = vec![0; RUN_RAW_BYTES_MAX + 1];
        for codec in &mut codecs() {
            let mut out = Vec::new();
            let error = codec.compress_run(&raw, &mut out).unwrap_err();
            assert!(matches!(error, CodecError::RawTooLong { .. }), "{error}");
            assert_eq!(out.capacity(), 0);
        }
    }

    #[test]
    fn buffer_with_the_promised_room_is_not_reallocated() {
        for codec in &mut codecs() {
            for raw in [noise(512 << 10, 13), prose(512 << 10, 13), noise(1, 1)] {
                let mut out = Vec::with_capacity(run_room_bytes(raw.len()));
                let before = out.as_ptr();
                codec.compress_run(&raw, &mut out).unwrap();
                assert_eq!(out.as_ptr(), before, "{}", codec.name());
            }
        }
    }

    #[test]
    fn levels_outside_one_to_nine_are_none() {
        assert_eq!(CompressionLevel::new(0), None);
        assert_eq!(CompressionLevel::new(10), None);
        assert_eq!(CompressionLevel::new(1), Some(CompressionLevel::default()));
        assert_eq!(
            CompressionLevel::new(9).map(CompressionLevel::level),
            Some(9)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_read_back(raw in prop::collection::vec(any::<u8>(), 0..3000)) {
            for codec in &mut codecs() {
                check_run(codec.as_mut(), &raw);
            }
        }

        #[test]
        fn any_mix_of_noise_and_repeats_reads_back(
            parts in prop::collection::vec((any::<u64>(), 0usize..70_000, 0u8..3), 0..6),
        ) {
            let raw: Vec<u8> = parts
                .iter()
                .flat_map(|&(seed, len, kind)| match kind {
                    0 => noise(len, seed),
                    1 => prose(len, seed),
                    _ => vec![seed.to_le_bytes()[0]; len],
                })
                .collect();
            for codec in &mut codecs() {
                check_run(codec.as_mut(), &raw);
            }
        }

    }
}
