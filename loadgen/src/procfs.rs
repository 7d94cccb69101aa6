//! What the kernel tells about a process: CPU time and memory.
//!
//! Owns the reading of `/proc`; a process that is gone reads as `None`.

use std::fs;

/// CPU seconds (user and system) that process `pid` and its threads have used.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    parse_cpu_seconds(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// CPU seconds of the calling thread; 0 if the kernel does not say.
pub(crate) fn thread_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/stat").ok();
    stat.and_then(|stat| parse_cpu_seconds(&stat))
        .unwrap_or_default()
}

/// Resident memory of `pid` now and at its peak, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((
        status_bytes(&status, "VmRSS:")?,
        status_bytes(&status, "VmHWM:")?,
    ))
}

/// The program's name may contain blanks and brackets; the fields follow the last bracket.
fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat[stat.rfind(')')? + 1..]
        .split_ascii_whitespace()
        .skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_names_with_brackets_do_not_shift_the_fields() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!(
            "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 {} {} 0 0",
            2 * ticks,
            ticks
        );
        assert_eq!(parse_cpu_seconds(&stat), Some(3.0));
    }

    #[test]
    fn own_memory_is_known_and_not_above_its_peak() {
        let (now, peak) = resident_bytes(std::process::id()).unwrap();
        assert!(now > 0 && now <= peak);
    }
}
