//! What the kernel says of this process: memory and processor time.

use std::fs;

/// Ticks per second in `/proc/<pid>/stat`. The kernel's ABI fixes it at 100 on x86-64 and
/// 64-bit Arm, whatever the kernel's own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process takes of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Processor time of all threads since start, in seconds.
    pub cpu_seconds: f64,
}

impl Usage {
    /// Asks the kernel; `None` where `/proc` is not mounted.
    pub(super) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        Some(Self {
            resident_bytes: resident_bytes(&status)?,
            cpu_seconds: cpu_seconds(&stat)?,
        })
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The program's name, in parentheses, may hold spaces and parentheses itself. Behind it
    // comes field 3; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_what_the_kernel_prints() {
        let status = "Name:\tweir\nVmPeak:\t  900 kB\nVmRSS:\t    1536 kB\nThreads:\t4\n";
        assert_eq!(resident_bytes(status), Some(1536 * 1024));
        assert_eq!(resident_bytes("VmRSS:\t many kB\n"), None);
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 1 2 3 4 150 25 7 8 20 0 4 0 99 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(1.75));
        assert_eq!(cpu_seconds("42 (a"), None);
    }

    #[test]
    fn this_process_has_memory() {
        let usage = Usage::read().unwrap();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
    }
}
