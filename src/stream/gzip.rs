//! Gzip: one valid member out of runs that were compressed before.
//!
//! A **splice** is a gzip header, the bodies of blocks as they lie in the journal, a final
//! empty deflate block, and a trailer whose CRC-32 is combined from those of the blocks:
//!
//! ```text
//! 1f 8b 08 00  00 00 00 00  00 ff | run | run | ... | 03 00 | CRC-32 le | length mod 2^32 le
//! ```
//!
//! Nothing is recompressed and no body is copied: the caller writes header, bodies and end in
//! turn. The header has no time, so equal batches are equal bytes. [`splice_or_recompress`]
//! says when blocks are so small that joining them is worth more than the time saved;
//! [`Recompressor`] does that, and makes the run of a part of a block. Everything here is
//! pure: no I/O, no clock. Which blocks make a batch is the batcher's matter.

use crc32fast::Hasher;

use crate::block::codec::{Codec, CodecError, FINAL_BLOCK};

/// One gzip member in the making: header, runs, end.
#[derive(Debug, Clone, Default)]
pub struct GzipMember {
    /// Checksum and length of all raw bytes so far.
    raw: Hasher,
    /// Length of all raw bytes so far; the trailer has it modulo 2^32.
    raw_len: u64,
}

impl GzipMember {
    /// A member without runs, which is a valid gzip of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes in front of the first run: deflate, no name, no time, unknown system.
    #[must_use]
    pub const fn header() -> [u8; HEADER_BYTES] {
        [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 0xff]
    }

    /// Counts in a run that the caller writes next: CRC-32 (IEEE) and length of its raw bytes.
    pub fn add_run(&mut self, raw_crc32: u32, raw_len: u64) {
        self.raw
            .combine(&Hasher::new_with_initial_len(raw_crc32, raw_len));
        self.raw_len += raw_len;
    }

    /// Raw bytes of all runs so far.
    #[must_use]
    pub fn raw_len(&self) -> u64 {
        self.raw_len
    }

    /// The bytes behind the last run: final empty block, checksum, length modulo 2^32.
    #[must_use]
    pub fn finish(self) -> [u8; END_BYTES] {
        let mut end = [0; END_BYTES];
        end[..2].copy_from_slice(&FINAL_BLOCK);
        end[2..6].copy_from_slice(&self.raw.finalize().to_le_bytes());
        // ISIZE is the length modulo 2^32: the low four bytes.
        end[6..].copy_from_slice(&self.raw_len.to_le_bytes()[..4]);
        end
    }
}

/// How a batch becomes a gzip member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assembly {
    /// The bodies as they are.
    Splice,
    /// All raw bytes anew, in runs of [`RECOMPRESS_RAW_BYTES`].
    Recompress,
}

/// Decides for the raw lengths of a batch's whole blocks: recompress when there are several
/// and they hold fewer than [`SPLICE_RAW_MEAN_MIN`] raw bytes on average. A single block gains
/// nothing by being compressed again.
#[must_use]
pub fn splice_or_recompress(raw_lens: impl Iterator<Item = u64>) -> Assembly {
    let (mut blocks, mut raw_len) = (0u64, 0u64);
    for block_raw_len in raw_lens {
        blocks += 1;
        raw_len += block_raw_len;
    }
    if blocks > 1 && raw_len < blocks.saturating_mul(SPLICE_RAW_MEAN_MIN) {
        Assembly::Recompress
    } else {
        Assembly::Splice
    }
}

/// Makes one run out of raw pieces: parts of blocks, or many small blocks.
///
/// Push the pieces, then [`Recompressor::finish`]. Memory is bounded: raw bytes gather up to
/// [`RECOMPRESS_RAW_BYTES`] and are then compressed, so a long run is several one behind the
/// other, which is a run again. Buffer and codec state are reused.
pub struct Recompressor {
    codec: Box<dyn Codec>,
    /// Raw bytes not yet compressed; always fewer than [`RECOMPRESS_RAW_BYTES`] between calls.
    gathered: Vec<u8>,
    /// Checksum of all raw bytes pushed since the last `finish`.
    raw: Hasher,
    /// Length of the same.
    raw_len: u64,
}

impl Recompressor {
    /// Takes the codec of the stream's thread.
    #[must_use]
    pub fn new(codec: Box<dyn Codec>) -> Self {
        Self {
            codec,
            gathered: Vec::new(),
            raw: Hasher::new(),
            raw_len: 0,
        }
    }

    /// The codec, for a run that is made at once; what was pushed is not in the codec yet.
    pub fn codec(&mut self) -> &mut dyn Codec {
        self.codec.as_mut()
    }

