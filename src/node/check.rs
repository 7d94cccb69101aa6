//! Trying a stream's destination before it is trusted: connect, authenticate, and send marked
//! events as the stream would send its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::block::codec::{CompressionLevel, best_codec};
use crate::config::plan::StreamPlan;
use crate::os::clock::Clock;
use crate::os::disk::Disk;
use crate::position::JournalId;
use crate::sink::settings::SinkSettings;
use crate::sink::{AnySink, Failure, OpenContext, OpenError, Outcome, Sink as _};
use crate::stream::encode::Encoder;
use crate::stream::probe;
use crate::stream::template::{Template, TemplateError};

/// What the node's id is while there is no node.
const NO_NODE: &str = "weir-check";

/// Why a destination was not found to take events.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Files are not tried: what was written would stay among the events.
    #[error("is a file, which is not tried: a test event would stay in it")]
    File,
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The stream's template does not compile.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// It was asked, and does not take them.
    #[error("{}: {}", why.reason, why.detail)]
    NotTaken {
        /// What it said.
        why: Failure,
        /// Trying again may help.
        may_pass: bool,
    },
    /// It said nothing in time.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// Something here failed.
    #[error("{0}")]
    Here(#[from] io::Error),
}

/// Sends so many marked events to a stream's destination, once, and waits at most `within` for it to
/// say that it has them.
///
/// # Errors
/// See [`CheckError`].
pub fn send_marked(
    plan: &StreamPlan,
    events: u32,
    (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>),
    within: Duration,
) -> Result<(), CheckError> {
    if matches!(plan.sink, SinkSettings::File(_)) {
        return Err(CheckError::File);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let wall_clock = Arc::clone(&clock);
    let context = OpenContext {
        journal: JournalId(0),
        journals: 1,
        node: &Arc::from(NO_NODE),
        stream: Arc::clone(&plan.stream.name),
        disk,
        clock: Arc::new(move || wall_clock.now().wall),
        state: None,
    };
    let template = plan.stream.template.as_ref();
    let template = template.map(Template::compile).transpose()?;
    let mut encoder = Encoder::new(best_codec(CompressionLevel::FASTEST));
    let drawn = uuid::Uuid::new_v4().into_bytes();
    let parcel = probe::parcel(
        &mut encoder,
        (&plan.stream.name, JournalId(0)),
        (plan.sink.body_form(), template.as_ref()),
        (drawn, clock.now().wall),
        events,
    );
    let parcel = parcel.map_err(io::Error::other)?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let mut sink = AnySink::open(&plan.sink, context)?;
        let answered = tokio::time::timeout(within, sink.deliver(&parcel)).await;
        answered.map_err(|_| CheckError::NoAnswer(within))
    })?;
    let not_taken = |why, may_pass| Err(CheckError::NotTaken { why, may_pass });
    match outcome {
        Outcome::Delivered => Ok(()),
        Outcome::Partial { mut reject, .. } if !reject.is_empty() => {
            not_taken(reject.swap_remove(0).1, false)
        }
        Outcome::Partial { retry, .. } if retry.is_empty() => Ok(()),
        Outcome::Partial { why, .. } | Outcome::Retry { why, .. } => not_taken(why, true),
        Outcome::Refused { why } | Outcome::Split { why } => not_taken(why, false),
        // Of a file only, which is not tried.
        Outcome::RecordFirst => Err(CheckError::File),
    }
}
