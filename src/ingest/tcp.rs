//! The `tcp` input: NDJSON over plain TCP.
//!
//! A connection waits until its socket is readable and then receives once, straight into the
//! shard's open block; it owns no buffer but the bytes of a partial last line. It is held
//! back by not being read, never by being closed. With `ack = true` it is told, line by
//! line, how far its lines have their fate on disk. Before a connection is closed on the
//! sender's end of file, everything it sent has its fate on disk, with or without acks.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::budget::Grant;
use crate::event::Labels;
use crate::filter::Event;
use crate::ingest::admission::{Admission, Verdict};
use crate::ingest::door::{Door, GateState};
use crate::ingest::exclusion::ExclusionRun;
use crate::ingest::fate::{Fate, NotDurable, Waiter};
use crate::ingest::framer::{self, Cut, Judge, LineState};
use crate::ingest::gather::Judged;
use crate::ingest::reject::{self, RejectOrigin};
use crate::ingest::settings::TcpSettings;
use crate::limits::RECEIVE_BYTES_MAX;
use crate::metrics::ledger::{InputCounts, RejectReason};
use crate::os::clock::{Clock, Now};
use crate::position::Timestamp;

/// A receive smaller than this, soon after the one before, makes the connection wait a little,
/// so that bytes pile up: the cost is per receive, not per byte.
const SMALL_RECEIVE_BYTES: usize = 16 * 1024;
/// How soon after the one before.
const SMALL_RECEIVE_WITHIN: Duration = Duration::from_millis(2);
/// How long the connection waits then.
const PILE_UP: Duration = Duration::from_millis(1);
/// Partial lines up to this many bytes are not taken from the budget one by one.
const CARRY_BYTES_FREE: usize = 4 * 1024;
/// How often the budget is asked again when it had nothing left.
const BUDGET_RETRY: Duration = Duration::from_millis(10);
/// Rejects named one by one in an ack line.
const ACK_REJECTS_MAX: usize = 100;
/// How long a sender may take to read its last acks before the connection is closed.
const ACK_LINGER: Duration = Duration::from_secs(30);

/// What connections of one input count.
#[derive(Debug, Default)]
pub struct TcpCounters {
    /// Connections closed because they were silent for `idle_timeout`.
    pub idle_closed: AtomicU64,
    /// Connections that ended with an error of the socket.
    pub failed: AtomicU64,
}

/// A `tcp` input as a shard serves it.
#[derive(Debug)]
pub struct TcpInput {
    /// What it runs on.
    pub settings: TcpSettings,
    /// The shard's door.
    pub door: Door,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What its connections count, on all shards.
    pub counters: Arc<TcpCounters>,
}

/// One connection.
struct Connection {
    input: Rc<TcpInput>,
    stream: Rc<TcpStream>,
    admission: Admission,
    lines: LineState,
    labels: Arc<Labels>,
    acks: Rc<Acks>,
    carry_grant: Option<Grant>,
    last_receive: Duration,
}

/// What the connection and the task that writes its acks share.
#[derive(Debug, Default)]
struct Acks {
    fate: Rc<Fate>,
    rejects: std::cell::RefCell<AckRejects>,
}

/// Rejects that no ack has told yet.
#[derive(Debug, Default)]
struct AckRejects {
    named: VecDeque<(u64, String)>,
    /// Line number after a receive that had rejects, and how many.
    counted: VecDeque<(u64, u64)>,
}

/// Serves one connection to its end.
pub async fn serve(stream: TcpStream, peer: SocketAddr, input: Rc<TcpInput>) {
    let counters = Arc::clone(&input.counters);
    let end = Connection::new(stream, peer, input).run().await;
    match end {
        Ok(End::SenderDone | End::Stopping) => {}
        Ok(End::Idle) => {
            counters.idle_closed.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, %error, "tcp connection ended");
        }
    }
}