    /// Takes raw bytes; appends to `out` what of the run is ready.
    ///
    /// # Errors
    /// As [`Codec::compress_run`]. The run is lost: the next push begins a new one, and the
    /// caller drops what `out` got of this one.
    pub fn push(&mut self, mut raw: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.raw.update(raw);
        self.raw_len += raw.len() as u64;
        while self.gathered.len() + raw.len() >= RECOMPRESS_RAW_BYTES {
            let (now, later) = raw.split_at(RECOMPRESS_RAW_BYTES - self.gathered.len());
            raw = later;
            if self.gathered.is_empty() {
                // A whole run's worth in one piece needs no copy.
                let compressed = self.codec.compress_run(now, out);
                self.forget_on_error(compressed)?;
            } else {
                self.gathered.extend_from_slice(now);
                self.compress_gathered(out)?;
            }
        }
        self.gathered.extend_from_slice(raw);
        Ok(())
    }

    /// Appends the rest of the run to `out` and says what [`GzipMember::add_run`] wants to
    /// know of it. Nothing pushed gives an empty run.
    ///
    /// # Errors
    /// As [`Recompressor::push`].
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<RecompressedRun, CodecError> {
        self.compress_gathered(out)?;
        let run = RecompressedRun {
            raw_crc32: std::mem::take(&mut self.raw).finalize(),
            raw_len: std::mem::take(&mut self.raw_len),
        };
        Ok(run)
    }

    /// Forgets what was pushed since the last `finish`.
    pub fn reset(&mut self) {
        self.gathered.clear();
        self.raw.reset();
        self.raw_len = 0;
    }

    fn compress_gathered(&mut self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let compressed = self.codec.compress_run(&self.gathered, out);
        self.gathered.clear();
        self.forget_on_error(compressed)
    }

    fn forget_on_error(&mut self, compressed: Result<(), CodecError>) -> Result<(), CodecError> {
        if compressed.is_err() {
            self.reset();
        }
        compressed
    }
}

impl std::fmt::Debug for Recompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recompressor")
            .field("codec", &self.codec.name())
            .field("gathered_bytes", &self.gathered.len())
            .field("raw_len", &self.raw_len)
            .finish_non_exhaustive()
    }
}

/// What a recompressed run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecompressedRun {
    /// CRC-32 (IEEE) of its raw bytes.
    pub raw_crc32: u32,
    /// Number of its raw bytes.
    pub raw_len: u64,
}

/// Bytes in front of the first run.
pub const HEADER_BYTES: usize = 10;

/// Bytes behind the last run.
pub const END_BYTES: usize = 10;

/// Mean raw bytes of a batch's blocks from which on they are spliced. Below it, each run's own
/// code tables and its empty window cost more in ratio than compressing again costs in time
/// that light traffic leaves idle.
pub const SPLICE_RAW_MEAN_MIN: u64 = 128 << 10;

