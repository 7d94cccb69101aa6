//! How fast the disk syncs, measured bare.
//!
//! Owns one small measurement, printed beside a run's latencies, because a relay that syncs before it
//! acknowledges can never be faster than the disk, and shared disks are noisy.

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use crate::clock::micros;
use crate::report::LatencyMs;
use crate::send::latency_histogram;

/// Writes 4 KiB and 64 KiB in turn, 200 times, each followed by fdatasync, into a file under
/// `folder`, and deletes it.
pub(crate) fn measure_fdatasync(folder: &Path) -> io::Result<LatencyMs> {
    fs::create_dir_all(folder)?;
    let path = folder.join(".fdatasync-probe");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    let block = [0x5a; 64 << 10];
    // Written once before, as a journal's segments are: a growing file syncs its size too.
    for _ in 0..ROUNDS / 2 {
        file.write_all(&block)?;
        file.write_all(&block[..4 << 10])?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times_us = latency_histogram();
    for round in 0..ROUNDS {
        let start = Instant::now();
        file.write_all(if round % 2 == 0 {
            &block[..4 << 10]
        } else {
            &block
        })?;
        rustix::fs::fdatasync(&file)?;
        times_us.saturating_record(micros(start.elapsed()));
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(LatencyMs::of(&times_us))
}

const ROUNDS: u32 = 200;
