//! What the durable writer promises, in both modes, on real and memory files.

use std::path::Path;

use super::*;
use crate::os::disk::{Disk, OpenMode};
use crate::os::memory_disk::{DiskOperation, MemoryDisk};
use crate::os::real_disk::RealDisk;

const NEW: OpenMode = OpenMode {
    write: true,
    create: true,
    direct: false,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Runs a check on a writer with a ring, where the kernel allows one, and on a thread.
fn in_both_modes(check: impl AsyncFn(&mut DurableWriter)) {
    for prefer_ring in [true, false] {
        runtime().block_on(async {
            let mut writer = DurableWriter::start(prefer_ring, "test").unwrap();
            check(&mut writer).await;
        });
    }
}

fn pages(byte: u8, count: usize) -> Bytes {
    let mut buffer = AlignedBuffer::zeroed(count * DISK_PAGE_BYTES);
    buffer.as_mut_slice().fill(byte);
    buffer.freeze()
}

fn request(
    ticket: u64,
    file: &Arc<dyn DiskFile>,
    offset: u64,
    buffers: Vec<Bytes>,
) -> WriteRequest {
    WriteRequest {
        ticket,
        file: Arc::clone(file),
        offset,
        buffers,
        direct: false,
    }
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn buffers_of_two_requests_land_back_to_back() {
    in_both_modes(async |writer| {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        let small = |bytes: &'static [u8]| Bytes::from_static(bytes);
        writer.submit(request(
            7,
            &file,
            0,
            vec![small(b"ab"), small(b""), small(b"cd")],
        ));
        writer.submit(request(8, &file, 4, vec![small(b"ef")]));
        assert_eq!(writer.outstanding(), 2);
        let mut tickets = Vec::new();
        for _ in 0..2 {
            let done = writer.completed().await;
            done.result.unwrap();
            tickets.push(done.ticket);
        }
        tickets.sort_unstable();
        assert_eq!(tickets, [7, 8]);
        assert_eq!(writer.outstanding(), 0);
        assert_eq!(content(&*file), b"abcdef");
    });
}

#[test]
fn direct_pages_are_written_where_the_file_system_has_direct_io() {
    in_both_modes(async |writer| {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("a");
        let direct = OpenMode {
            direct: true,
            ..NEW
        };
        let Ok(file) = RealDisk.open(&path, direct) else {
            return;
        };
        for round in 0..4_u8 {
            writer.submit(WriteRequest {
                direct: true,
                ..request(
                    u64::from(round),
                    &file,
                    u64::from(round) * 3 * DISK_PAGE_BYTES as u64,
                    vec![pages(round, 1), pages(round, 2)],
                )
            });
            writer.completed().await.result.unwrap();
        }
        let expected: Vec<u8> = (0..4_u8)
            .flat_map(|round| vec![round; 3 * DISK_PAGE_BYTES])
            .collect();
        let buffered = RealDisk.open(&path, NEW).unwrap();
        assert_eq!(content(&*buffered), expected);
    });
}

#[test]
fn a_failed_write_is_reported_with_its_ticket_and_the_writer_goes_on() {
    in_both_modes(async |writer| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let good = RealDisk.open(&path, NEW).unwrap();
        let read_only = OpenMode {
            write: false,
            ..NEW
        };
        let bad = RealDisk.open(&path, read_only).unwrap();
        writer.submit(request(1, &bad, 0, vec![Bytes::from_static(b"x")]));
        let done = writer.completed().await;
        assert_eq!(done.ticket, 1);
        done.result.unwrap_err();
        writer.submit(request(2, &good, 0, vec![Bytes::from_static(b"y")]));
        let done = writer.completed().await;
        assert_eq!(done.ticket, 2);
        done.result.unwrap();
        assert_eq!(content(&*good), b"y");
    });
}

#[test]
fn memory_files_are_written_durably_and_may_fail() {
    in_both_modes(async |writer| {
        let disk = MemoryDisk::new();
        let path = Path::new("/a");
        let file = disk
            .open(
                path,
                OpenMode {
                    direct: true,
                    ..NEW
                },
            )
            .unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.fail_next(DiskOperation::WriteDurable, io::ErrorKind::StorageFull, 1);
        for expected in [Some(io::ErrorKind::StorageFull), None] {
            writer.submit(WriteRequest {
                direct: true,
                ..request(1, &file, 0, vec![pages(1, 1), pages(2, 1)])
            });
            let result = writer.completed().await.result;
            assert_eq!(result.err().map(|error| error.kind()), expected);
        }
        disk.crash_with(&mut |_| false);
        let file = disk.open(path, NEW).unwrap();
        assert_eq!(content(&*file), [vec![1; 4096], vec![2; 4096]].concat());
        assert_eq!(disk.counts().durable_writes, 2);
    });
}

#[test]
fn a_dropped_wait_loses_no_outcome() {
    in_both_modes(async |writer| {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        for round in 0..50 {
            writer.submit(request(round, &file, 0, vec![pages(1, 16)]));
            // Polled once and dropped, before or after the disk is done.
            tokio::select! {
                biased;
                done = writer.completed() => {
                    assert_eq!(done.ticket, round);
                    continue;
                }
                () = std::future::ready(()) => {}
            }
            let done = writer.completed().await;
            assert_eq!(done.ticket, round);
            done.result.unwrap();
        }
    });
}

/// A file in memory whose writes panic.
#[derive(Debug)]
struct PanickingFile;

impl DiskFile for PanickingFile {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn write_durable_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("on purpose")
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

#[test]
fn requests_of_a_dead_writer_thread_are_reported_as_failed() {
    runtime().block_on(async {
        let mut writer = DurableWriter::start(false, "test").unwrap();
        let file: Arc<dyn DiskFile> = Arc::new(PanickingFile);
        for ticket in [1, 2, 3] {
            writer.submit(request(ticket, &file, 0, vec![Bytes::from_static(b"x")]));
            let done = writer.completed().await;
            assert_eq!(done.ticket, ticket);
            let error = done.result.unwrap_err();
            assert_eq!(error.to_string(), "the writer thread died");
        }
    });
}

#[test]
fn an_outcome_can_be_asked_for_without_waiting() {
    in_both_modes(async |writer| {
        assert!(writer.try_completed().is_none());
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        writer.submit(request(9, &file, 0, vec![pages(1, 1)]));
        let done = loop {
            if let Some(done) = writer.try_completed() {
                break done;
            }
            std::thread::yield_now();
        };
        assert_eq!(done.ticket, 9);
        done.result.unwrap();
        assert_eq!(writer.outstanding(), 0);
        assert!(writer.try_completed().is_none());
    });
}

#[test]
fn waiting_for_nothing_never_ends() {
    in_both_modes(async |writer| {
        tokio::select! {
            biased;
            done = writer.completed() => panic!("{done:?}"),
            () = std::future::ready(()) => {}
        }
    });
}

#[test]
fn dropping_the_writer_waits_for_writes_in_flight() {
    for prefer_ring in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
        runtime().block_on(async {
            let mut writer = DurableWriter::start(prefer_ring, "test").unwrap();
            writer.submit(request(1, &file, 0, vec![pages(1, 256)]));
            writer.submit(request(2, &file, 1 << 20, vec![pages(2, 256)]));
        });
        // Nobody holds the buffers or the file any more, and the bytes are there.
        assert_eq!(Arc::strong_count(&file), 1);
        assert_eq!(
            content(&*file),
            [vec![1; 1 << 20], vec![2; 1 << 20]].concat()
        );
    }
}

#[test]
fn the_switch_chooses_the_thread_and_says_so() {
    runtime().block_on(async {
        let writer = DurableWriter::start(false, "test").unwrap();
        assert_eq!(
            writer.mode().to_string(),
            "a writer thread (io_uring is switched off)"
        );
    });
}

#[test]
#[should_panic(expected = "more than 2 durable writes in flight")]
fn a_third_request_in_flight_is_refused() {
    runtime().block_on(async {
        let mut writer = DurableWriter::start(false, "test").unwrap();
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("/a"), NEW).unwrap();
        for ticket in 0..3 {
            writer.submit(request(ticket, &file, 0, vec![Bytes::from_static(b"x")]));
        }
    });
}

