//! The durable writer's io_uring: one vectored write with `RWF_DSYNC` for each request.
//!
//! The ring lies beside the runtime, not under it: a request is submitted by one system
//! call at once, and its completion rings an eventfd that the runtime polls like a socket.
//! So sockets, timers and tasks are plain tokio, and no loop of the shard can keep a write
//! from starting. Where a file system refuses `RWF_DSYNC`, a write is followed by an
//! fdatasync that begins only when no write runs: with writes still coming it can starve.
//!
//! Memory: while an operation is in the kernel, its [`Slot`] owns the buffers, the array
//! that points to them and the file, changes none of them and is not dropped. Dropping the
//! writer waits for the kernel, and leaks the slots if even waiting fails.

#![expect(
    unsafe_code,
    reason = "the kernel is told addresses that must outlive the call that tells them"
)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::EventfdFlags;
use rustix::io::{Errno, ReadWriteFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{WRITES_IN_FLIGHT_MAX, WriteDone, WriteRequest, write_blocking};
use crate::os::disk::DiskFile;
use crate::os::real_disk::{is_flag_refusal, progress_of};

pub(super) struct RingWriter {
    ring: IoUring,
    /// Counts completions; readable when there are new ones.
    event: AsyncFd<OwnedFd>,
    slots: [Option<Slot>; WRITES_IN_FLIGHT_MAX],
    /// Slots whose operation is queued but not yet taken by the kernel, oldest first.
    untaken: VecDeque<usize>,
    /// Outcomes not yet reported.
    ready: VecDeque<WriteDone>,
    /// Writes carry `RWF_DSYNC`; false from the first refusal on.
    dsync: bool,
    /// Why the kernel takes no more requests, if it does not: then nothing enters it again.
    retired: Option<Errno>,
}

/// A request and all the kernel may look at while it works on it.
struct Slot {
    ticket: u64,
    file: Arc<dyn DiskFile>,
    /// What is not written yet. Unchanged while `phase` is `Writing`.
    left: Vec<Bytes>,
    /// Byte of the file at which `left` begins.
    offset: u64,
    direct: bool,
    /// Addresses and lengths of `left`, as the kernel reads them. Unchanged while `phase`
    /// is `Writing`.
    iovecs: Box<[Iovec]>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be handed to the kernel.
    Queued,
    /// A write is with the kernel; with `dsync` it is durable when it ends.
    Writing { dsync: bool },
    /// Written whole, to be synced.
    Written,
    /// An fdatasync is with the kernel.
    Syncing,
}

/// The kernel's `struct iovec`.
#[repr(C)]
struct Iovec {
    base: *const u8,
    len: usize,
}

/// Operations of the ring; each slot has one at most, and one more tries the ring out.
const RING_ENTRIES: u32 = 8;

/// Pause before the kernel is asked again after it had no memory for a request.
const RETRY_DELAY: Duration = Duration::from_millis(1);

/// The completion of the operation that tries the ring out.
const TRIAL: u64 = u64::MAX;

impl RingWriter {
    /// Makes a ring and proves that it works.
    ///
    /// # Errors
    /// When the kernel refuses (`EPERM` in most containers, `ENOSYS` when built without,
    /// `ENOMEM`); the caller falls back to the thread.
    pub(super) fn start() -> io::Result<Self> {
        let mut ring = new_ring()?;
        // A filter may allow the ring and refuse its use: found out here, not at the first
        // commit.
        push(&mut ring, &opcode::Nop::new().build().user_data(TRIAL));
        ring.submit_and_wait(1)?;
        let trial = ring.completion().next().map(|entry| entry.user_data());
        if trial != Some(TRIAL) {
            return Err(io::Error::other("the ring does not answer"));
        }
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and the
        // `AsyncFd` owns it from here on.
        let event = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }?;
        Ok(Self {
            ring,
            event,
            slots: [const { None }; WRITES_IN_FLIGHT_MAX],
            untaken: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            ready: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            dsync: true,
            retired: None,
        })
    }

    /// As after a file system has refused `RWF_DSYNC`, which those of a test machine do not.
    #[cfg(test)]
    pub(super) fn without_dsync(mut self) -> Self {
        self.dsync = false;
        self
    }

    pub(super) fn submit(&mut self, request: WriteRequest) {
        if request.file.descriptor().is_none() {
            // A file in memory: its write does not block, so it is done on the spot.
            let result = write_blocking(&request);
            let ticket = request.ticket;
            self.ready.push_back(WriteDone { ticket, result });
            return;
        }
        if let Some(why) = self.retired {
            self.report(request.ticket, Err(why.into()));
            return;
        }
        let mut slots = self.slots.iter_mut();
        let free = slots.find(|slot| slot.is_none());
        *free.expect("a slot for each request in flight") = Some(Slot {
            ticket: request.ticket,
            file: request.file,
            left: request.buffers,
            offset: request.offset,
            direct: request.direct,
            iovecs: Box::default(),
            phase: Phase::Queued,
        });
        self.advance();
    }

    /// Looks at the completions in memory; enters the kernel only to start what comes next.
    pub(super) fn try_completed(&mut self) -> Option<WriteDone> {
        self.reap();
        self.advance();
        self.ready.pop_front()
    }

    pub(super) async fn completed(&mut self) -> WriteDone {
        loop {
            if let Some(done) = self.try_completed() {
                return done;
            }
            if !self.untaken.is_empty() {
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            }
            let Ok(mut guard) = self.event.readable().await else {
                // The runtime is shutting down, and with it whoever waits here.
                return std::future::pending().await;
            };
            // Reading resets the count, and a completion after it wakes the loop again.
            let count = rustix::io::read(self.event.get_ref(), &mut [0; 8]);
            debug_assert!(matches!(count, Ok(8) | Err(Errno::AGAIN)), "{count:?}");
            guard.clear_ready();
        }
    }

    /// Starts what can start: writes at once, or, where writes need a sync of their own,
    /// writes and syncs in turn.
    fn advance(&mut self) {
        if self.retired.is_some() {
            return;
        }
        let is = |slot: &Option<Slot>, wanted: fn(Phase) -> bool| {
            slot.as_ref().is_some_and(|slot| wanted(slot.phase))
        };
        let writing = |phase| matches!(phase, Phase::Writing { .. });
        let syncing = |phase| matches!(phase, Phase::Written | Phase::Syncing);
        let any_syncing = self.slots.iter().any(|slot| is(slot, syncing));
        let any_writing = self.slots.iter().any(|slot| is(slot, writing));
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let entry = match slot.phase {
                Phase::Queued if self.dsync || !any_syncing => slot.write(self.dsync),
                Phase::Written if !any_writing => slot.sync(),
                Phase::Queued | Phase::Written | Phase::Writing { .. } | Phase::Syncing => continue,
            };
            push(&mut self.ring, &entry.user_data(index as u64));
            self.untaken.push_back(index);
        }
        self.enter();
    }

    /// Hands queued operations to the kernel; keeps those it has no memory for just now.
    fn enter(&mut self) {
        while !self.untaken.is_empty() && self.retired.is_none() {
            match self.ring.submit() {
                Ok(taken) => drop(self.untaken.drain(..taken)),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN | Errno::BUSY) => return,
                    why => self.retire(why.unwrap_or(Errno::IO)),
                },
            }
        }
    }

    /// The kernel refuses to be entered: what it has not taken fails, and nothing enters it
    /// again, because that would hand it the addresses of slots that are gone. What it has
    /// taken goes on, and `reap` hears of it.
    fn retire(&mut self, why: Errno) {
        self.retired = Some(why);
        for (index, place) in self.slots.iter_mut().enumerate() {
            let taken = |slot: &mut Slot| slot.in_kernel() && !self.untaken.contains(&index);
            if let Some(slot) = place.take_if(|slot| !taken(slot)) {
                let (ticket, result) = (slot.ticket, Err(why.into()));
                self.ready.push_back(WriteDone { ticket, result });
            }
        }
        self.untaken.clear();
    }

    /// Takes in all completions there are.
    fn reap(&mut self) {
        loop {
            // Taken apart, so that the queue is free again while the slot is looked at.
            let entry = self.ring.completion().next();
            let Some(entry) = entry else { return };
            let index = usize::try_from(entry.user_data()).expect("the index of a slot");
            let mut slot = self.slots[index]
                .take()
                .expect("a completion belongs to a slot in flight");
            if let Some(result) = slot.complete(entry.result(), &mut self.dsync) {
                self.report(slot.ticket, result);
            } else if let Some(why) = self.retired {
                self.report(slot.ticket, Err(why.into()));
            } else {
                self.slots[index] = Some(slot);
            }
        }
    }

    fn report(&mut self, ticket: u64, result: io::Result<()>) {
        self.ready.push_back(WriteDone { ticket, result });
    }

    fn in_kernel(&self) -> bool {
        self.slots.iter().flatten().any(Slot::in_kernel)
    }
}

