//! Metrics of the process as a whole.

use std::fmt;
use std::sync::atomic::Ordering;

use super::Page;
use crate::control::observed::Observed;
use crate::control::process::Usage;
use crate::position::Timestamp;

/// The version of this build.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes them.
pub(super) fn write(page: &mut Page<'_>, observed: &Observed, started: Timestamp) -> fmt::Result {
    page.gauge(
        "weir_build_info",
        "Version of this build and the name of its codec; always 1",
        [([("version", VERSION), ("codec", observed.codec)], 1)],
    )?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of this age of the world stay below 2^52"
    )]
    let started = started.0 as f64 / 1e6;
    page.gauge(
        "weir_start_time_seconds",
        "When this process began to serve, in seconds since 1970",
        [([], started)],
    )?;
    page.gauge(
        "weir_ready",
        "1 while every part runs, 0 before and while the node stops",
        [([], observed.ready.load(Ordering::Acquire))],
    )?;
    page.gauge(
        "weir_memory_taken_bytes",
        "Bytes of the memory budget that partial lines, bodies, blocks, tails and batches hold",
        [([], observed.budget.bytes_taken())],
    )?;
    page.gauge(
        "weir_memory_max_bytes",
        "The memory budget",
        [([], observed.budget.bytes_max())],
    )?;
    let usage = Usage::read();
    page.gauge(
        "weir_resident_memory_bytes",
        "Resident memory of the process, as the kernel says",
        usage.map(|usage| ([], usage.resident_bytes)),
    )?;
    page.counter(
        "weir_cpu_seconds_total",
        "Processor time of all threads since start, as the kernel says",
        usage.map(|usage| ([], usage.cpu_seconds)),
    )
}
