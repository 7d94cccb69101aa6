//! The durable writer's fallback: one thread that writes and waits.
//!
//! Requests go to it by a bounded channel, outcomes come back by one that never blocks
//! (it holds at most the requests in flight). Dropping the writer waits for the thread,
//! so that no write reaches a file after its owner is gone.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{WRITES_IN_FLIGHT_MAX, WriteDone, WriteRequest, write_blocking};

#[derive(Debug)]
pub(super) struct ThreadWriter {
    /// Taken only by `drop`, which tells the thread to end.
    requests: Option<SyncSender<WriteRequest>>,
    outcomes: UnboundedReceiver<WriteDone>,
    /// Tickets not yet reported, oldest first: what is told when the thread dies.
    outstanding: VecDeque<u64>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadWriter {
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (requests, inbox) = sync_channel(WRITES_IN_FLIGHT_MAX);
        let (reports, outcomes) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("{name}-writer"))
            .spawn(move || write_all(&inbox, &reports))?;
        Ok(Self {
            requests: Some(requests),
            outcomes,
            outstanding: VecDeque::with_capacity(WRITES_IN_FLIGHT_MAX),
            thread: Some(thread),
        })
    }

    pub(super) fn submit(&mut self, request: WriteRequest) {
        self.outstanding.push_back(request.ticket);
        let requests = self.requests.as_ref().expect("only drop takes the channel");
        // The channel has room for all that may be in flight, so a refusal means that the
        // thread is dead, and `completed` reports that.
        drop(requests.try_send(request));
    }

    pub(super) fn try_completed(&mut self) -> Option<WriteDone> {
        match self.outcomes.try_recv() {
            Ok(done) => Some(self.reported(done)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.lost(),
        }
    }

    pub(super) async fn completed(&mut self) -> WriteDone {
        if let Some(done) = self.outcomes.recv().await {
            return self.reported(done);
        }
        match self.lost() {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    fn reported(&mut self, done: WriteDone) -> WriteDone {
        self.outstanding.retain(|ticket| *ticket != done.ticket);
        done
    }

    /// The thread is dead and its channel is drained: what is still outstanding has failed.
    fn lost(&mut self) -> Option<WriteDone> {
        let ticket = self.outstanding.pop_front()?;
        let result = Err(io::Error::other("the writer thread died"));
        Some(WriteDone { ticket, result })
    }
}

impl Drop for ThreadWriter {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed where it happened.
            drop(thread.join());
        }
    }
}

fn write_all(inbox: &Receiver<WriteRequest>, reports: &UnboundedSender<WriteDone>) {
    for request in inbox {
        let done = WriteDone {
            ticket: request.ticket,
            result: write_blocking(&request),
        };
        // The buffers go back before the outcome is told: who waits for it may count on
        // their memory.
        drop(request);
        if reports.send(done).is_err() {
            return;
        }
    }
}
