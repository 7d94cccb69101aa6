//! Decompression of bodies: gzip and zstd, in bounded steps and within limits.
//!
//! Owns what counts as one well-formed compressed body: one or more gzip members or zstd
//! frames, and nothing behind the last. Promises that a step produces at most
//! [`STEP_BYTES_MAX`], consumes at most as much and touches one member, so a shard can do
//! other work between steps, and that every byte, zstd's window included, is reserved
//! before it is used.

use std::io::{self, BufRead, Read as _};

use flate2::bufread::GzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation as _, OutBuffer};

use super::answer::Refusal;
use super::body::ReservedBuffer;
use crate::budget::{Budget, Grant};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Limits of a body once decompressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecodeLimits {
    pub(super) decompressed_bytes_max: usize,
    pub(super) expansion_max: usize,
}

/// A compressed body that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error(
        "{format} body: ends after {sent} bytes within a member; send all of it, or compress it \
         again"
    )]
    Truncated { format: &'static str, sent: usize },
    #[error("{format} body: corrupt before byte {at} of {sent}: {cause}; compress it again")]
    Corrupt {
        format: &'static str,
        at: usize,
        sent: usize,
        cause: String,
    },
    #[error(
        "{format} body: {bytes} bytes follow the last member at byte {at}; send only {format} data"
    )]
    Trailing {
        format: &'static str,
        at: usize,
        bytes: usize,
    },
}

/// A body being decompressed.
pub(super) struct Decompression<'a> {
    sent: &'a [u8],
    members: Members<'a>,
    limits: DecodeLimits,
    out: ReservedBuffer,
    /// What zstd's window takes beside `out`.
    window: Grant,
    /// Bytes one step may produce.
    step_bytes: usize,
}

enum Members<'a> {
    Gzip(Box<GzDecoder<Ration<'a>>>),
    Zstd {
        decoder: ZstdDecoder<'static>,
        rest: &'a [u8],
        in_frame: bool,
    },
}

/// What a step did.
struct Progress {
    written: usize,
    finished: bool,
}

/// Bytes a step produces or consumes at most: about half a millisecond of inflating.
pub(super) const STEP_BYTES_MAX: usize = 256 * 1024;

/// A small body needs no large step.
const STEP_BYTES_MIN: usize = 8 * 1024;

/// Growth below this much is no bomb, whatever its ratio.
const EXPANSION_FREE_BYTES: usize = 1024 * 1024;

/// Largest zstd window, 8 MiB: what RFC 9659 lets a sender of the HTTP content coding use.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// A corrupt length may not pass for more memory than the decoder would use.
const ZSTD_WINDOW_BYTES_MAX: usize = 1 << ZSTD_WINDOW_LOG_MAX;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Encoding {
    /// The encoding a `Content-Encoding` names, in any case; `None` when it is not supported.
    pub(super) fn named(name: &str) -> Option<Self> {
        let known = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        let name = name.trim();
        let found = known
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, encoding)| *encoding)
    }
}

impl<'a> Decompression<'a> {
    /// Begins with a body of at least one byte.
    pub(super) fn begin(
        encoding: Encoding,
        sent: &'a [u8],
        limits: DecodeLimits,
        budget: &Budget,
    ) -> Result<Self, Refusal> {
        let members = match encoding {
            Encoding::Gzip | Encoding::Identity => Members::gzip(sent),
            Encoding::Zstd => Members::zstd(sent)?,
        };
        // A step may pass the limit before it is seen.
        let out_max = limits.decompressed_bytes_max + STEP_BYTES_MAX + 1;
        Ok(Self {
            sent,
            members,
            limits,
            out: ReservedBuffer::new(budget, out_max)?,
            window: budget.take(0).ok_or(Refusal::Memory)?,
            // Events compress to an eighth or so.
            step_bytes: sent
                .len()
                .saturating_mul(8)
                .clamp(STEP_BYTES_MIN, STEP_BYTES_MAX),
        })
    }

