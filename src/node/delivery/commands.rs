//! Commands to a stream: resume, and what is done with its dead letters.
//!
//! They are done by a task of the stream's thread, one at a time, beside its lanes. Dead letters
//! are sent again by a sink of their own, so that no lane waits for them; they leave the store only
//! when the destination has them.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::Shared;
use crate::audit::{Action, Notice};
use crate::batch::{BatchId, Purpose};
use crate::control::commands::StreamCommand;
use crate::event::Labels;
use crate::journal::letters::{DeadLetter, LetterId, Which, labels_from};
use crate::os::disk::Disk;
use crate::position::{JournalId, Offset, OffsetRange, SegmentId};
use crate::sink::settings::SinkSettings;
use crate::sink::{AnySink, OpenContext, Outcome, Sink as _};
use crate::stream::template::EventAt;

/// Letters sent in one batch.
const LETTERS_MAX: usize = 500;

/// Bytes of events behind which no further letter is sent with them.
const BYTES_MAX: usize = 1 << 20;

/// Does what a stream is asked to.
pub(super) struct Commands {
    pub(super) shared: Rc<Shared>,
    /// Rings the lanes.
    pub(super) resume: watch::Sender<()>,
    pub(super) sink: SinkSettings,
    pub(super) node: Arc<str>,
    pub(super) disk: Arc<dyn Disk>,
}

impl Commands {
    /// Serves until the other end is gone.
    pub(super) async fn run(self, mut commands: mpsc::Receiver<StreamCommand>) {
        while let Some(command) = commands.recv().await {
            let (done, answer) = match command {
                StreamCommand::Resume { answer } => {
                    // Without lanes there is nobody to ring.
                    self.resume.send(()).ok();
                    (Ok(0), answer)
                }
                StreamCommand::Redrive { which, answer } => (self.redrive(&which).await, answer),
                StreamCommand::Drop { which, answer } => (self.drop_letters(&which).await, answer),
            };
            // Whoever asked may have gone.
            answer.send(done).ok();
        }
    }

    /// Removes letters; told durably before.
    async fn drop_letters(&self, which: &Which) -> Result<u64, String> {
        let ids = self.shared.letters.borrow().select(which);
        if ids.is_empty() {
            return Ok(0);
        }
        let notice = Notice::new(Action::DeadLetterDrop, &*self.shared.name, "requested");
        let told = self.shared.record(notice.events(ids.len() as u64));
        if !told.await.unwrap_or(false) {
            return Err("its audit event could not be made durable".to_owned());
        }
        self.remove(&ids)
    }

    fn remove(&self, ids: &[LetterId]) -> Result<u64, String> {
        let removed = self.shared.letters.borrow_mut().remove(ids);
        // There is room again, if that is what a lane waits for.
        self.resume.send(()).ok();
        removed.map_err(|error| format!("remove dead letters: {error}"))
    }

    /// Sends letters again. Those that are taken leave the store.
    async fn redrive(&self, which: &Which) -> Result<u64, String> {
        if matches!(self.sink, SinkSettings::File(_)) {
            return Err("a file refuses nothing: it has no dead letters to send again".to_owned());
        }
        let clock = Arc::clone(&self.shared.clock);
        let context = OpenContext {
            journal: JournalId(0),
            journals: 1,
            node: &self.node,
            stream: Arc::clone(&self.shared.name),
            disk: Arc::clone(&self.disk),
            clock: Arc::new(move || clock.now().wall),
            state: None,
        };
        let sink = AnySink::open(&self.sink, context).map_err(|error| error.to_string())?;
        let ids = self.shared.letters.borrow().select(which);
        let (taken, ended) = self.send_all(sink, &ids).await;
        let asked = ids.len() as u64;
        let notice = Notice::new(Action::DeadLetterRedrive, &*self.shared.name, "requested");
        if taken > 0 {
            self.shared.audit.tell(notice.clone().events(taken));
        }
        if taken < asked {
            let notice = notice.events(asked - taken).detail(ended.clone());
            self.shared.audit.tell(notice.failed());
            return Err(format!(
                "{taken} of {asked} dead letters were taken and are removed; the others are kept: {ended}"
            ));
        }
        Ok(taken)
    }

