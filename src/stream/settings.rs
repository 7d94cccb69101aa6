//! What a stream runs on; built by `config`, never changed after.

use std::sync::Arc;
use std::time::Duration;

use crate::position::Timestamp;
pub use crate::stream::select::{Sampling, Take};
pub use crate::stream::template::{
    DataSource, MaskSettings, PayloadFormat, Shape, ShapeOptions, Template, TemplateError,
    TemplateSettings,
};

/// Settings of one stream, without its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Name in the configuration, metrics, identities and audit events.
    pub name: Arc<str>,
    /// Where a stream that has no cursor yet begins.
    pub from: StartAt,
    /// When a batch is cut.
    pub batch: BatchLimits,
    /// Whether it delivers audit events.
    pub audit: AuditChoice,
    /// What it takes of the others.
    pub take: Take,
    /// What it makes of them; `None`: the lines as they came.
    pub template: Option<TemplateSettings>,
    /// Hash of rule, sampling and template; 0 for a stream that sends all events as they came.
    pub version: u64,
}

/// Bytes of blocks and lines that a lane holds for a batch whose body is streamed. Of what comes behind, only the place
/// is held, and it is read again when it is sent.
pub const STREAMED_HELD_BYTES_MAX: usize = 32 << 20;

/// Whether a stream delivers audit events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuditChoice {
    /// None. The default.
    #[default]
    None,
    /// Besides all other events.
    With,
    /// And nothing else.
    Only,
}

/// Where a new stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With what is journalled from now on. The default.
    End,
    /// With the oldest event the journal still holds.
    Start,
    /// With the first block received at this time or later.
    Time(Timestamp),
}

/// Limits of a batch; it is cut at whichever comes first, at a block's end if it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Raw bytes, line ends included. 64 KiB to 4 GiB; default 8 MiB (http), 8 MiB (file).
    pub bytes_max: u64,
    /// Age of its first event since it was durable. 1 ms to 1 h; default 1 s.
    pub age_max: Duration,
    /// Events; `None`: no limit, the default.
    pub records_max: Option<u64>,
}