    /// Decompresses a piece; true when the body is complete.
    pub(super) fn step(&mut self) -> Result<bool, Refusal> {
        let window = self.members.window_bytes() as u64;
        let more = window.saturating_sub(self.window.bytes());
        if !self.window.grow(more) {
            return Err(Refusal::Memory);
        }
        // One byte more for the end of a last line that has none.
        self.out.reserve(self.step_bytes + 1)?;
        let bytes = &mut self.out.bytes;
        let start = bytes.len();
        bytes.resize(start + self.step_bytes, 0);
        let progress = self.members.step(&mut bytes[start..], self.sent.len())?;
        bytes.truncate(start + progress.written);
        let length = bytes.len();
        let DecodeLimits {
            decompressed_bytes_max,
            expansion_max,
        } = self.limits;
        // The ratio first: it is the better explanation when both are broken.
        let honest = expansion_max.saturating_mul(self.sent.len());
        if length > EXPANSION_FREE_BYTES && length > honest {
            return Err(Refusal::Expansion {
                sent: self.sent.len(),
                expansion_max,
            });
        }
        if length > decompressed_bytes_max {
            return Err(Refusal::DecompressedTooLarge {
                bytes_max: decompressed_bytes_max,
            });
        }
        Ok(progress.finished)
    }

    /// The decompressed body.
    pub(super) fn into_body(self) -> ReservedBuffer {
        self.out
    }
}

impl<'a> Members<'a> {
    fn gzip(sent: &'a [u8]) -> Self {
        Self::Gzip(Box::new(GzDecoder::new(Ration::of(sent))))
    }

    fn zstd(sent: &'a [u8]) -> Result<Self, DecodeError> {
        let decoder = ZstdDecoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
            Ok(decoder)
        });
        let decoder = decoder.map_err(|cause| DecodeError::Corrupt {
            format: "zstd",
            at: 0,
            sent: sent.len(),
            cause: cause.to_string(),
        })?;
        Ok(Self::Zstd {
            decoder,
            rest: sent,
            in_frame: false,
        })
    }

    /// Memory the next step takes beside its output.
    fn window_bytes(&self) -> usize {
        match self {
            Self::Gzip(_) => 0,
            Self::Zstd { rest, .. } => zstd_window_bytes(rest),
        }
    }

    fn step(&mut self, out: &mut [u8], sent: usize) -> Result<Progress, DecodeError> {
        match self {
            Self::Gzip(member) => gzip_step(member, out, sent),
            Self::Zstd {
                decoder,
                rest,
                in_frame,
            } => zstd_step(decoder, rest, in_frame, out, sent),
        }
    }
}

fn gzip_step(
    member: &mut GzDecoder<Ration<'_>>,
    out: &mut [u8],
    sent: usize,
) -> Result<Progress, DecodeError> {
    const FORMAT: &str = "gzip";
    member.get_mut().left = STEP_BYTES_MAX;
    let mut written = 0;
    while written < out.len() {
        match member.read(&mut out[written..]) {
            Ok(0) => {
                let rest = member.get_ref().rest;
                if rest.is_empty() {
                    return Ok(Progress {
                        written,
                        finished: true,
                    });
                }
                check_next(FORMAT, rest, sent, rest.starts_with(&GZIP_MAGIC))?;
                *member = GzDecoder::new(Ration::of(rest));
                break;
            }
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(DecodeError::Truncated {
                    format: FORMAT,
                    sent,
                });
            }
            Err(error) => {
                return Err(DecodeError::Corrupt {
                    format: FORMAT,
                    at: sent - member.get_ref().rest.len(),
                    sent,
                    cause: error.to_string(),
                });
            }
        }
    }
    Ok(Progress {
        written,
        finished: false,
    })
}

fn zstd_step(
    decoder: &mut ZstdDecoder<'static>,
    rest: &mut &[u8],
    in_frame: &mut bool,
    out: &mut [u8],
    sent: usize,
) -> Result<Progress, DecodeError> {
    const FORMAT: &str = "zstd";
    if !*in_frame {
        // Before the first frame nothing "follows": what is no zstd at all is corrupt.
        let first = rest.len() == sent;
        check_next(FORMAT, rest, sent, first || begins_zstd_frame(rest))?;
        *in_frame = true;
    }
    let mut output = OutBuffer::around(out);
    let mut left = STEP_BYTES_MAX;
    while left > 0 && output.pos() < output.capacity() {
        let mut input = InBuffer::around(&rest[..rest.len().min(left)]);
        let written_before = output.pos();
        let hint = decoder.run(&mut input, &mut output);
        let consumed = input.pos();
        let hint = hint.map_err(|error| DecodeError::Corrupt {
            format: FORMAT,
            at: sent - rest.len() + consumed,
            sent,
            cause: error.to_string(),
        })?;
        *rest = &rest[consumed..];
        left -= consumed;
        if hint == 0 {
            *in_frame = false;
            break;
        }
        if consumed == 0 && output.pos() == written_before {
            return Err(DecodeError::Truncated {
                format: FORMAT,
                sent,
            });
        }
    }
    Ok(Progress {
        written: output.pos(),
        finished: !*in_frame && rest.is_empty(),
    })
}

