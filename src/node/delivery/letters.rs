//! Events that a destination refuses for good: kept as dead letters, told, and only then passed.

use super::lane::RunningLane;
use super::park::DEAD_LETTERS_FULL;
use super::streamed::read_again;
use crate::audit::{Action, Notice};
use crate::batch::Batch;
use crate::event::InputId;
use crate::journal::letters::{AppendError, DeadLetter, Room, labels_of};
use crate::sink::Failure;
use crate::stream::remaining::remaining;

impl RunningLane {
    /// Keeps these records of a batch, numbered from 0 and in order, as dead letters. False when that
    /// failed or there is no room; then they are to be sent again.
    pub(super) async fn set_aside(&mut self, batch: &Batch, refused: &[(u32, Failure)]) -> bool {
        let Some((_, why)) = refused.first() else {
            return true;
        };
        let letters = match self.letters_of(batch, refused) {
            Ok(letters) => letters,
            Err(detail) => {
                // What cannot be read is found out, and given up, when it is encoded again.
                tracing::error!(stream = %self.shared.name, detail, "read what was refused");
                self.core.failed(self.shared.clock.now().monotonic);
                return false;
            }
        };
        let room = self.shared.letters.borrow().room_for(&letters);
        match room {
            Room::Fits => {}
            Room::Full => {
                let why = Failure {
                    reason: why.reason,
                    detail: format!("no room for its dead letters: {}", why.detail),
                };
                self.park(DEAD_LETTERS_FULL, &why);
                return false;
            }
            Room::Evicts { ids, line_bytes } => {
                let notice = Notice::new(
                    Action::DeadLetterEvict,
                    &*self.shared.name,
                    DEAD_LETTERS_FULL,
                );
                let notice = notice.events(ids.len() as u64).bytes(line_bytes).failed();
                if !self.tell_durably(notice).await {
                    return false;
                }
            }
        }
        let appended = self.shared.letters.borrow_mut().append(&letters);
        match appended {
            Ok(_) => {}
            Err(AppendError::Full { .. }) => {
                self.park(DEAD_LETTERS_FULL, why);
                return false;
            }
            Err(AppendError::Io(error)) => {
                self.trouble("write dead letters", &error).await;
                return false;
            }
        }
        for (_, why) in refused {
            self.note_failure(why);
        }
        let (journal, range) = (self.parts.journal, batch.id.range);
        let notice = Notice::new(Action::EventDeadLetter, &*self.shared.name, why.reason)
            .range(journal, range)
            .events(letters.len() as u64)
            .detail(&*why.detail)
            .failed();
        self.tell_durably(notice).await
    }

    fn letters_of(
        &mut self,
        batch: &Batch,
        refused: &[(u32, Failure)],
    ) -> Result<Vec<DeadLetter>, String> {
        let numbers: Vec<_> = refused.iter().map(|(number, _)| *number).collect();
        let mut whys = refused.iter().map(|(_, why)| why);
        let now = self.shared.clock.now().wall;
        let (identity, attempts) = (batch.id.to_string(), batch.attempt.saturating_add(1));
        let mut letters = Vec::with_capacity(refused.len());
        let parts = remaining(&batch.parts, &numbers);
        let reader = &mut self.parts.reader;
        let parts = parts.iter().map(|part| read_again(reader, part));
        let parts = parts.collect::<Result<Vec<_>, _>>();
        let parts = parts.map_err(|trouble| trouble.to_string())?;
        let mut encoder = self.shared.encoder.borrow_mut();
        let read = encoder.each_event(&parts, |event| {
            let Some(why) = whys.next() else {
                return;
            };
            let is_its = |known: &&(InputId, Box<str>)| known.0 == event.labels.input;
            let input = self.shared.inputs.iter().find(is_its);
            letters.push(DeadLetter {
                position: event.position,
                received: event.received,
                refused: now,
                reason: why.reason.to_owned(),
                detail: why.detail.clone(),
                batch: identity.clone(),
                attempts,
                labels: labels_of(event.labels, input.map_or("", |(_, name)| name)),
                line: event.line.to_vec(),
            });
        });
        read.map(|()| letters).map_err(|error| error.to_string())
    }
}
