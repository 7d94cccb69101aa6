//! What happens to a run, step by step: work, and everything that can go wrong with it.

use std::path::Path;
use std::time::Duration;

use weir::journal::scan::SegmentScan;
use weir::os::clock::Clock as _;
use weir::os::disk::{Disk as _, OpenMode};
use weir::os::memory_disk::{DiskOperation, MemoryDisk};
use weir::position::Timestamp;

use crate::lane_shell::Came;
use crate::run::{JOURNALS, Run, STREAMS, fail, journal_id, lowest_durable, range, record_path};

/// One step, drawn from the seed.
pub(crate) fn step(run: &mut Run) {
    let journal = run.random.index(JOURNALS);
    match run.random.below(100) {
        0..28 => receive(run, journal),
        28..37 => close(run, journal),
        37..52 => complete(run, journal),
        52..60 => open_segment(run, journal),
        60..64 => seal(run, journal),
        64..68 => record(run, journal),
        68..71 => compress(run, journal),
        71..90 => deliver(run, journal),
        90..92 => resume(run, journal),
        92 => recycle(run, journal),
        93 => run.check_pending(),
        94 => jump(run),
        95 => crash(run),
        96 => restart(run),
        97 => rot_block(run, journal),
        98 => rot_record(run, journal),
        _ => run.clock.advance(Duration::from_millis(300)),
    }
    let millis = run.random.below(8);
    run.clock.advance(Duration::from_millis(millis));
    run.turn(journal);
}

/// Uses up what was to fail and did not: the disk is well from now on.
pub(crate) fn heal(disk: &MemoryDisk) {
    let well = |works: &dyn Fn() -> bool| {
        let tries = (0..100).take_while(|_| !works()).count();
        assert!(tries < 100, "a fault passes");
    };
    let (dir, path, other) = (Path::new("/h"), Path::new("/h/a"), Path::new("/h/b"));
    let mode = OpenMode {
        write: true,
        create: true,
        direct: false,
    };
    well(&|| disk.create_dir_all(dir).is_ok());
    well(&|| disk.open(path, mode).is_ok());
    let file = disk.open(path, mode).expect("the disk is well");
    well(&|| file.set_len(0).is_ok());
    well(&|| file.write_at(b"x", 0).is_ok());
    well(&|| file.write_durable_at(b"x", 0).is_ok());
    well(&|| file.sync().is_ok());
    well(&|| file.read_at(&mut [0], 0).is_ok());
    well(&|| disk.list(dir).is_ok());
    well(&|| disk.rename(path, other).is_ok());
    well(&|| disk.remove(other).is_ok());
    well(&|| disk.sync_dir(dir).is_ok());
}

fn receive(run: &mut Run, journal: usize) {
    let now = run.clock.now();
    let Some(node) = &mut run.node else { return };
    let oracle = &mut run.oracle.journals[journal];
    let taken = node.journals[journal].receive(&mut run.random, oracle, now);
    run.trace.note(format!("receive in {journal}: {taken}"));
}

fn close(run: &mut Run, journal: usize) {
    let Some(node) = &mut run.node else { return };
    node.journals[journal].gather.close();
    run.trace.note(format!("close in {journal}"));
}

fn complete(run: &mut Run, journal: usize) {
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    if shell.out.is_empty() {
        return;
    }
    if run.random.percent(12) {
        fail(&run.disk, &mut run.random, &[DiskOperation::WriteDurable]);
    }
    let at = run.random.index(shell.out.len());
    let durable = shell.complete(at);
    run.sync_failed |= !durable;
    run.trace
        .note(format!("write {at} of {journal}: {durable}"));
}

fn open_segment(run: &mut Run, journal: usize) {
    use DiskOperation::{Open, Rename, SetLen, Sync, SyncDir, Write, WriteDurable};
    let now = run.clock.now().wall;
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    if shell.order.is_none() {
        return;
    }
    if run.random.percent(20) {
        let among = [Open, Rename, SetLen, Sync, SyncDir, Write, WriteDurable];
        run.trace.note(fail(&run.disk, &mut run.random, &among));
    }
    let opened = shell.serve_order(now);
    run.sync_failed |= !opened;
    run.trace.note(format!("segment for {journal}: {opened}"));
}

fn seal(run: &mut Run, journal: usize) {
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    let Some(order) = shell.seals.pop_front() else {
        return;
    };
    if run.random.percent(20) {
        use DiskOperation::{Sync, Write, WriteDurable};
        fail(&run.disk, &mut run.random, &[Sync, Write, WriteDurable]);
    }
    let sealed = shell.files.seal(&order).is_ok();
    run.sync_failed |= !sealed;
    run.trace.note(format!("seal in {journal}: {sealed}"));
}

fn record(run: &mut Run, journal: usize) {
    let succeeded = run.random.percent(85);
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    if shell.records.is_empty() {
        return;
    }
    let (ticket, lines) = shell.records.remove(0);
    if succeeded {
        run.oracle.journals[journal].recorded(&lines);
    }
    shell.core.recorded(ticket, succeeded);
    run.trace.note(format!("rejects of {journal}: {succeeded}"));
}