    /// How many were taken, and what the destination said of one that was not.
    async fn send_all(&self, mut sink: AnySink, ids: &[LetterId]) -> (u64, String) {
        let (mut taken, mut said) = (0, String::new());
        let mut rest = ids;
        while !rest.is_empty() {
            let letters = match self.read_some(rest) {
                Ok(letters) => letters,
                Err(error) => return (taken, error),
            };
            rest = &rest[letters.len().max(1)..];
            let sent = self.send(&mut sink, &letters, &mut said).await;
            match sent.and_then(|sent| self.remove(&sent)) {
                Ok(removed) => taken += removed,
                Err(error) => return (taken, error),
            }
        }
        (taken, said)
    }

    /// The first of the letters, as many as make a batch.
    fn read_some(&self, ids: &[LetterId]) -> Result<Vec<DeadLetter>, String> {
        let store = self.shared.letters.borrow();
        let (mut letters, mut bytes) = (Vec::new(), 0);
        for id in ids.iter().take(LETTERS_MAX) {
            let read = store.read(*id);
            let letter = read.map_err(|error| format!("read dead letter {id}: {error}"))?;
            let letter = letter.ok_or_else(|| format!("dead letter {id} is gone"))?;
            bytes += letter.line.len();
            letters.push(letter);
            if bytes >= BYTES_MAX {
                break;
            }
        }
        Ok(letters)
    }

    /// Sends letters in one batch, and one by one what the destination refuses so. Ids of those
    /// that it has.
    async fn send(
        &self,
        sink: &mut AnySink,
        letters: &[DeadLetter],
        said: &mut String,
    ) -> Result<Vec<LetterId>, String> {
        let mut taken = Vec::new();
        let mut open = vec![letters];
        while let Some(some) = open.pop() {
            match self.send_batch(sink, some).await? {
                Outcome::Delivered => taken.extend(some.iter().map(DeadLetter::id)),
                Outcome::Partial {
                    retry, reject, why, ..
                } => {
                    let is_left = |record: u32| {
                        retry.contains(&record)
                            || reject.iter().any(|(number, _)| *number == record)
                    };
                    let of_taken = (0..).zip(some).filter(|(record, _)| !is_left(*record));
                    taken.extend(of_taken.map(|(_, letter)| letter.id()));
                    let why = reject.into_iter().next().map_or(why, |(_, why)| why);
                    *said = format!("{}: {}", why.reason, why.detail);
                }
                Outcome::Refused { why } | Outcome::Split { why } if some.len() == 1 => {
                    *said = format!("{}: {}", why.reason, why.detail);
                }
                Outcome::Refused { .. } | Outcome::Split { .. } => {
                    let (first, second) = some.split_at(some.len() / 2);
                    open.extend([second, first]);
                }
                Outcome::Retry { why, .. } => {
                    *said = format!("{}: {}", why.reason, why.detail);
                    // The way is broken: what is left is kept, and what was taken is removed.
                    break;
                }
                // Of a file only.
                Outcome::RecordFirst => break,
            }
        }
        Ok(taken)
    }

    async fn send_batch(
        &self,
        sink: &mut AnySink,
        letters: &[DeadLetter],
    ) -> Result<Outcome, String> {
        let labels: Vec<Arc<Labels>> = letters
            .iter()
            .map(|letter| Arc::new(labels_from(&letter.labels)))
            .collect();
        let events: Vec<EventAt<'_>> = letters
            .iter()
            .zip(&labels)
            .map(|(letter, labels)| EventAt {
                line: &letter.line,
                labels,
                received: letter.received,
                position: letter.position,
            })
            .collect();
        let content = self.shared.content.load_full();
        let id = BatchId {
            // A batch of its own: a destination that knows the first one is not to think it has this.
            segment: SegmentId(uuid::Uuid::new_v4().into_bytes()),
            range: OffsetRange {
                first: Offset(0),
                end: Offset(letters.len() as u64),
            },
            stream: Arc::clone(&self.shared.name),
            version: content.version,
        };
        let encoded = self.shared.encoder.borrow_mut().encode_loose(
            (id, Purpose::Redrive),
            &events,
            self.shared.form,
            content.template.as_ref(),
        );
        let parcel = encoded.map_err(|error| format!("encode dead letters: {error}"))?;
        Ok(sink.deliver(&parcel).await)
    }
}