/// Raw bytes that are recompressed in one go: as a full block, where the ratio has levelled off.
pub const RECOMPRESS_RAW_BYTES: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use flate2::bufread::GzDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::block::codec::{CompressionLevel, Inflater, ZlibCodec, best_codec};

    /// The portable codec and the best of this build (the same without feature `isal`).
    fn codecs() -> Vec<Box<dyn Codec>> {
        let level = CompressionLevel::FASTEST;
        vec![Box::new(ZlibCodec::new(level)), best_codec(level)]
    }

    /// Splices the given raw blocks, each compressed on its own.
    fn splice(codec: &mut dyn Codec, blocks: &[&[u8]]) -> Vec<u8> {
        let mut member = GzipMember::new();
        let mut gzip = GzipMember::header().to_vec();
        for raw in blocks {
            codec.compress_run(raw, &mut gzip).unwrap();
            member.add_run(crc32fast::hash(raw), raw.len() as u64);
        }
        assert_eq!(member.raw_len(), blocks.concat().len() as u64);
        gzip.extend_from_slice(&member.finish());
        gzip
    }

    /// Reads one member with an independent reader, which verifies CRC and length, and shows
    /// that nothing is behind it.
    fn gunzip_one_member(gzip: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(gzip);
        let mut raw = Vec::new();
        decoder.read_to_end(&mut raw).expect("a valid member");
        assert!(decoder.into_inner().is_empty(), "bytes behind the member");
        raw
    }

    fn event_lines(count: usize, seed: usize) -> Vec<u8> {
        (0..count)
            .flat_map(|n| format!("{{\"seq\":{},\"app\":\"a{}\"}}\n", n * seed, n % 5).into_bytes())
            .collect()
    }

    #[test]
    fn splice_of_no_runs_is_a_valid_gzip_of_nothing() {
        let gzip = splice(codecs()[0].as_mut(), &[]);
        assert_eq!(gzip.len(), HEADER_BYTES + END_BYTES);
        assert_eq!(gunzip_one_member(&gzip), b"");
    }

    #[test]
    fn system_gzip_reads_a_splice_of_sixteen_full_blocks() {
        for codec in &mut codecs() {
            let blocks: Vec<Vec<u8>> = (1..=16).map(|seed| event_lines(20_000, seed)).collect();
            let slices: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let gzip = splice(codec.as_mut(), &slices);
            let mut child = Command::new("gzip")
                .arg("-dc")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("gzip is installed");
            let mut stdin = child.stdin.take().unwrap();
            let writer = std::thread::Builder::new()
                .name("gzip-stdin".to_owned())
                .spawn(move || stdin.write_all(&gzip).unwrap())
                .unwrap();
            let output = child.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success(), "{}", codec.name());
            assert!(output.stdout == blocks.concat(), "{}", codec.name());
        }
    }

    #[test]
    fn wrong_checksum_or_length_is_what_the_reader_would_notice() {
        let raw = event_lines(10, 1);
        for (crc_change, len_change) in [(1, 0), (0, 1)] {
            let mut member = GzipMember::new();
            let mut gzip = GzipMember::header().to_vec();
            codecs()[0].compress_run(&raw, &mut gzip).unwrap();
            let crc = crc32fast::hash(&raw) ^ crc_change;
            member.add_run(crc, raw.len() as u64 + len_change);
            gzip.extend_from_slice(&member.finish());
            assert!(
                GzDecoder::new(&gzip[..])
                    .read_to_end(&mut Vec::new())
                    .is_err()
            );
        }
    }

    /// 5 GiB in blocks of 512 KiB, against the checksum of the same bytes taken in one stream.
    #[test]
    fn totals_beyond_four_gib_keep_checksum_and_length_modulo_two_to_32() {
        let block = event_lines(30_000, 3)[..512 << 10].to_vec();
        let blocks = 5u64 << 30 >> 19;
        let mut member = GzipMember::new();
        for _ in 0..blocks {
            member.add_run(crc32fast::hash(&block), block.len() as u64);
        }
        let mut streamed = flate2::Crc::new();
        for _ in 0..blocks {
            streamed.update(&block);
        }
        assert_eq!(member.raw_len(), 5 << 30);
        let end = member.finish();
        assert_eq!(end[..2], FINAL_BLOCK);
        assert_eq!(end[2..6], streamed.sum().to_le_bytes());
        assert_eq!(end[6..], (1u32 << 30).to_le_bytes());
    }

    /// A single run longer than 2^32, so that the length in the combination itself is 64 bits.
    #[test]
    fn run_longer_than_four_gib_combines_like_its_halves() {
        let half = Hasher::new_with_initial_len(0x1234_5678, 3 << 30);
        let mut whole = half.clone();
        whole.combine(&half);
        let (mut in_one, mut in_two) = (GzipMember::new(), GzipMember::new());
        in_one.add_run(1, 1);
        in_two.add_run(1, 1);
        in_one.add_run(whole.finalize(), 6 << 30);
        in_two.add_run(0x1234_5678, 3 << 30);
        in_two.add_run(0x1234_5678, 3 << 30);
        assert_eq!(in_one.finish(), in_two.finish());
    }

    #[test]
    fn small_blocks_are_recompressed_and_full_or_single_ones_spliced() {
        let check = |raw_lens: &[u64], expected| {
            let assembly = splice_or_recompress(raw_lens.iter().copied());
            assert_eq!(assembly, expected, "{raw_lens:?}");
        };
        let mean_min = SPLICE_RAW_MEAN_MIN;
        check(&[], Assembly::Splice);
        check(&[1], Assembly::Splice);
        check(&[1, 1], Assembly::Recompress);
        check(&[mean_min, mean_min], Assembly::Splice);
        check(&[mean_min, mean_min - 1], Assembly::Recompress);
        check(&[512 << 10, 512 << 10, 10, 10], Assembly::Splice);
        check(&[512 << 10, 10, 10, 10, 10], Assembly::Recompress);
    }

    fn recompress(recompressor: &mut Recompressor, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let mut body = Vec::new();
        for piece in pieces {
            recompressor.push(piece, &mut body).unwrap();
        }
        let run = recompressor.finish(&mut body).unwrap();
        assert_eq!(run.raw_crc32, crc32fast::hash(&pieces.concat()));
        let raw_len = usize::try_from(run.raw_len).unwrap();
        let mut raw = Vec::new();
        Inflater::new()
            .inflate_run(&body, raw_len, &mut raw)
            .unwrap();
        (raw, body)
    }

    #[test]
    fn recompressed_pieces_of_any_size_are_one_run_and_smaller_than_their_own_runs() {
        for codec in codecs() {
            let mut recompressor = Recompressor::new(codec);
            let small: Vec<Vec<u8>> = (1..200).map(|seed| event_lines(20, seed)).collect();
            let small: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
            let (raw, body) = recompress(&mut recompressor, &small);
            assert!(raw == small.concat());
            let spliced = splice(codecs()[0].as_mut(), &small).len();
            assert!(body.len() < spliced, "{} against {spliced}", body.len());

            let large = event_lines(60_000, 1);
            assert!(large.len() > 2 * RECOMPRESS_RAW_BYTES);
            let exact = &large[..RECOMPRESS_RAW_BYTES];
            for pieces in [
                &[&large[..]][..],
                &[&large[..7], &large, &large[..9]],
                &[exact, exact],
                &[&exact[1..], &exact[..1]],
                &[b""],
                &[],
            ] {
                let (raw, _) = recompress(&mut recompressor, pieces);
                assert!(raw == pieces.concat());
            }
        }
    }

    /// Refuses the second run it is asked for.
    struct FailsOnce(ZlibCodec, u32);

    impl Codec for FailsOnce {
        fn id(&self) -> crate::block::CodecId {
            self.0.id()
        }

        fn name(&self) -> &'static str {
            "fails once"
        }

        fn compress_run(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
            self.1 += 1;
            if self.1 == 2 {
                return Err(CodecError::Deflate {
                    codec: self.name(),
                    raw_len: raw.len(),
                    reason: "told to".to_owned(),
                });
            }
            self.0.compress_run(raw, out)
        }
    }

    #[test]
    fn run_after_a_failed_one_starts_from_nothing() {
        let codec = FailsOnce(ZlibCodec::new(CompressionLevel::FASTEST), 0);
        let mut recompressor = Recompressor::new(Box::new(codec));
        let mut dropped = Vec::new();
        let long = vec![b'x'; 2 * RECOMPRESS_RAW_BYTES];
        recompressor.push(b"before ", &mut dropped).unwrap();
        assert!(recompressor.push(&long, &mut dropped).is_err());
        let (raw, _) = recompress(&mut recompressor, &[b"after"]);
        assert_eq!(raw, b"after");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn splice_of_runs_in_any_order_decodes_as_one_member(
            blocks in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..2000),
                    (0usize..4000, 1usize..9).prop_map(|(count, seed)| event_lines(count, seed)),
                ],
                0..8,
            ),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            for codec in &mut codecs() {
                let in_order: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
                let gzip = splice(codec.as_mut(), &in_order);
                prop_assert!(gunzip_one_member(&gzip) == in_order.concat());
                if blocks.is_empty() {
                    continue;
                }
                // Any subset, any order, with repeats: bodies as they were made above.
                let mut bodies = vec![Vec::new(); blocks.len()];
                for (raw, body) in blocks.iter().zip(&mut bodies) {
                    codec.compress_run(raw, body).unwrap();
                }
                let mut member = GzipMember::new();
                let mut gzip = GzipMember::header().to_vec();
                let mut expected = Vec::new();
                for pick in &picks {
                    let at = pick.index(blocks.len());
                    gzip.extend_from_slice(&bodies[at]);
                    member.add_run(crc32fast::hash(&blocks[at]), blocks[at].len() as u64);
                    expected.extend_from_slice(&blocks[at]);
                }
                gzip.extend_from_slice(&member.finish());
                prop_assert!(gunzip_one_member(&gzip) == expected);
            }
        }

        #[test]
        fn runs_of_different_codecs_splice_together(seeds in prop::collection::vec(1usize..50, 0..10)) {
            let mut codecs = codecs();
            let mut member = GzipMember::new();
            let mut gzip = GzipMember::header().to_vec();
            let mut expected = Vec::new();
            for seed in seeds {
                let raw = event_lines(seed * 10, seed);
                codecs[seed % 2].compress_run(&raw, &mut gzip).unwrap();
                member.add_run(crc32fast::hash(&raw), raw.len() as u64);
                expected.extend_from_slice(&raw);
            }
            gzip.extend_from_slice(&member.finish());
            prop_assert!(gunzip_one_member(&gzip) == expected);
        }
    }
}