#[test]
#[should_panic(expected = "an unaligned direct write")]
fn an_unaligned_direct_request_is_refused() {
    runtime().block_on(async {
        let mut writer = DurableWriter::start(false, "test").unwrap();
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("/a"), NEW).unwrap();
        writer.submit(WriteRequest {
            direct: true,
            ..request(1, &file, 0, vec![Bytes::from_static(b"x")])
        });
    });
}

const IO_URING_SETUP: i64 = 425;
const IO_URING_ENTER: i64 = 426;

/// Makes the kernel refuse a system call to this thread and those it starts, as containers do.
fn refuse(system_call: i64) {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let filter = SeccompFilter::new(
        [(system_call, vec![])].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error().cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// Runs a check on a thread of its own, because a filter cannot be taken back.
fn on_own_thread(check: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().spawn(check).unwrap();
    thread.join().unwrap();
}

#[test]
fn where_io_uring_is_refused_a_thread_writes_and_the_reason_is_told() {
    for system_call in [IO_URING_SETUP, IO_URING_ENTER] {
        on_own_thread(move || {
            refuse(system_call);
            runtime().block_on(async {
                let mut writer = DurableWriter::start(true, "test").unwrap();
                let WriterMode::Thread(why) = writer.mode() else {
                    panic!("the ring works under the filter");
                };
                assert!(why.starts_with("io_uring is refused: "), "{why}");
                let dir = tempfile::tempdir().unwrap();
                let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
                writer.submit(request(1, &file, 0, vec![Bytes::from_static(b"x")]));
                writer.completed().await.result.unwrap();
                assert_eq!(content(&*file), b"x");
            });
        });
    }
}

#[test]
fn a_ring_refused_at_work_fails_every_request_and_reports_each() {
    on_own_thread(|| {
        runtime().block_on(async {
            let mut writer = DurableWriter::start(true, "test").unwrap();
            if *writer.mode() != WriterMode::Ring {
                return;
            }
            let dir = tempfile::tempdir().unwrap();
            let file = RealDisk.open(&dir.path().join("a"), NEW).unwrap();
            let write = |ticket| request(ticket, &file, 0, vec![Bytes::from_static(b"x")]);
            writer.submit(write(1));
            refuse(IO_URING_ENTER);
            writer.submit(write(2));
            // The first was with the kernel already and goes on.
            let mut outcomes = Vec::new();
            for _ in 0..2 {
                let done = writer.completed().await;
                outcomes.push((done.ticket, done.result.err().map(|error| error.kind())));
            }
            outcomes.sort_unstable();
            let refused = Some(io::ErrorKind::PermissionDenied);
            assert_eq!(outcomes, [(1, None), (2, refused)]);
            writer.submit(write(3));
            writer.completed().await.result.unwrap_err();
        });
    });
}