impl Slot {
    /// Builds the write of all that is left.
    fn write(&mut self, dsync: bool) -> squeue::Entry {
        self.iovecs = self
            .left
            .iter()
            .map(|bytes| Iovec {
                base: bytes.as_ptr(),
                len: bytes.len(),
            })
            .collect();
        self.phase = Phase::Writing { dsync };
        let count = u32::try_from(self.iovecs.len()).expect("at most WRITE_BUFFERS_MAX buffers");
        let flags = if dsync {
            ReadWriteFlags::DSYNC.bits().cast_signed()
        } else {
            0
        };
        opcode::Writev::new(self.descriptor(), self.iovecs.as_ptr().cast(), count)
            .offset(self.offset)
            .rw_flags(flags)
            .build()
    }

    /// Builds the sync of all that is written.
    fn sync(&mut self) -> squeue::Entry {
        self.phase = Phase::Syncing;
        opcode::Fsync::new(self.descriptor())
            .flags(types::FsyncFlags::DATASYNC)
            .build()
    }

    /// Takes in the outcome of the operation in flight, as the kernel says it (bytes, or an
    /// error below zero). Returns the request's outcome when it is done, else goes to the
    /// phase that comes next.
    fn complete(&mut self, outcome: i32, dsync: &mut bool) -> Option<io::Result<()>> {
        let written = match usize::try_from(outcome) {
            Ok(written) => written,
            Err(_) => return self.fail(outcome.saturating_neg(), dsync),
        };
        match self.phase {
            Phase::Syncing => Some(Ok(())),
            Phase::Writing { dsync } => match self.take_off(written) {
                Err(error) => Some(Err(error)),
                Ok(()) if !self.left.is_empty() => {
                    self.phase = Phase::Queued;
                    None
                }
                Ok(()) if dsync => Some(Ok(())),
                Ok(()) => {
                    self.phase = Phase::Written;
                    None
                }
            },
            Phase::Queued | Phase::Written => unreachable!("nothing of this slot was in flight"),
        }
    }

