//! The way from the control side to a running stream: commands, and their answers.
//!
//! Each stream's thread holds the receiving end of a channel and answers when it has done what it
//! was asked. Whoever asks waits for so long and no longer; the stream never waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::journal::letters::Which;

/// How long an answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Where a stream says how many letters it was about, or why it was not done.
pub type CommandAnswer = oneshot::Sender<Result<u64, String>>;

/// What can be asked of a stream.
#[derive(Debug)]
pub enum StreamCommand {
    /// Deliver again, if it is parked; the answer tells of no letters.
    Resume {
        /// Where to answer.
        answer: CommandAnswer,
    },
    /// Send dead letters again and remove those that are delivered; the answer tells of these.
    Redrive {
        /// Which.
        which: Which,
        /// Where to answer.
        answer: CommandAnswer,
    },
    /// Remove dead letters.
    Drop {
        /// Which.
        which: Which,
        /// Where to answer.
        answer: CommandAnswer,
    },
}

/// Why a command was not done, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such stream.
    #[error("there is no stream \"{0}\"")]
    UnknownStream(String),
    /// The stream says why it cannot.
    #[error("{0}")]
    Refused(String),
    /// It has not answered in time; it may do it all the same.
    #[error("the stream has not answered yet; it may still do what it was asked")]
    NoAnswer,
}

/// The running streams that take commands, by their names.
#[derive(Debug, Clone)]
pub struct StreamCommands {
    streams: BTreeMap<Arc<str>, mpsc::Sender<StreamCommand>>,
    answer_within: Duration,
}

impl Default for StreamCommands {
    fn default() -> Self {
        Self {
            streams: BTreeMap::new(),
            answer_within: ANSWER_WITHIN,
        }
    }
}

impl StreamCommands {
    /// Adds a stream; its thread holds the other end.
    pub fn add(&mut self, stream: Arc<str>, commands: mpsc::Sender<StreamCommand>) {
        self.streams.insert(stream, commands);
    }

    /// The same, waiting for answers for so long. Default 30 s.
    #[must_use]
    pub fn answered_within(mut self, span: Duration) -> Self {
        self.answer_within = span;
        self
    }

    /// Asks a stream and waits for its answer: how many letters it was about.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn ask(
        &self,
        stream: &str,
        command: impl FnOnce(CommandAnswer) -> StreamCommand,
    ) -> Result<u64, CommandError> {
        let commands = self.streams.get(stream);
        let commands = commands.ok_or_else(|| CommandError::UnknownStream(stream.to_owned()))?;
        let (answer, answered) = oneshot::channel();
        let ended = || CommandError::Refused("the stream is ending".to_owned());
        let asked = async {
            let sent = commands.send(command(answer)).await;
            sent.map_err(|_| ended())?;
            match answered.await {
                Ok(done) => done.map_err(CommandError::Refused),
                Err(_) => Err(ended()),
            }
        };
        timeout(self.answer_within, asked)
            .await
            .unwrap_or(Err(CommandError::NoAnswer))
    }
}
