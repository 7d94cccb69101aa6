//! What happens to a run, step by step: work, and everything that can go wrong with it.

use std::io;
use std::time::Duration;

use weir::os::clock::Clock as _;
use weir::os::memory_disk::{DiskOperation, MemoryDisk};
use weir::position::Timestamp;

use crate::drain::stop;
use crate::internal_shell::{Records, Writer};
use crate::lane_shell::Came;
use crate::random::Random;
use crate::rot;
use crate::run::Run;

/// One step, drawn from the seed.
pub(crate) fn step(run: &mut Run) {
    let journal = run.random.index(run.shape.journals);
    match run.random.below(1_000) {
        0..260 => receive(run, journal),
        260..290 => receive_body(run, journal),
        290..360 => close(run, journal),
        360..500 => complete(run, journal),
        500..560 => keep(run),
        560..580 => finish_spare(run),
        580..620 => seal(run, journal),
        620..660 => record(run),
        660..690 => compress(run, journal),
        690..870 => deliver(run, journal),
        870..885 => late_copy(run),
        885..895 => break_off(run, journal),
        895..915 => resume(run, journal),
        915..920 => idle(run),
        920..935 => run.check_pending(),
        935..945 => jump(run),
        945..955 => crash(run),
        955..965 => restart(run),
        965..975 => rot::strike(run, journal),
        975..985 => trouble(run),
        985..990 => mend(run),
        _ => run.clock.advance(Duration::from_millis(300)),
    }
    let millis = run.random.below(8);
    run.clock.advance(Duration::from_millis(millis));
    run.turn(journal);
}

/// Which call of the disk fails next, and how.
pub(crate) fn fail(disk: &MemoryDisk, random: &mut Random, among: &[DiskOperation]) -> String {
    let operation = random.pick(among);
    let kind = random.pick(&[io::ErrorKind::Other, io::ErrorKind::StorageFull]);
    disk.fail_next(operation, kind, 1);
    format!("{operation:?} {kind:?}")
}

fn receive(run: &mut Run, journal: usize) {
    let now = run.clock.now();
    let Some(node) = &mut run.node else { return };
    let oracle = &mut run.oracle.journals[journal];
    let taken = node.journals[journal].receive(&mut run.random, oracle, now);
    run.trace.note(format!("receive in {journal}: {taken}"));
}

fn receive_body(run: &mut Run, journal: usize) {
    let now = run.clock.now();
    let large = run.shape.large_bodies > 0 && run.random.percent(20);
    let Some(node) = &mut run.node else { return };
    let oracle = &mut run.oracle.journals[journal];
    let taken = node.journals[journal].receive_body(&mut run.random, oracle, now, large);
    if taken && large {
        run.shape.large_bodies -= 1;
    }
    run.trace
        .note(format!("body in {journal}: {taken}, large: {large}"));
}

fn close(run: &mut Run, journal: usize) {
    let Some(node) = &mut run.node else { return };
    node.journals[journal].gather.close();
    run.trace.note(format!("close in {journal}"));
}

/// While the disk is slow, what is out mostly stays out and others go on.
fn is_slow(run: &mut Run) -> bool {
    run.steps < run.slow_until && run.random.percent(85)
}

