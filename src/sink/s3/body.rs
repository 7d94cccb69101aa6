//! A part of an object: a run of a parcel's chunks, its checksums, and its way to the SDK.
//!
//! Chunks are shared, never copied, but where the body is signed: the SDK hashes one run of
//! bytes only, so that a signed part is gathered, one at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_types::base64;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use md5::{Digest as _, Md5};

use crate::batch::{BodyBroken, BodyReader};

/// Consecutive bytes of a body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    chunks: Vec<Bytes>,
    bytes: usize,
}

/// Cuts a body into parts of exactly `part_bytes`, the last one shorter; one empty part when there is nothing. Only
/// the part that was asked for is held.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    body: BodyReader<'a>,
    part_bytes: usize,
    /// Of the body, what was read and is in no part yet.
    rest: Bytes,
}

impl<'a> Parts<'a> {
    pub(super) fn new(body: BodyReader<'a>, part_bytes: usize) -> Self {
        Self {
            body,
            part_bytes,
            rest: Bytes::new(),
        }
    }

    /// The next part, and whether it is the last.
    ///
    /// # Errors
    /// When the body cannot be made to its end.
    pub(super) fn next(&mut self) -> Result<(Part, bool), BodyBroken> {
        let mut part = Part::default();
        loop {
            while self.rest.is_empty() {
                match self.body.next()? {
                    Some(chunk) => self.rest = chunk,
                    None => return Ok((part, true)),
                }
            }
            let room = self.part_bytes - part.bytes;
            if room == 0 {
                return Ok((part, false));
            }
            let piece = self.rest.split_to(self.rest.len().min(room));
            part.bytes += piece.len();
            part.chunks.push(piece);
        }
    }
}

impl Part {
    /// Its length in bytes.
    pub(super) fn content_length(&self) -> i64 {
        i64::try_from(self.bytes).expect("a part in memory is below 2^63 bytes")
    }

    /// CRC-32C as S3 writes it: base64 of the four bytes, the highest first.
    pub(super) fn crc32c(&self) -> String {
        let crc = (self.chunks.iter()).fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk));
        base64::encode(crc.to_be_bytes())
    }

    /// MD5 as `Content-MD5` has it (RFC 1864).
    pub(super) fn md5(&self) -> String {
        let mut hash = Md5::new();
        for chunk in &self.chunks {
            hash.update(chunk);
        }
        base64::encode(hash.finalize())
    }

    /// The body for one request. `signed`: in one run of bytes, which the SDK then hashes;
    /// otherwise a stream, which it signs as `UNSIGNED-PAYLOAD`.
    pub(super) fn stream(&self, signed: bool) -> ByteStream {
        if !signed {
            return ByteStream::new(SdkBody::from_body_1_x(PartBody {
                chunks: self.chunks.clone().into_iter(),
                remaining_bytes: self.bytes,
            }));
        }
        if let [only] = &self.chunks[..] {
            return ByteStream::from(only.clone());
        }
        let mut gathered = BytesMut::with_capacity(self.bytes);
        for chunk in &self.chunks {
            gathered.extend_from_slice(chunk);
        }
        ByteStream::from(gathered.freeze())
    }
}

/// A body of known length made of shared chunks.
#[derive(Debug)]
struct PartBody {
    chunks: vec::IntoIter<Bytes>,
    remaining_bytes: usize,
}

impl Body for PartBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let next = this.chunks.next();
        this.remaining_bytes -= next.as_ref().map_or(0, Bytes::len);
        Poll::Ready(next.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining_bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::s3::tests::parcel;

    fn cut(chunks: &[&'static [u8]], part_bytes: usize) -> Vec<Part> {
        let parcel = parcel(chunks);
        let mut parts = Parts::new(parcel.read_body(), part_bytes);
        let mut cut = Vec::new();
        loop {
            let (part, is_last) = parts.next().unwrap();
            cut.push(part);
            if is_last {
                return cut;
            }
        }
    }

    #[test]
    fn parts_have_their_length_and_all_bytes_in_order() {
        #[track_caller]
        fn check(chunks: &[&'static [u8]], part_bytes: usize, expected: &[&str]) {
            let found: Vec<String> = cut(chunks, part_bytes)
                .iter()
                .map(|part| {
                    let bytes = part.chunks.concat();
                    assert_eq!(part.bytes, bytes.len());
                    String::from_utf8(bytes).unwrap()
                })
                .collect();
            assert_eq!(found, expected);
        }
        check(&[b"abc", b"", b"defgh"], 4, &["abcd", "efgh"]);
        check(&[b"abc", b"defg"], 3, &["abc", "def", "g"]);
        check(&[b"abcdefgh"], 3, &["abc", "def", "gh"]);
        check(&[b"abc"], 100, &["abc"]);
        check(&[], 4, &[""]);
    }

    /// The check values of both algorithms, in base64.
    #[test]
    fn checksums_are_those_of_the_whole_part() {
        let part = &cut(&[b"123", b"456789"], 100)[0];
        assert_eq!(part.crc32c(), "4waSgw==");
        assert_eq!(part.md5(), "JfnnlDI7RTiF9RgfG2JNCw==");
    }

    #[tokio::test]
    async fn both_streams_give_the_bytes() {
        for signed in [false, true] {
            let part = &cut(&[b"ab", b"c", b"defg"], 5)[0];
            let stream = part.stream(signed);
            assert_eq!(stream.size_hint(), (5, Some(5)));
            let bytes = stream.collect().await.unwrap().into_bytes();
            assert_eq!(&bytes[..], b"abcde");
        }
    }
}
