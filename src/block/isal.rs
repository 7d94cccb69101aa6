//! The fast codec: ISA-L's deflate through its C interface (feature `isal`).
//!
//! All unsafe code outside `os/` is in this file: the five calls below, each behind a method
//! that cannot be misused. The contract of the C side that they rest on: `isal_deflate` reads
//! `avail_in` bytes at `next_in`, writes at most `avail_out` bytes at `next_out`, advances all
//! four, uses `level_buf_size` bytes at `level_buf`, and keeps no other pointer of ours.
//!
//! Level 1 with the large token buffer won the measurement: smaller buffers are 2 to 75 %
//! slower, the extra large one gains nothing; `isal_deflate_stateless` is exactly as fast, but
//! what it stores ends without a flush marker; level 0 with a trained table gains 5 % and hangs
//! on the training. See `benches/codec.rs`.
#![expect(
    unsafe_code,
    reason = "the codec's FFI; design rule: os/ and this one file"
)]

use std::fmt;

use isal_sys::igzip_lib::{
    COMP_OK, FULL_FLUSH, IGZIP_DEFLATE, ISAL_DEF_LVL1_LARGE, ISAL_DEF_LVL2_LARGE,
    ISAL_DEF_LVL3_LARGE, isal_deflate, isal_deflate_init, isal_deflate_reset, isal_zstate_state,
    isal_zstate_state_ZSTATE_NEW_HDR, isal_zstream,
};

use super::CodecId;
use super::codec::{
    Codec, CodecError, CompressionLevel, RESERVE_MORE_BYTES, reserve_run, store_if_larger,
};

/// ISA-L at level 1 to 3.
pub struct IsalCodec {
    /// Always initialised, with level, flush and level buffer set; `next_in` and `next_out`
    /// mean nothing between calls.
    stream: Box<isal_zstream>,
    /// What `stream.level_buf` points to: tokens and hash table. Never moved, resized or
    /// touched from here while `stream` lives.
    _level_buffer: Box<[CacheLine]>,
}

// SAFETY: the raw pointers in `stream` lead to `_level_buffer`, which moves along, and to
// constant tables of the library; ISA-L has no thread-local state and no state shared by streams.
unsafe impl Send for IsalCodec {}

impl IsalCodec {
    /// Allocates the state (about 430 KiB). ISA-L has levels up to 3; higher ones mean 3.
    #[must_use]
    pub fn new(level: CompressionLevel) -> Self {
        let (level, level_buffer_bytes) = match level.level() {
            1 => (1, ISAL_DEF_LVL1_LARGE),
            2 => (2, ISAL_DEF_LVL2_LARGE),
            _ => (3, ISAL_DEF_LVL3_LARGE),
        };
        let lines = (level_buffer_bytes as usize).div_ceil(size_of::<CacheLine>());
        let mut level_buffer = vec![CacheLine([0; 64]); lines].into_boxed_slice();
        let stream = Box::<isal_zstream>::new_zeroed();
        // SAFETY: the struct holds integers, arrays of integers and raw pointers only, for all
        // of which zero bytes are a value.
        let mut stream = unsafe { stream.assume_init() };
        // SAFETY: the pointer is to a live, exclusively borrowed stream.
        unsafe { isal_deflate_init(&raw mut *stream) };
        stream.level = level;
        stream.level_buf = level_buffer.as_mut_ptr().cast();
        stream.level_buf_size = level_buffer_bytes;
        stream.flush = u16::try_from(FULL_FLUSH).expect("a small constant");
        stream.gzip_flag = u16::try_from(IGZIP_DEFLATE).expect("a small constant");
        stream.end_of_stream = 0;
        Self {
            stream,
            _level_buffer: level_buffer,
        }
    }