fn complete(run: &mut Run, journal: usize) {
    if is_slow(run) {
        return;
    }
    let Some(node) = &mut run.node else { return };
    let shell = &mut node.journals[journal];
    shell.write_late();
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

/// The keeper has its turn; now and then it looks at the time and the room.
fn keep(run: &mut Run) {
    use DiskOperation::{Open, Read, Remove, Rename, Room, Sync, SyncDir, Write, WriteDurable};
    if is_slow(run) {
        return;
    }
    if run.random.percent(12) {
        let among = [
            Open,
            Read,
            Remove,
            Rename,
            Room,
            Sync,
            SyncDir,
            Write,
            WriteDurable,
        ];
        run.trace.note(fail(&run.disk, &mut run.random, &among));
    }
    let look = run.random.percent(40);
    run.keep(look);
}

/// The file being made is full of zeros, or the disk refuses.
fn finish_spare(run: &mut Run) {
    if is_slow(run) {
        return;
    }
    if run.random.percent(20) {
        use DiskOperation::{Open, Rename, SetLen, Sync, SyncDir, Write};
        let among = [Open, Rename, SetLen, Sync, SyncDir, Write];
        run.trace.note(fail(&run.disk, &mut run.random, &among));
    }
    run.finish_spare();
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

/// The internal journal takes what waits for it, now and then with an audit event.
fn record(run: &mut Run) {
    use DiskOperation::{Open, Rename, Sync, SyncDir, Write, WriteDurable};
    run.hand_over();
    if run.random.percent(20) {
        run.told += 1;
        let lines = format!("{{\"audit\":{}}}\n", run.told).into_bytes();
        let writer = Writer::Audit;
        if let Some(node) = &mut run.node {
            node.internal.hand_over(Records { writer, lines });
        }
    }
    if run.random.percent(15) {
        let among = [Open, Rename, Sync, SyncDir, Write, WriteDurable];
        fail(&run.disk, &mut run.random, &among);
    }
    let requests = 1 + run.random.index(4);
    run.store_records(requests);
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
    let stream = run.random.index(run.shape.streams);
    if run.random.percent(6) {
        use DiskOperation::{Open, Read, WriteDurable};
        fail(&run.disk, &mut run.random, &[Open, Read, WriteDurable]);
    }
    if run.random.percent(10) {
        let reads = u32::try_from(run.random.below(4)).expect("a few");
        run.disk.shorten_reads(reads);
    }
    for _ in 0..=run.random.below(12) {
        match run.lane(stream, journal, false) {
            Came::Waits(_) | Came::Hangs | Came::Done | Came::Tells(_) => break,
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
            | Came::Discarded(_)
            | Came::Unreadable(_) => {}
        }
    }
}

/// A copy that was given up on reaches its destination after all.
fn late_copy(run: &mut Run) {
    let stream = run.random.index(run.shape.streams);
    let journal = run.random.index(run.shape.journals);
    let late = &mut run.late[stream][journal];
    if late.is_empty() {
        return;
    }
    let copy = late.remove(run.random.index(late.len()));
    let oracle = &mut run.oracle.lanes[stream][journal];
    oracle.arrived(&run.oracle.journals[journal], copy.range, &copy.text);
    run.trace.note(format!(
        "stream {stream} in {journal}: {} arrives late",
        copy.range
    ));
}

/// A request without an answer is broken off.
fn break_off(run: &mut Run, journal: usize) {
    let stream = run.random.index(run.shape.streams);
    if run.shape.dead_stream == Some(stream) {
        return;
    }
    let again = run.clock.now().monotonic + Duration::from_millis(50);
    let Some(node) = &mut run.node else { return };
    if node.lanes[stream][journal].break_off(again) {
        run.trace
            .note(format!("stream {stream} in {journal} is broken off"));
    }
}

fn resume(run: &mut Run, journal: usize) {
    if let Some(node) = &mut run.node {
        node.journals[journal].paused = false;
    }
}

/// Nothing comes and nothing goes for a while.
fn idle(run: &mut Run) {
    let minutes = run.random.pick(&[1, 20, 90]);
    run.clock.advance(Duration::from_mins(minutes));
    run.trace.note(format!("{minutes} minutes pass"));
}

fn jump(run: &mut Run) {
    let hours = run.random.pick(&[-24, -1, 1, 24]);
    let wall = run.clock.now().wall.0 + hours * 3_600_000_000;
    run.clock.set_wall(Timestamp(wall));
    run.jumps.push(run.clock.now().monotonic);
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
        stop(run);
    }
    run.end();
    if run.sync_failed {
        run.lose_power();
    }
    run.trace.note("restart".to_owned());
    run.start();
}

/// The disk is in trouble for long: full, slow, or one of its calls fails every time.
fn trouble(run: &mut Run) {
    use DiskOperation::{Open, Read, Rename, Sync, SyncDir, Write, WriteDurable};
    let what = match run.random.below(3) {
        0 => {
            run.disk.fill_up();
            "is full".to_owned()
        }
        1 => {
            run.slow_until = run.steps + 10 + run.random.below(80);
            "is slow".to_owned()
        }
        _ => {
            let among = [Open, Read, Rename, Sync, SyncDir, Write, WriteDurable];
            let operation = run.random.pick(&among);
            let times = 2 + u32::try_from(run.random.below(20)).expect("few");
            run.disk.fail_next(operation, io::ErrorKind::Other, times);
            format!("fails {operation:?} {times} times")
        }
    };
    run.trace.note(format!("the disk {what}"));
}

fn mend(run: &mut Run) {
    run.mend_disk();
    run.trace.note("the disk is well".to_owned());
}