/// Why a connection ends.
enum End {
    /// The sender closed its side.
    SenderDone,
    /// It was silent too long.
    Idle,
    /// The node stops.
    Stopping,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, input: Rc<TcpInput>) -> Self {
        let common = &input.settings.input;
        let mut labels = common.labels.clone();
        labels.peer = Some(peer.to_string().into());
        Self {
            admission: Admission::new(common.line_bytes_max, common.validation),
            lines: LineState::new(common.line_bytes_max),
            labels: Arc::new(labels),
            acks: Rc::new(Acks::default()),
            stream: Rc::new(stream),
            carry_grant: None,
            last_receive: Duration::ZERO,
            input,
        }
    }

    async fn run(mut self) -> io::Result<End> {
        if !self.input.settings.ack {
            let end = self.receive_all().await?;
            self.settle_rest().await;
            return Ok(end);
        }
        let (finished, at_line) = oneshot::channel();
        let writer = tokio::task::spawn_local(write_acks(
            Rc::clone(&self.stream),
            Rc::clone(&self.acks),
            at_line,
        ));
        let fate = Rc::clone(&self.acks.fate);
        let end = tokio::select! {
            end = self.receive_all() => end,
            // No line behind what is lost is ever acknowledged: only a new connection can go on.
            () = fate.lost() => Err(io::Error::other(NotDurable)),
        };
        if end.is_ok() {
            self.settle_rest().await;
        }
        // The writer is gone already when the sender stopped reading; nothing is left to say.
        finished.send(self.lines.lines()).ok();
        let written = tokio::time::timeout(ACK_LINGER, writer).await;
        let end = end?;
        match written {
            Ok(Ok(written)) => written.map(|()| end),
            Ok(Err(join)) => Err(io::Error::other(join)),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Receives until the sender is done, silent too long, or the node stops.
    async fn receive_all(&mut self) -> io::Result<End> {
        loop {
            if self
                .input
                .door
                .wait_for(|state| {
                    state != GateState::Busy
                        && state != GateState::Full
                        && state != GateState::Failed
                })
                .await
                == GateState::Stopping
            {
                return Ok(End::Stopping);
            }
            if let Some(end) = self.readable().await? {
                return Ok(end);
            }
            let now = self.input.clock.now();
            match self.receive(now) {
                Ok(0) => {
                    self.finish(now);
                    return Ok(End::SenderDone);
                }
                Ok(received) => self.pause(received, now).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn readable(&self) -> io::Result<Option<End>> {
        let idle = async {
            match self.input.settings.idle_timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ready = self.stream.readable() => ready.map(|()| None),
            () = self.input.door.stopping() => Ok(Some(End::Stopping)),
            () = idle => Ok(Some(End::Idle)),
        }
    }

    /// One receive into the open block, cut and judged.
    fn receive(&mut self, now: Now) -> io::Result<usize> {
        let mut gather = self.input.door.gather();
        let carried = self.lines.carried();
        let (buffer, start) = gather.open_buffer(carried + RECEIVE_BYTES_MAX);
        let from = start + carried;
        let received = self
            .stream
            .try_read(&mut buffer[from..from + RECEIVE_BYTES_MAX])?;
        if received == 0 {
            return Ok(0);
        }
        let lines_before = self.lines.lines();
        let mut judge = judge_of(&self.input, &self.admission, &self.labels, now);
        let cut = self.lines.cut(buffer, start, from + received, &mut judge);
        let noted = judge.noted;
        drop(gather);
        self.hand_over(start, cut, lines_before, noted, now);
        Ok(received)
    }

    /// The sender is done: a last line without its end is judged too.
    fn finish(&mut self, now: Now) {
        let mut gather = self.input.door.gather();
        let (buffer, start) = gather.open_buffer(self.lines.carried() + 1);
        let lines_before = self.lines.lines();
        let mut judge = judge_of(&self.input, &self.admission, &self.labels, now);
        let cut = self.lines.finish(buffer, start, &mut judge);
        let noted = judge.noted;
        drop(gather);
        self.hand_over(start, cut, lines_before, noted, now);
    }

    fn hand_over(&mut self, start: usize, cut: Cut, lines_before: u64, noted: Noted, now: Now) {
        let lines = self.lines.lines();
        if lines == lines_before {
            return;
        }
        let Noted { rejected, excluded } = noted;
        excluded.count();
        let counts = self.counts(start, &cut, lines - lines_before, &rejected);
        let mut gather = self.input.door.gather();
        let was_empty = gather.is_empty();
        let origin = RejectOrigin {
            input: &self.input.settings.input.name,
            peer: self.labels.peer.as_deref(),
            received: now.wall,
        };
        for line in &rejected {
            gather.reject(origin, line.borrowed());
        }
        let waiter = self.input.settings.ack.then(|| Waiter {
            fate: Rc::clone(&self.acks.fate),
            line: lines,
        });
        if waiter.is_some() {
            self.acks.rejects.borrow_mut().add(lines, &rejected);
        }
        let judged = Judged {
            events: cut.accepted,
            counts,
            labels: &self.labels,
            received: now.wall,
            waiter,
        };
        gather.keep(cut.accepted_end, judged, now.monotonic);
        let closed = gather.closed_blocks() > 0;
        drop(gather);
        if was_empty || closed {
            self.input.door.changed();
        }
    }

    fn counts(&self, start: usize, cut: &Cut, lines: u64, rejected: &[OwnedReject]) -> InputCounts {
        let mut counts = InputCounts::of_stored(cut.accepted, cut.accepted_end - start);
        let (rejects, excluded) = (u64::from(cut.rejected), u64::from(cut.excluded));
        counts.received += rejects + excluded;
        counts.received_bytes += cut.rejected_bytes + cut.excluded_bytes;
        counts.excluded = excluded;
        counts.skipped = lines - u64::from(cut.accepted) - rejects - excluded;
        for line in rejected {
            counts.rejected[line.reason.index()] += 1;
        }
        counts
    }

    /// Gives way to the others after a receive, and keeps the partial line within the budget.
    async fn pause(&mut self, received: usize, now: Now) {
        let since_last = now.monotonic.saturating_sub(self.last_receive);
        self.last_receive = now.monotonic;
        self.pay_for_carry().await;
        if received < SMALL_RECEIVE_BYTES && since_last < SMALL_RECEIVE_WITHIN {
            tokio::time::sleep(PILE_UP).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    async fn pay_for_carry(&mut self) {
        let bytes = self.lines.memory();
        if bytes <= CARRY_BYTES_FREE {
            self.carry_grant = None;
            return;
        }
        let held = self.carry_grant.as_ref().map_or(0, Grant::bytes);
        if held >= bytes as u64 {
            return;
        }
        self.carry_grant = None;
        loop {
            self.carry_grant = self.input.door.budget().take(bytes as u64);
            if self.carry_grant.is_some() {
                return;
            }
            tokio::time::sleep(BUDGET_RETRY).await;
        }
    }

    /// Waits until everything received has its fate on disk.
    async fn settle_rest(&self) {
        let lines = self.lines.lines();
        if lines == 0 {
            return;
        }
        let fate = Rc::clone(&self.acks.fate);
        let now = self.input.clock.now();
        {
            let mut gather = self.input.door.gather();
            let (_, start) = gather.open_buffer(0);
            let judged = Judged {
                events: 0,
                counts: InputCounts::default(),
                labels: &self.labels,
                received: now.wall,
                waiter: Some(Waiter {
                    fate: Rc::clone(&fate),
                    line: lines,
                }),
            };
            gather.keep(start, judged, now.monotonic);
        }
        self.input.door.changed();
        // When it cannot be made durable, closing without the last ack is all there is to say.
        fate.reach(lines).await.ok();
    }
}

fn judge_of<'a>(
    input: &'a TcpInput,
    admission: &'a Admission,
    labels: &'a Labels,
    now: Now,
) -> LineJudge<'a> {
    LineJudge {
        admission,
        labels,
        received: now.wall,
        noted: Noted {
            rejected: Vec::new(),
            excluded: input.door.exclusion().begin(),
        },
    }
}

/// Writes `{"ack":N}` lines as the fate advances, until the last line is told.
async fn write_acks(
    stream: Rc<TcpStream>,
    acks: Rc<Acks>,
    mut finished: oneshot::Receiver<u64>,
) -> io::Result<()> {
    let mut told = 0;
    let mut last = None;
    loop {
        if last == Some(told) {
            return Ok(());
        }
        let reached = tokio::select! {
            biased;
            reached = acks.fate.reach(told + 1) => reached,
            line = &mut finished, if last.is_none() => {
                last = Some(line.unwrap_or(told));
                continue;
            }
        };
        let Ok(line) = reached else { return Ok(()) };
        let text = acks.rejects.borrow_mut().ack_line(line);
        write_all(&stream, text.as_bytes()).await?;
        told = line;
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl AckRejects {
    fn add(&mut self, line: u64, rejected: &[OwnedReject]) {
        if rejected.is_empty() {
            return;
        }
        self.counted.push_back((line, rejected.len() as u64));
        let room = ACK_REJECTS_MAX.saturating_sub(self.named.len());
        let named = rejected
            .iter()
            .take(room)
            .map(|line| (line.number, line.detail.clone()));
        self.named.extend(named);
    }

    /// The ack for lines up to `line`, with the rejects among them.
    fn ack_line(&mut self, line: u64) -> String {
        let mut total = 0;
        while let Some((_, count)) = self.counted.pop_front_if(|(upto, _)| *upto <= line) {
            total += count;
        }
        if total == 0 {
            return format!("{{\"ack\":{line}}}\n");
        }
        let mut named = Vec::new();
        while let Some((number, error)) = self.named.pop_front_if(|(number, _)| *number <= line) {
            named.push(serde_json::json!({ "line": number, "error": error }));
        }
        let ack = serde_json::json!({ "ack": line, "rejected": named, "rejected_total": total });
        format!("{ack}\n")
    }
}

/// A rejected line, kept until the open block is free again.
#[derive(Debug)]
struct OwnedReject {
    number: u64,
    reason: RejectReason,
    detail: String,
    sample: Vec<u8>,
    bytes: u64,
}

impl OwnedReject {
    fn borrowed(&self) -> reject::RejectedLine<'_> {
        reject::RejectedLine {
            line: self.number,
            reason: self.reason,
            detail: &self.detail,
            sample: &self.sample,
            bytes: self.bytes,
        }
    }
}

/// Judges lines for the framer, and keeps what was refused and what was dropped.
struct LineJudge<'a> {
    admission: &'a Admission,
    labels: &'a Labels,
    received: Timestamp,
    noted: Noted,
}

/// What a receive held besides accepted lines.
struct Noted {
    rejected: Vec<OwnedReject>,
    excluded: ExclusionRun,
}

impl LineJudge<'_> {
    fn exclude(&mut self, line: &[u8], verdict: Verdict) -> Verdict {
        let event = Event {
            line,
            labels: self.labels,
            received: self.received,
        };
        let drops = verdict == Verdict::Accept && self.noted.excluded.excludes(event);
        if drops { Verdict::Exclude } else { verdict }
    }
}

impl Judge for LineJudge<'_> {
    #[inline]
    fn judge(&mut self, line: &[u8]) -> Verdict {
        let verdict = self.admission.judge(line);
        self.exclude(line, verdict)
    }

    fn judge_unterminated(&mut self, line: &[u8]) -> Verdict {
        let verdict = self.admission.judge_unterminated(line);
        self.exclude(line, verdict)
    }

    fn rejected(&mut self, line: framer::RejectedLine<'_>) {
        self.noted.rejected.push(OwnedReject {
            number: line.number,
            reason: line.reject.reason(),
            detail: line.reject.to_string(),
            sample: line.sample.to_vec(),
            bytes: line.sample.len() as u64,
        });
    }
}
