//! From a body to what it says: decode, cut lines, read stamps, compare content.
//!
//! Owns decoding with an independent gzip reader (many members too) and the comparison of every
//! line with the event composed again. The result of a body is small: stretches of consecutive
//! events and counts; applying it in order is left to `ledger`.

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use hdrhistogram::Histogram;

use super::ledger::Arrival;
use crate::event::{Pool, RunId, Span, Stamp};
use crate::http1::Encoding;
use crate::send::latency_histogram;

/// Decodes bodies, one after the other; each thread has its own.
pub(crate) struct Decoder {
    pools: HashMap<RunId, Pool>,
    buffer: Vec<u8>,
    /// Microseconds from the intended send time to the receipt of the body.
    pub(crate) delivery_us: Histogram<u64>,
    pub(crate) counts: Counts,
}

/// Sums over decoded bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bodies: u64,
    /// Bodies as sent, bytes.
    pub(crate) body_bytes: u64,
    /// Bodies decoded, bytes.
    pub(crate) raw_bytes: u64,
    /// Lines that differ from the event their stamp names.
    pub(crate) content_differs: u64,
    /// Lines without a stamp.
    pub(crate) foreign: u64,
    /// Bodies whose encoding is broken; their readable part counts.
    pub(crate) undecodable: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.bodies += other.bodies;
        self.body_bytes += other.body_bytes;
        self.raw_bytes += other.raw_bytes;
        self.content_differs += other.content_differs;
        self.foreign += other.foreign;
        self.undecodable += other.undecodable;
    }
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            pools: HashMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            delivery_us: latency_histogram(),
            counts: Counts::default(),
        }
    }

    /// Decodes one body received at `received_us` (0: not known) into stretches of events.
    pub(crate) fn decode(
        &mut self,
        body: &[u8],
        encoding: Encoding,
        received_us: u64,
    ) -> Vec<Arrival> {
        self.counts.bodies += 1;
        self.counts.body_bytes += body.len() as u64;
        let mut arrivals = Vec::new();
        let result = match encoding {
            Encoding::Gzip => {
                self.read_lines(MultiGzDecoder::new(body), received_us, &mut arrivals)
            }
            Encoding::Identity => self.read_lines(body, received_us, &mut arrivals),
        };
        self.counts.undecodable += u64::from(result.is_err());
        arrivals
    }

    /// Reads lines from `source` until its end; an error ends it early.
    pub(crate) fn read_lines(
        &mut self,
        mut source: impl Read,
        received_us: u64,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut filled = 0;
        let result = loop {
            if filled == buffer.len() {
                buffer.resize(filled * 2, 0);
            }
            match source.read(&mut buffer[filled..]) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    self.counts.raw_bytes += count as u64;
                    let searched = filled;
                    filled += count;
                    // Only what is new can hold a line end.
                    let Some(end) = memchr::memrchr(b'\n', &buffer[searched..filled]) else {
                        continue;
                    };
                    let end = searched + end + 1;
                    self.take_lines(&buffer[..end], received_us, arrivals);
                    buffer.copy_within(end..filled, 0);
                    filled -= end;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if filled > 0 && result.is_ok() {
            self.take_line(&buffer[..filled], received_us, arrivals);
        }
        buffer.truncate(BUFFER_BYTES);
        self.buffer = buffer;
        result
    }

    fn take_lines(&mut self, text: &[u8], received_us: u64, arrivals: &mut Vec<Arrival>) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', text) {
            if end > start {
                self.take_line(&text[start..end], received_us, arrivals);
            }
            start = end + 1;
        }
    }

    fn take_line(&mut self, line: &[u8], received_us: u64, arrivals: &mut Vec<Arrival>) {
        let Some(stamp) = Stamp::parse(line) else {
            self.counts.foreign += 1;
            return;
        };
        let pool = self
            .pools
            .entry(stamp.run)
            .or_insert_with(|| Pool::generate(stamp.run));
        self.counts.content_differs += u64::from(!pool.matches(line, &stamp));
        if received_us > 0 {
            self.delivery_us
                .saturating_record(received_us.saturating_sub(stamp.sent_us));
        }
        let Stamp {
            run,
            sender,
            sequence,
            ..
        } = stamp;
        match arrivals.last_mut() {
            Some(last)
                if last.run == run && last.sender == sender && last.span.end() == sequence =>
            {
                last.span.count += 1;
            }
            _ => arrivals.push(Arrival {
                run,
                sender,
                span: Span {
                    first: sequence,
                    count: 1,
                },
            }),
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::event::Kind;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn events(pool: &Pool, sender: u32, first: u64, count: u64) -> Vec<u8> {
        let mut out = Vec::new();
        pool.compose(&mut out, sender, Span { first, count }, 1_000);
        out
    }

    #[test]
    fn bodies_of_any_encoding_give_the_same_arrivals() {
        let run = RunId::new(Kind::Mixed, 3);
        let pool = Pool::generate(run);
        let mut text = events(&pool, 1, 0, 900);
        text.extend(events(&pool, 2, 5, 1));
        let rest = events(&pool, 1, 900, 300);
        let mut members = gzip(&text);
        members.extend(gzip(&rest));
        text.extend(&rest);
        let arrival = |sender, first, count| Arrival {
            run,
            sender,
            span: Span { first, count },
        };
        let expected = [arrival(1, 0, 900), arrival(2, 5, 1), arrival(1, 900, 300)];
        let mut decoder = Decoder::new();
        for (body, encoding) in [
            (&text, Encoding::Identity),
            (&gzip(&text), Encoding::Gzip),
            (&members, Encoding::Gzip),
        ] {
            assert_eq!(decoder.decode(body, encoding, 5_000), expected);
        }
        // The last line end may be missing.
        text.pop();
        assert_eq!(decoder.decode(&text, Encoding::Identity, 5_000), expected);
        let counts = decoder.counts;
        assert_eq!(
            (counts.bodies, counts.content_differs, counts.foreign),
            (4, 0, 0)
        );
        assert_eq!(
            (counts.undecodable, decoder.delivery_us.len()),
            (0, 4 * 1_201)
        );
        let max_us = decoder.delivery_us.max();
        assert!(
            (4_000..4_010).contains(&max_us),
            "{max_us} us, to three digits"
        );
    }

    #[test]
    fn damage_is_noticed() {
        let pool = Pool::generate(RunId::new(Kind::Audit, 3));
        let text = events(&pool, 1, 0, 400);
        let mut decoder = Decoder::new();
        let mut changed = text.clone();
        changed[100] ^= 1;
        decoder.decode(&changed, Encoding::Identity, 0);
        assert_eq!(
            (decoder.counts.content_differs, decoder.counts.foreign),
            (1, 0)
        );
        decoder.decode(b"{\"other\":1}\n", Encoding::Identity, 0);
        assert_eq!(decoder.counts.foreign, 1);
        let whole = gzip(&text);
        let cut = decoder.decode(&whole[..whole.len() - 3], Encoding::Gzip, 0);
        assert_eq!((decoder.counts.undecodable, cut.len()), (1, 1));
        let mut trailing = whole;
        trailing.extend(b"rubbish");
        decoder.decode(&trailing, Encoding::Gzip, 0);
        assert_eq!(decoder.counts.undecodable, 2);
        assert_eq!(decoder.delivery_us.len(), 0);
    }
}
