//! Judging what was delivered.
//!
//! Owns the offline pass over stored bodies or over files a relay has written, and the verdict:
//! loss, duplicates, order per sender, content, latency. Bodies are decoded on all cores and applied
//! in the order of receipt.

pub(crate) mod decode;
pub(crate) mod ledger;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use hdrhistogram::Histogram;

use self::decode::{Counts, Decoder};
use self::ledger::{Arrival, Ledger};
use crate::receive::store::StoreIndex;
use crate::send::latency_histogram;

/// Everything known of what has arrived.
pub(crate) struct Verified {
    pub(crate) ledger: Ledger,
    pub(crate) counts: Counts,
    pub(crate) delivery_us: Histogram<u64>,
}

impl Verified {
    pub(crate) fn nothing() -> Self {
        Self {
            ledger: Ledger::default(),
            counts: Counts::default(),
            delivery_us: latency_histogram(),
        }
    }

    /// Adds the sums of one decoder; its arrivals are applied separately, in order.
    pub(crate) fn add(&mut self, decoder: &Decoder) {
        self.counts.add(decoder.counts);
        let same_bounds = "all latency histograms have the same bounds";
        self.delivery_us
            .add(&decoder.delivery_us)
            .expect(same_bounds);
    }
}

/// Decodes and judges all bodies of a store; `done` is called with the bodies judged so far.
pub(crate) fn verify_store(
    index: &StoreIndex,
    mut done: impl FnMut(usize),
) -> io::Result<Verified> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut decoders: Vec<Decoder> = (0..workers).map(|_| Decoder::new()).collect();
    let mut verified = Verified::nothing();
    let mut judged = 0;
    for wave in index.records.chunks(WAVE_BODIES) {
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Option<Vec<Arrival>>>> = Mutex::new(vec![None; wave.len()]);
        std::thread::scope(|scope| {
            let work = |decoder: &mut Decoder| -> io::Result<()> {
                let (mut bodies, mut body) = (index.bodies(), Vec::new());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(record) = wave.get(at) else {
                        return Ok(());
                    };
                    bodies.read(record, &mut body)?;
                    let arrivals = decoder.decode(&body, record.encoding, record.received_us);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(arrivals);
                }
            };
            let threads: Vec<_> = decoders
                .iter_mut()
                .map(|decoder| scope.spawn(move || work(decoder)))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .map_err(|_| io::Error::other("a decoding thread panicked"))?
            })
        })?;
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (record, arrivals) in wave.iter().zip(results) {
            let known_key = verified.ledger.open_body(record.idempotency_key.as_deref());
            for arrival in arrivals.expect("every body of the wave was decoded") {
                verified.ledger.apply(arrival, known_key);
            }
        }
        judged += wave.len();
        done(judged);
    }
    for decoder in &decoders {
        verified.add(decoder);
    }
    Ok(verified)
}

/// Judges NDJSON files, plain or gzip (told by their first bytes), in the order given.
pub(crate) fn verify_files(paths: &[PathBuf], mut done: impl FnMut(usize)) -> io::Result<Verified> {
    let mut verified = Verified::nothing();
    let mut decoder = Decoder::new();
    for (judged, path) in (1..).zip(paths) {
        let in_file =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let mut file = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(in_file)?);
        decoder.counts.bodies += 1;
        decoder.counts.body_bytes += file.get_ref().metadata()?.len();
        let start = io::BufRead::fill_buf(&mut file).map_err(in_file)?;
        let source: Box<dyn Read> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut arrivals = Vec::new();
        let result = decoder.read_lines(source, 0, &mut arrivals);
        decoder.counts.undecodable += u64::from(result.is_err());
        for arrival in arrivals {
            verified.ledger.apply(arrival, false);
        }
        done(judged);
    }
    verified.add(&decoder);
    Ok(verified)
}

/// Bodies decoded before their arrivals are applied: bounds what waits in memory.
const WAVE_BODIES: usize = 256;
const READ_BYTES: usize = 256 << 10;
