//! The relay's process.
//!
//! Owns the child from start to end: its output in a file, readiness, CPU and memory, SIGTERM by its
//! process id, and SIGKILL only for our own child and only when it does not end in time.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http1::parse_response;
use crate::procfs;

/// A relay that was started and has not been waited for.
pub(crate) struct Relay {
    child: Child,
    output: PathBuf,
    rss_peak_bytes: u64,
    cpu_seconds: f64,
}

impl Relay {
    /// Starts `program run --config config`; its output goes to `output`.
    pub(crate) fn start(program: &Path, config: &Path, output: &Path) -> io::Result<Self> {
        let file = File::create(output)?;
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("start {}: {error}", program.display()),
                )
            })?;
        let output = output.to_owned();
        Ok(Self {
            child,
            output,
            rss_peak_bytes: 0,
            cpu_seconds: 0.0,
        })
    }

    /// Waits until `http://admin/readyz` answers 200.
    pub(crate) fn wait_ready(&mut self, admin: SocketAddr) -> io::Result<()> {
        let start = Instant::now();
        loop {
            self.ensure_running()?;
            if is_ready(admin).unwrap_or(false) {
                return Ok(());
            }
            if start.elapsed() > READY_TIMEOUT {
                return Err(self.error("the relay is not ready after 15 s"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An error with the end of the relay's output if the relay has ended.
    pub(crate) fn ensure_running(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(self.error(&format!("the relay ended ({status})"))),
            None => Ok(()),
        }
    }

    /// Reads CPU time and memory; a relay that is gone keeps its last figures.
    pub(crate) fn sample(&mut self) {
        if let Some((_, peak)) = procfs::resident_bytes(self.child.id()) {
            self.rss_peak_bytes = self.rss_peak_bytes.max(peak);
        }
        if let Some(seconds) = procfs::cpu_seconds(self.child.id()) {
            self.cpu_seconds = self.cpu_seconds.max(seconds);
        }
    }

    /// CPU seconds used since its start, as of the last sample.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.cpu_seconds
    }

    /// Peak of resident memory, bytes, as of the last sample.
    pub(crate) fn rss_peak_bytes(&self) -> u64 {
        self.rss_peak_bytes
    }

    /// Asks the relay to end and waits; kills it after `timeout`.
    pub(crate) fn stop(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let start = Instant::now();
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        loop {
            self.sample();
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > timeout {
                self.child.kill()?;
                self.child.wait()?;
                return Err(self.error("the relay did not end after SIGTERM and was killed"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn error(&self, what: &str) -> io::Error {
        let output = fs::read(&self.output).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n  ");
        io::Error::other(format!("{what}; its output ends with\n  {tail}"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Only when an error cut the run short: a relay must not outlive the run.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&admin, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer)?;
    let response = parse_response(&answer, true).map_err(io::Error::other)?;
    Ok(response.is_some_and(|(response, _)| response.status == 200))
}

const READY_TIMEOUT: Duration = Duration::from_secs(15);
const OUTPUT_LINES: usize = 20;