    fn fail(&mut self, error: i32, dsync: &mut bool) -> Option<io::Result<()>> {
        let error = io::Error::from_raw_os_error(error);
        let again = match Errno::from_io_error(&error) {
            Some(Errno::INTR | Errno::AGAIN) => true,
            _ => self.phase == Phase::Writing { dsync: true } && is_flag_refusal(&error),
        };
        if !again {
            return Some(Err(error));
        }
        if is_flag_refusal(&error) {
            *dsync = false;
        }
        self.phase = match self.phase {
            Phase::Syncing => Phase::Written,
            Phase::Queued | Phase::Writing { .. } | Phase::Written => Phase::Queued,
        };
        None
    }

    /// Takes written bytes off `left`; of a write cut short, what [`progress_of`] counts.
    fn take_off(&mut self, written: usize) -> io::Result<()> {
        let total: usize = self.left.iter().map(Bytes::len).sum();
        let mut done = if written == total {
            written
        } else {
            progress_of(written, self.direct)?
        };
        self.offset += done as u64;
        self.left.retain_mut(|bytes| {
            let here = done.min(bytes.len());
            bytes.advance(here);
            done -= here;
            !bytes.is_empty()
        });
        Ok(())
    }

    /// An operation of this slot is in the ring or with the kernel.
    fn in_kernel(&self) -> bool {
        matches!(self.phase, Phase::Writing { .. } | Phase::Syncing)
    }

    fn descriptor(&self) -> types::Fd {
        let descriptor = self.file.descriptor();
        types::Fd(
            descriptor
                .expect("only files with a descriptor get a slot")
                .as_raw_fd(),
        )
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        self.reap();
        while self.in_kernel() && self.retired.is_none() {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            self.reap();
        }
        if self.in_kernel() {
            // The kernel may still read this memory, so it must never be used again.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl std::fmt::Debug for RingWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phases = self.slots.each_ref().map(|slot| {
            let slot = slot.as_ref();
            slot.map(|slot| (slot.ticket, slot.phase))
        });
        f.debug_struct("RingWriter")
            .field("slots", &phases)
            .field("dsync", &self.dsync)
            .field("retired", &self.retired)
            .finish_non_exhaustive()
    }
}