    /// Compresses and flushes, giving room until all is written. As a rule one call does it.
    fn deflate_all(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let stream = &mut *self.stream;
        // Forgets history, checksum and bits of the run before; keeps level, flush and buffer.
        // SAFETY: the pointer is to a live, initialised, exclusively borrowed stream.
        unsafe { isal_deflate_reset(&raw mut *stream) };
        // ISA-L only reads there; its interface lacks the `const`.
        stream.next_in = raw.as_ptr().cast_mut();
        stream.avail_in = u32::try_from(raw.len()).map_err(|error| error.to_string())?;
        loop {
            let spare = out.spare_capacity_mut();
            let room = u32::try_from(spare.len()).unwrap_or(u32::MAX);
            stream.next_out = spare.as_mut_ptr().cast();
            stream.avail_out = room;
            // SAFETY: the stream is initialised and ours; `next_in` has `avail_in` bytes of
            // `raw` left, `next_out` has `avail_out` bytes of spare capacity, and the level
            // buffer is alive; none overlaps another.
            let status = unsafe { isal_deflate(&raw mut *stream) };
            let written = room.saturating_sub(stream.avail_out);
            let len = out.len() + written as usize;
            // SAFETY: the call has initialised `written` bytes behind the old length, no more
            // than the spare capacity.
            unsafe { out.set_len(len) };
            if u32::try_from(status) != Ok(COMP_OK) {
                return Err(format!("isal_deflate returned {status}"));
            }
            let state = &stream.internal_state;
            let all_read = stream.avail_in == 0 && state.b_bytes_processed == state.b_bytes_valid;
            if all_read && state.state == FLUSHED && out.ends_with(&FLUSH_MARKER) {
                return Ok(());
            }
            if written == 0 && room as usize >= RESERVE_MORE_BYTES {
                return Err(format!(
                    "isal_deflate stands still in state {}",
                    state.state
                ));
            }
            out.reserve(RESERVE_MORE_BYTES.max(stream.avail_in as usize));
        }
    }
}

impl Codec for IsalCodec {
    fn id(&self) -> CodecId {
        CodecId::DeflateRun
    }

    fn name(&self) -> &'static str {
        "isa-l"
    }

    fn compress_run(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        if !reserve_run(raw, out)? {
            return Ok(());
        }
        let start = out.len();
        if let Err(reason) = self.deflate_all(raw, out) {
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

impl fmt::Debug for IsalCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsalCodec")
            .field("level", &self.stream.level)
            .finish_non_exhaustive()
    }
}

/// The alignment of the level buffer; ISA-L wants that of a pointer, the cache likes this one.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "written and read by ISA-L alone")] [u8; 64]);

/// What every flush ends with.
const FLUSH_MARKER: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// State of a stream whose flush is complete: a new block may begin, no bit is left behind.
const FLUSHED: isal_zstate_state = isal_zstate_state_ZSTATE_NEW_HDR;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::codec::Inflater;

    fn lines(count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|n| format!("{{\"n\":{},\"k\":\"v{}\"}}\n", n * 7919, n % 9).into_bytes())
            .collect()
    }

    fn check(body: &[u8], raw: &[u8]) {
        let mut out = Vec::new();
        Inflater::new()
            .inflate_run(body, raw.len(), &mut out)
            .unwrap();
        assert!(out == raw);
        assert!(body.ends_with(&[0, 0, 0xff, 0xff]));
    }

    #[test]
    fn run_that_outgrows_its_buffer_goes_on_where_it_stopped() {
        let raw = lines(20_000);
        for level in 1..=3 {
            let level = CompressionLevel::new(level).unwrap();
            let mut codec = IsalCodec::new(level);
            let mut in_one = Vec::new();
            codec.compress_run(&raw, &mut in_one).unwrap();
            for room in [0, 1, 7, 8, 9, 100, 5000] {
                let mut out = Vec::with_capacity(room);
                codec.deflate_all(&raw, &mut out).unwrap();
                check(&out, &raw);
                codec.deflate_all(&raw[..room], &mut Vec::new()).unwrap();
            }
            let mut again = Vec::new();
            codec.compress_run(&raw, &mut again).unwrap();
            assert!(in_one == again);
        }
    }

    /// The buffer runs out after any number of bytes, so also within header, block and flush.
    #[test]
    fn output_cut_at_any_byte_is_still_one_run() {
        let raw = lines(60);
        let mut codec = IsalCodec::new(CompressionLevel::FASTEST);
        for room in 1..400 {
            let mut out = Vec::with_capacity(room);
            codec.deflate_all(&raw, &mut out).unwrap();
            check(&out, &raw);
        }
    }

    #[test]
    fn codec_can_be_moved_between_threads_and_keeps_its_buffer() {
        let mut codec = IsalCodec::new(CompressionLevel::FASTEST);
        let raw = lines(5000);
        codec.compress_run(&raw, &mut Vec::new()).unwrap();
        let (mut moved, raw) = std::thread::Builder::new()
            .name("moved-codec".to_owned())
            .spawn(move || {
                let mut out = Vec::new();
                codec.compress_run(&raw, &mut out).unwrap();
                check(&out, &raw);
                (codec, raw)
            })
            .unwrap()
            .join()
            .unwrap();
        let mut out = Vec::new();
        moved.compress_run(&raw, &mut out).unwrap();
        check(&out, &raw);
    }
}