fn check_next(
    format: &'static str,
    rest: &[u8],
    sent: usize,
    begins_member: bool,
) -> Result<(), DecodeError> {
    if begins_member {
        return Ok(());
    }
    Err(DecodeError::Trailing {
        format,
        at: sent - rest.len(),
        bytes: rest.len(),
    })
}

/// True for a frame of data and for one that decoders skip.
fn begins_zstd_frame(rest: &[u8]) -> bool {
    let skippable = matches!(rest, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    rest.starts_with(&ZSTD_MAGIC) || skippable
}

/// The window that the frame at the start of `rest` asks for (RFC 8878, section 3.1.1.1), 0
/// when none starts there. More than the decoder accepts counts as what it accepts: it
/// refuses the rest itself.
fn zstd_window_bytes(rest: &[u8]) -> usize {
    let Some([descriptor, head @ ..]) = rest.strip_prefix(&ZSTD_MAGIC) else {
        return 0;
    };
    let single_segment = descriptor & 0x20 != 0;
    let window = if single_segment {
        // No window of its own: the whole content is the window.
        let dictionary_id_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
        let field = head
            .get(dictionary_id_bytes..)
            .and_then(|field| field.get(..size_bytes));
        let Some(field) = field else { return 0 };
        let mut size = [0; 8];
        size[..size_bytes].copy_from_slice(field);
        // The size in two bytes counts from 256.
        u64::from_le_bytes(size) + if size_bytes == 2 { 256 } else { 0 }
    } else {
        let Some(window) = head.first() else { return 0 };
        let base = 1_u64 << (10 + (window >> 3));
        base + base / 8 * u64::from(window & 7)
    };
    usize::try_from(window)
        .unwrap_or(usize::MAX)
        .min(ZSTD_WINDOW_BYTES_MAX)
}

/// A slice that is read in rations, so that a member that yields nothing cannot hold the
/// shard.
struct Ration<'a> {
    rest: &'a [u8],
    /// Bytes that may be read before the next step.
    left: usize,
}

impl<'a> Ration<'a> {
    fn of(rest: &'a [u8]) -> Self {
        Self {
            rest,
            left: STEP_BYTES_MAX,
        }
    }
}