/// Makes a ring with the flags that spare interrupts, or without where the kernel is older
/// than they are (6.0).
fn new_ring() -> io::Result<IoUring> {
    let modern = IoUring::builder().setup_single_issuer().build(RING_ENTRIES);
    match modern {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::new(RING_ENTRIES),
        made => made,
    }
}

fn push(ring: &mut IoUring, entry: &squeue::Entry) {
    let mut queue = ring.submission();
    // SAFETY: every entry is a no-op or built by a `Slot`, which keeps all that the entry
    // points to alive and unchanged until the completion; see the module's text.
    let pushed = unsafe { queue.push(entry) };
    pushed.expect("the ring has more entries than there are slots");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::disk::{Disk, OpenMode};
    use crate::os::real_disk::RealDisk;

    const NEW: OpenMode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };

    fn slot(file: &Arc<dyn DiskFile>, direct: bool) -> Slot {
        Slot {
            ticket: 1,
            file: Arc::clone(file),
            left: vec![Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 8192])],
            offset: 8192,
            direct,
            iovecs: Box::default(),
            phase: Phase::Queued,
        }
    }

    fn with_file(check: impl FnOnce(Arc<dyn DiskFile>)) {
        let dir = tempfile::tempdir().unwrap();
        check(RealDisk.open(&dir.path().join("a"), NEW).unwrap());
    }

    #[test]
    fn a_write_cut_short_goes_on_with_the_rest() {
        with_file(|file| {
            for (direct, done, left) in [(true, 8192, 4096), (false, 9000, 3288)] {
                let (mut slot, mut dsync) = (slot(&file, direct), true);
                slot.write(dsync);
                assert!(slot.complete(9000, &mut dsync).is_none());
                assert_eq!(slot.phase, Phase::Queued);
                assert_eq!(slot.offset, 8192 + done);
                assert_eq!(slot.left, [Bytes::from(vec![2; left])]);
                slot.write(dsync);
                assert_eq!(slot.iovecs.len(), 1);
                let rest = i32::try_from(left).unwrap();
                assert!(matches!(slot.complete(rest, &mut dsync), Some(Ok(()))));
            }
        });
    }

    #[test]
    fn a_write_of_nothing_is_an_error_and_not_a_loop() {
        with_file(|file| {
            let (mut slot, mut dsync) = (slot(&file, true), true);
            slot.write(dsync);
            let error = slot.complete(0, &mut dsync).unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        });
    }

    #[test]
    fn a_refused_flag_leads_to_write_then_sync() {
        with_file(|file| {
            let (mut slot, mut dsync) = (slot(&file, true), true);
            slot.write(dsync);
            let refused = -Errno::OPNOTSUPP.raw_os_error();
            assert!(slot.complete(refused, &mut dsync).is_none());
            assert_eq!((slot.phase, dsync), (Phase::Queued, false));
            slot.write(dsync);
            assert!(slot.complete(12_288, &mut dsync).is_none());
            assert_eq!(slot.phase, Phase::Written);
            slot.sync();
            let interrupted = -Errno::INTR.raw_os_error();
            assert!(slot.complete(interrupted, &mut dsync).is_none());
            assert_eq!(slot.phase, Phase::Written);
            slot.sync();
            let broken = slot.complete(refused, &mut dsync).unwrap().unwrap_err();
            assert_eq!(broken.kind(), io::ErrorKind::Unsupported);
        });
    }

    #[test]
    fn without_the_flag_two_requests_are_written_and_then_synced() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        with_file(|file| {
            runtime.block_on(async {
                // Where the kernel refuses io_uring there is nothing to test.
                let Ok(writer) = RingWriter::start() else {
                    return;
                };
                let mut writer = writer.without_dsync();
                let request = |ticket: u64| WriteRequest {
                    ticket,
                    file: Arc::clone(&file),
                    offset: ticket * 4096,
                    buffers: vec![Bytes::from(vec![u8::try_from(ticket).unwrap(); 4096])],
                    direct: false,
                };
                writer.submit(request(0));
                for ticket in 1..20 {
                    writer.submit(request(ticket));
                    writer.completed().await.result.unwrap();
                }
                writer.completed().await.result.unwrap();
                assert!(!writer.in_kernel());
            });
            let mut bytes = vec![0; 20 * 4096];
            let read = file.read_at(&mut bytes, 0).unwrap();
            // In a kernel without io_uring nothing was written.
            for (number, page) in bytes[..read].chunks(4096).enumerate() {
                assert!(page.iter().all(|byte| usize::from(*byte) == number));
            }
        });
    }
}
