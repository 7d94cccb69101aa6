//! The end of a run: no more faults, and the backlog has to drain (L1), also while one stream
//! hangs for ever (L2).

use std::time::Duration;

use weir::os::clock::Clock as _;

use crate::journal_shell::JournalShell;
use crate::lane_shell::Came;
use crate::promise::promise;
use crate::run::Run;

/// Rounds after the last fault within which everything is delivered and recorded. A round
/// gives every part all the turns it can use and then lets two seconds pass, which is more
/// than any age or retry. Whatever is judged is durable after four (a failing segment is
/// given up, a new one opened, the blocks written again, their rejects recorded); a lane
/// needs one more for what was retrying, one for what is due by age, and one for its last
/// record. The rest is room for failures that were under way when the faults ended.
const DRAIN_ROUNDS_MAX: usize = 24;

/// Steps of a lane for each pending event: read, measure, record the cut, send, and twice
/// that where a cut of before is read again.
const STEPS_PER_EVENT_MAX: u64 = 8;

/// Steps of a lane in a round with nothing to do: it waits, or records and waits.
const STEPS_PER_ROUND_MAX: u64 = 12;

/// No more faults: everything has to be delivered and recorded within the bounds above.
pub(crate) fn drain(run: &mut Run) {
    run.mend_disk();
    run.quiet = true;
    run.slow_until = 0;
    break_off(run);
    if let Some(stream) = run.shape.dead_stream {
        rounds(run, Some(stream));
        run.trace
            .note(format!("stream {stream} comes back to life"));
        run.shape.dead_stream = None;
    }
    break_off(run);
    rounds(run, None);
}

/// Nobody waits for an answer any more, but a dead stream will again with its next try.
fn break_off(run: &mut Run) {
    let again = run.clock.now().monotonic;
    if let Some(node) = &mut run.node {
        for lane in node.lanes.iter_mut().flatten() {
            lane.break_off(again);
        }
    }
}

/// An orderly stop, as far as the disk allows.
pub(crate) fn stop(run: &mut Run) {
    for _ in 0..DRAIN_ROUNDS_MAX {
        journals_round(run);
    }
    let Some(mut node) = run.node.take() else {
        return;
    };
    for (journal, shell) in node.journals.iter_mut().enumerate() {
        let oracle = &mut run.oracle.journals[journal];
        shell.core.close();
        shell.turn(&mut run.tools, oracle, false);
        while let Some(order) = shell.seals.pop_front() {
            run.sync_failed |= shell.files.seal(&order).is_err();
        }
    }
    node.internal.close(&mut run.oracle.internal);
    for (stream, lanes) in node.lanes.iter_mut().enumerate() {
        for (journal, lane) in lanes.iter_mut().enumerate() {
            let oracle = &mut run.oracle.lanes[stream][journal];
            run.sync_failed |= !lane.record_last(oracle, &run.oracle.journals[journal]);
        }
    }
    run.trace.note("stopped".to_owned());
}

fn rounds(run: &mut Run, dead: Option<usize>) {
    let pairs = run.pairs();
    let begun = |run: &Run, (stream, journal): (usize, usize)| {
        let node = run.node.as_ref().expect("the node runs");
        node.lanes[stream][journal].state().cursor.0
    };
    let cursors = Vec::from_iter(pairs.iter().map(|pair| begun(run, *pair)));
    let mut steps = vec![0; pairs.len()];
    // The stream that hangs has to be out with something when the others are looked at.
    for (stream, journal) in &pairs {
        if Some(*stream) == dead {
            lane_turn(run, *stream, *journal, u64::MAX);
        }
    }
    for round in 1..=DRAIN_ROUNDS_MAX {
        journals_round(run);
        for (at, (stream, journal)) in pairs.iter().enumerate() {
            let pending = run.oracle.journals[*journal].end() - cursors[at];
            let bound = STEPS_PER_EVENT_MAX * pending + STEPS_PER_ROUND_MAX * round as u64;
            let left = bound.saturating_sub(steps[at]);
            steps[at] += lane_turn(run, *stream, *journal, left);
        }
        run.clock.advance(Duration::from_secs(2));
        if is_drained(run, dead) {
            run.trace.note(format!("drained in round {round}"));
            run.check_pending();
            return;
        }
    }
    match dead {
        Some(dead) => panic!(
            "[L2] stream {dead} hangs, and the others do not drain in {DRAIN_ROUNDS_MAX} rounds"
        ),
        None => panic!("[L1] the backlog does not drain in {DRAIN_ROUNDS_MAX} rounds"),
    }
}

/// A lane does all it can; gives its steps, of which there must be no more than `left`.
fn lane_turn(run: &mut Run, stream: usize, journal: usize, left: u64) -> u64 {
    let mut steps = 0;
    loop {
        steps += 1;
        if matches!(
            run.lane(stream, journal, true),
            Came::Waits(_) | Came::Done | Came::Hangs | Came::Tells(_)
        ) {
            return steps;
        }
        promise!(
            "L1",
            steps <= left,
            "stream {stream} in {journal} turns in circles: {left} steps were left"
        );
    }
}

/// Every journal does all it can, once.
fn journals_round(run: &mut Run) {
    for journal in 0..run.shape.journals {
        if let Some(node) = &mut run.node {
            let shell = &mut node.journals[journal];
            shell.gather.close();
            shell.paused = false;
            while !shell.handed_out.is_empty() {
                shell.compress_elsewhere(0, &mut run.tools);
            }
            shell.write_late();
            while !shell.out.is_empty() {
                run.sync_failed |= !shell.complete(0);
            }
            while let Some(order) = shell.seals.pop_front() {
                run.sync_failed |= shell.files.seal(&order).is_err();
            }
        }
        run.hand_over();
        run.store_records(usize::MAX);
        run.turn(journal);
    }
    run.keep(true);
    run.finish_spare();
    run.keep(false);
}

fn is_drained(run: &Run, dead: Option<usize>) -> bool {
    let Some(node) = &run.node else { return false };
    let others = run.pairs().into_iter();
    let mut others = others.filter(|(stream, _)| Some(*stream) != dead);
    // A dead stream may hold all there is: then the inputs wait for it, and only they.
    let waits = dead.is_some() && node.journals.iter().any(|shell| shell.full);
    let idle = node.keeper.is_idle() && node.journals.iter().all(JournalShell::is_idle);
    node.internal.is_idle()
        && (idle || waits)
        && others.all(|(stream, journal)| {
            let end = run.oracle.journals[journal].end();
            let durable = &run.oracle.lanes[stream][journal].durable;
            node.lanes[stream][journal].state().cursor.0 == end
                && durable.cursor.0 == end
                && durable.cuts.is_empty()
        })
}
