//! The tail: the latest durable blocks of a journal, in memory, for streams near the end.
//!
//! The writer's side publishes blocks once they are durable; readers take them by offset.
//! Bounded in bytes: the oldest go first, and a stream that needs them reads the disk. A
//! [`Doorbell`] wakes one reader when enough has come, so that a stream that fills a batch
//! is not woken for every block. Lines that rules keep beside blocks are bounded apart, in relation to
//! it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::block::Block;
use crate::position::{Offset, Timestamp};

/// Bytes of lines kept beside blocks for each byte of the tail: rules that take a half keep about
/// four times what the blocks take.
pub const LINES_PER_TAIL: usize = 2;

/// What readers see of the end of a journal.
#[derive(Debug)]
pub struct Tail {
    bytes_max: usize,
    inner: Mutex<Inner>,
    /// Events below are durable. Written under the lock, read without it.
    durable_end: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Durable blocks with events, in order, without gap.
    blocks: VecDeque<Arc<Block>>,
    /// Bytes of the lines kept beside each, as far as they are still kept.
    lines: VecDeque<usize>,
    /// Their sum.
    lines_bytes: usize,
    /// The first block that may have lines beside it.
    lines_first: usize,
    /// Blocks whose lines a reader made anew, and the bytes of those.
    again: VecDeque<Arc<Block>>,
    again_bytes: usize,
    bytes: usize,
    /// Raw bytes published since start.
    raw_bytes: u64,
    doorbells: Vec<Arc<Doorbell>>,
}

impl Inner {
    fn forget_oldest(&mut self) {
        if let (Some(block), Some(lines)) = (self.blocks.pop_front(), self.lines.pop_front()) {
            self.bytes -= block.image_len();
            self.lines_bytes -= lines;
            self.lines_first = self.lines_first.saturating_sub(1);
        }
    }

    /// Lines beside blocks have a bound of their own: a stream that needs them later inflates the
    /// block, which is still faster than to read it from disk.
    fn forget_lines(&mut self, bytes_max: usize) {
        while self.lines_bytes > bytes_max && self.lines_first < self.blocks.len() {
            self.blocks[self.lines_first].verdicts.forget_lines();
            self.lines_bytes -= std::mem::take(&mut self.lines[self.lines_first]);
            self.lines_first += 1;
        }
    }
}

/// Wakes one reader.
#[derive(Debug, Default)]
pub struct Doorbell {
    notify: Notify,
    /// Rings once so many raw bytes were published since start.
    raw_bytes_wanted: AtomicU64,
}

impl Tail {
    /// An empty tail of a journal that ends at `end`.
    #[must_use]
    pub fn new(bytes_max: usize, end: Offset) -> Self {
        Self {
            bytes_max,
            inner: Mutex::default(),
            durable_end: AtomicU64::new(end.0),
        }
    }

    /// Adds durable blocks and wakes who waits for them. Empty blocks are passed over.
    ///
    /// # Panics
    /// When the blocks do not continue where the tail ends.
    pub fn publish(&self, blocks: &[Arc<Block>]) {
        let mut inner = self.lock();
        let mut end = self.durable_end();
        for block in blocks {
            assert_eq!(
                block.first, end,
                "blocks are published in order, without gap"
            );
            end = block.range().end;
            if block.events > 0 {
                let lines = block.verdicts.lines_bytes();
                inner.bytes += block.image_len();
                inner.lines_bytes += lines;
                inner.lines.push_back(lines);
                inner.raw_bytes += u64::from(block.raw_len);
                inner.blocks.push_back(Arc::clone(block));
            }
        }
        while inner.bytes > self.bytes_max && inner.blocks.len() > 1 {
            inner.forget_oldest();
        }
        inner.forget_lines(LINES_PER_TAIL * self.bytes_max);
        self.durable_end.store(end.0, Ordering::Release);
        for doorbell in &inner.doorbells {
            if inner.raw_bytes >= doorbell.raw_bytes_wanted.load(Ordering::Relaxed) {
                // Once is enough; the reader sets the next mark when it waits again.
                doorbell.raw_bytes_wanted.store(u64::MAX, Ordering::Relaxed);
                doorbell.notify.notify_one();
            }
        }
    }

    /// Events below are durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        Offset(self.durable_end.load(Ordering::Acquire))
    }

    /// The block that holds `offset`, when it is in memory.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<Arc<Block>> {
        let inner = self.lock();
        let at = inner
            .blocks
            .partition_point(|block| block.range().end <= offset);
        inner
            .blocks
            .get(at)
            .filter(|block| block.first <= offset)
            .cloned()
    }

    /// Receive time of the oldest event at or behind `offset` that is in memory.
    #[must_use]
    pub fn oldest_received(&self, offset: Offset) -> Option<Timestamp> {
        let inner = self.lock();
        let at = inner
            .blocks
            .partition_point(|block| block.range().end <= offset);
        inner.blocks.get(at).map(|block| block.received_first)
    }

    /// Lines are beside this block again, made by a reader that had to inflate it: others that are as
    /// far behind find them. The oldest such are forgotten, so that all of them take no more than a
    /// half of the tail.
    pub fn keep_again(&self, block: Arc<Block>) {
        let mut inner = self.lock();
        inner.again_bytes += block.verdicts.lines_bytes();
        inner.again.push_back(block);
        while inner.again_bytes > self.bytes_max / 2 {
            let Some(oldest) = inner.again.pop_front() else {
                inner.again_bytes = 0;
                break;
            };
            inner.again_bytes = inner
                .again_bytes
                .saturating_sub(oldest.verdicts.lines_bytes());
            oldest.verdicts.forget_lines();
        }
    }

    /// Compressed bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// A doorbell of this tail for one reader.
    #[must_use]
    pub fn doorbell(&self) -> Arc<Doorbell> {
        let doorbell = Arc::new(Doorbell::default());
        doorbell.raw_bytes_wanted.store(u64::MAX, Ordering::Relaxed);
        self.lock().doorbells.push(Arc::clone(&doorbell));
        doorbell
    }

    /// Waits until something lies behind `seen` and `raw_bytes` more raw bytes have come since
    /// the call; returns at once when there is something behind `seen` and `raw_bytes` is 0.
    pub async fn wait(&self, doorbell: &Doorbell, seen: Offset, raw_bytes: u64) {
        let rung = doorbell.notify.notified();
        {
            let inner = self.lock();
            if raw_bytes == 0 && self.durable_end() > seen {
                return;
            }
            let wanted = inner.raw_bytes.saturating_add(raw_bytes.max(1));
            doorbell.raw_bytes_wanted.store(wanted, Ordering::Relaxed);
        }
        rung.await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Publishing asserts before it changes anything that could be left half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