fn compress(run: &mut Run, journal: usize) {
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    if !shell.handed_out.is_empty() {
        let at = run.random.index(shell.handed_out.len());
        shell.compress_elsewhere(at, &mut run.tools);
        run.trace.note(format!("block {at} of {journal} is back"));
    }
}

fn deliver(run: &mut Run, journal: usize) {
    let stream = run.random.index(STREAMS);
    if run.random.percent(6) {
        use DiskOperation::{Open, Read, WriteDurable};
        fail(&run.disk, &mut run.random, &[Open, Read, WriteDurable]);
    }
    for _ in 0..=run.random.below(12) {
        match run.lane(stream, journal, false) {
            Came::Waits(_) | Came::Hangs | Came::Done => break,
            Came::Trouble => {
                // A record whose write failed may be seen and not be there.
                run.sync_failed = true;
                break;
            }
            Came::Read
            | Came::End
            | Came::Gap(_)
            | Came::Measured(_)
            | Came::Recorded(_)
            | Came::Sent(..)
            | Came::Unreadable(_) => {}
        }
    }
}

fn resume(run: &mut Run, journal: usize) {
    if let Some(node) = &mut run.node {
        node.journals[journal].paused = false;
    }
}

fn recycle(run: &mut Run, journal: usize) {
    let lowest = lowest_durable(&run.oracle, journal);
    let Some(node) = &mut run.node else { return };
    if run.random.percent(20) {
        use DiskOperation::{Rename, SyncDir};
        fail(&run.disk, &mut run.random, &[Rename, SyncDir]);
    }
    if let Some(end) = node.journals[journal].recycle_oldest(lowest) {
        let oracle = &mut run.oracle.journals[journal];
        oracle.retained_from = oracle.retained_from.max(end.0);
        run.trace.note(format!("{journal} is recycled up to {end}"));
    }
}

fn jump(run: &mut Run) {
    let hours = run.random.pick(&[-24, -1, 1, 24]);
    let wall = run.clock.now().wall.0 + hours * 3_600_000_000;
    run.clock.set_wall(Timestamp(wall));
    run.trace.note(format!("the clock jumps {hours} h"));
}

fn crash(run: &mut Run) {
    run.lose_power();
    if run.random.percent(25) {
        use DiskOperation::{List, Open, Read, Remove, Sync, SyncDir, Write, WriteDurable};
        let among = [List, Open, Read, Remove, Sync, SyncDir, Write, WriteDurable];
        run.trace.note(fail(&run.disk, &mut run.random, &among));
    }
    run.start();
}

/// The process ends and starts again; the machine does not notice.
fn restart(run: &mut Run) {
    if run.random.percent(70) {
        run.stop();
    }
    run.node = None;
    if run.sync_failed {
        run.lose_power();
    }
    run.trace.note("restart".to_owned());
    run.start();
}

/// A bit of a block flips on disk, once in a journal. Only blocks that something behind them
/// claims durable: at the very end rot and a torn write look the same.
fn rot_block(run: &mut Run, journal: usize) {
    let Some(node) = &run.node else { return };
    let oracle = &mut run.oracle.journals[journal];
    let segments = node.journals[journal].catalog.list();
    if !oracle.damaged.is_empty() || segments.is_empty() {
        return;
    }
    let entry = run.random.pick(&Vec::from_iter(segments.iter()));
    let opened = SegmentScan::open(
        &run.disk,
        &entry.path,
        false,
        journal_id(journal),
        entry.segment,
    );
    let Ok(mut scan) = opened else { return };
    let mut blocks = Vec::new();
    let mut position = SegmentScan::FIRST_POSITION;
    while let Ok(Ok(block)) = scan.block_at(position, None) {
        position = block.next_position();
        blocks.push(block);
    }
    if blocks.is_empty() {
        return;
    }
    let at = run.random.index(blocks.len());
    let hit = &blocks[at].header;
    let mut behind = blocks[at + 1..].iter();
    let last = at + 1 == blocks.len() && segments.iter().any(|later| later.first > hit.first);
    let claimed = last || behind.any(|block| block.header.durable_end > hit.first);
    let byte = hit.position + run.random.below(hit.stored_bytes() as u64);
    let bit = u8::try_from(run.random.below(8)).expect("a bit");
    if claimed && run.disk.flip(&entry.path, byte, bit).is_ok() {
        let lost = range(hit.first, hit.first.plus(u64::from(hit.events)));
        oracle.damaged.push(lost);
        run.trace.note(format!(
            "bit {bit} of byte {byte} flips in {journal}: {lost}"
        ));
    }
}

/// A bit of a cursor record flips while the node is down.
fn rot_record(run: &mut Run, journal: usize) {
    let stream = run.random.index(STREAMS);
    let Some(node) = &run.node else { return };
    if node.lanes[stream][journal].written < 2 {
        return;
    }
    run.lose_power();
    let byte = run.random.below(8192);
    let bit = u8::try_from(run.random.below(8)).expect("a bit");
    let path = record_path(stream, journal);
    if run.disk.flip(&path, byte, bit).is_ok() {
        run.oracle.lanes[stream][journal].slot_lost();
        run.trace.note(format!(
            "bit {bit} of byte {byte} flips in the record of {stream} in {journal}"
        ));
    }
    run.start();
}