impl io::Read for Ration<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let bytes = piece.len().min(into.len());
        into[..bytes].copy_from_slice(&piece[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl BufRead for Ration<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 && !self.rest.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.rest[..self.rest.len().min(self.left)])
    }

    fn consume(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.left -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const LIMITS: DecodeLimits = DecodeLimits {
        decompressed_bytes_max: 4 << 20,
        expansion_max: 200,
    };

    fn gzip(raw: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(raw).expect("memory");
        encoder.finish().expect("memory")
    }

    fn zstd(raw: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("memory");
        encoder.include_checksum(true).expect("a known option");
        encoder.write_all(raw).expect("memory");
        encoder.finish().expect("memory")
    }

    fn decode(encoding: Encoding, sent: &[u8], limits: DecodeLimits) -> Result<Vec<u8>, Refusal> {
        let budget = Budget::new(64 << 20);
        let mut decompression = Decompression::begin(encoding, sent, limits, &budget)?;
        while !decompression.step()? {}
        let body = decompression.into_body();
        assert!(budget.bytes_taken() >= body.bytes.capacity() as u64);
        Ok(body.bytes)
    }

    fn lines(bytes: usize) -> Vec<u8> {
        let mut raw = Vec::new();
        let mut number = 0_u64;
        while raw.len() < bytes {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            writeln!(raw, "{{\"number\":{number}}}").expect("memory");
        }
        raw
    }

    fn error(encoding: Encoding, sent: &[u8]) -> DecodeError {
        match decode(encoding, sent, LIMITS) {
            Err(Refusal::Undecodable(error)) => error,
            other => panic!("no decode error: {:?}", other.map(|body| body.len())),
        }
    }

    #[test]
    fn bodies_of_one_and_many_members_decode() {
        for length in [0, 1, 5_000, STEP_BYTES_MAX, 2 << 20] {
            let raw = lines(length);
            for (encoding, compress) in [
                (Encoding::Gzip, gzip as fn(&[u8]) -> Vec<u8>),
                (Encoding::Zstd, zstd),
            ] {
                let sent = compress(&raw);
                assert_eq!(decode(encoding, &sent, LIMITS).expect("decodes"), raw);
                let (first, second) = raw.split_at(raw.len() / 3);
                let empty = compress(b"");
                let sent = [compress(first), empty, compress(second)].concat();
                assert_eq!(decode(encoding, &sent, LIMITS).expect("decodes"), raw);
            }
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let raw = lines(600);
        for (encoding, sent) in [(Encoding::Gzip, gzip(&raw)), (Encoding::Zstd, zstd(&raw))] {
            for length in 1..sent.len() {
                let error = error(encoding, &sent[..length]);
                assert!(
                    matches!(error, DecodeError::Truncated { .. }),
                    "{length}: {error}"
                );
            }
        }
    }

    #[test]
    fn corrupt_and_trailing_bytes_are_told_with_their_place() {
        let raw = lines(5_000);
        let mut sent = gzip(&raw);
        let end = sent.len();
        sent.extend_from_slice(b"garbage");
        let trailing = error(Encoding::Gzip, &sent);
        assert_eq!(
            trailing,
            DecodeError::Trailing {
                format: "gzip",
                at: end,
                bytes: 7
            }
        );
        sent.truncate(end);
        sent[end - 6] ^= 1;
        assert!(matches!(
            error(Encoding::Gzip, &sent),
            DecodeError::Corrupt { .. }
        ));
        let mut sent = zstd(&raw);
        let end = sent.len();
        sent.extend_from_slice(b"\n");
        assert!(matches!(
            error(Encoding::Zstd, &sent),
            DecodeError::Trailing { bytes: 1, .. }
        ));
        sent.truncate(end);
        sent[end / 2] ^= 0xff;
        assert!(matches!(
            error(Encoding::Zstd, &sent),
            DecodeError::Corrupt { .. }
        ));
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let plain = error(encoding, b"{\"not\":\"compressed\"}\n");
            assert!(matches!(plain, DecodeError::Corrupt { .. }), "{plain}");
        }
    }

    #[test]
    fn skippable_zstd_frames_are_passed_over() {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let sent = [&skippable[..], &zstd(b"{}\n"), &skippable].concat();
        assert_eq!(
            decode(Encoding::Zstd, &sent, LIMITS).expect("decodes"),
            b"{}\n"
        );
    }

    #[test]
    fn bombs_end_at_the_ratio_and_large_bodies_at_the_limit() {
        let zeros = vec![b' '; 3 << 20];
        for (encoding, sent) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd(&zeros)),
        ] {
            let refusal = decode(encoding, &sent, LIMITS).expect_err("a bomb");
            assert!(matches!(refusal, Refusal::Expansion { .. }), "{refusal}");
        }
        let exact = lines(1 << 20);
        let limits = |bytes| DecodeLimits {
            decompressed_bytes_max: bytes,
            ..LIMITS
        };
        for (encoding, sent) in [
            (Encoding::Gzip, gzip(&exact)),
            (Encoding::Zstd, zstd(&exact)),
        ] {
            assert!(decode(encoding, &sent, limits(exact.len())).is_ok());
            let refusal = decode(encoding, &sent, limits(exact.len() - 1)).expect_err("too large");
            assert!(matches!(refusal, Refusal::DecompressedTooLarge { .. }));
        }
    }

    #[test]
    fn a_window_is_reserved_and_a_huge_one_refused() {
        let raw = lines(1 << 20);
        let with_window = |log| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("memory");
            encoder.window_log(log).expect("in range");
            encoder.write_all(&raw).expect("memory");
            encoder.finish().expect("memory")
        };
        assert_eq!(zstd_window_bytes(&with_window(21)), 1 << 21);
        assert!(decode(Encoding::Zstd, &with_window(23), LIMITS).is_ok());
        assert!(matches!(
            error(Encoding::Zstd, &with_window(27)),
            DecodeError::Corrupt { .. }
        ));
        let sent = with_window(23);
        let budget = Budget::new(4 << 20);
        let mut decompression =
            Decompression::begin(Encoding::Zstd, &sent, LIMITS, &budget).expect("begins");
        assert!(matches!(decompression.step(), Err(Refusal::Memory)));
    }
}
