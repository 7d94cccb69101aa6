//! What is known of an event besides its bytes: labels.
//!
//! Labels are a set shared by runs of events; they cost nothing while they do not change.

use std::sync::Arc;

use crate::position::Timestamp;

/// Index of an input in the plan's list of inputs, which is also its number in block
/// metadata. Stable over a restart as long as the configuration's inputs keep their names
/// (`data_dir/node.toml` remembers the numbers of names).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InputId(pub u16);

/// Numbers that no input is ever given. In the internal journal they say what a block holds.
impl InputId {
    /// Audit events.
    pub const AUDIT_EVENTS: Self = Self(u16::MAX);
    /// Records of rejected lines.
    pub const REJECT_RECORDS: Self = Self(u16::MAX - 1);
    /// The first number that is not for inputs: this one and all above are reserved.
    pub const RESERVED_FIRST: Self = Self(0xff00);
}

/// The labels of a run of events. Absent ones are `None`; empty text counts as absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The input the events came by.
    pub input: InputId,
    /// Name of the application (`$l.applicationname`, LogDNA `app`).
    pub application: Option<Box<str>>,
    /// Name of the subsystem (`$l.subsystemname`).
    pub subsystem: Option<Box<str>>,
    /// Host the events come from (LogDNA `host`), as the sender says.
    pub host: Option<Box<str>>,
    /// Severity word as the sender says.
    pub level: Option<Box<str>>,
    /// Environment, as the sender says.
    pub env: Option<Box<str>>,
    /// Tags, comma separated, as the sender says.
    pub tags: Option<Box<str>>,
    /// Further labels as one raw JSON object.
    pub meta: Option<Box<str>>,
    /// Token name or certificate subject, when the sender is authenticated.
    pub sender: Option<Box<str>>,
    /// Address of the peer, `ip:port`; for files the path, for Kafka topic and partition.
    pub peer: Option<Box<str>>,
    /// Time of the event as the sender says.
    pub event_time: Option<Timestamp>,
}

impl Labels {
    /// Labels that say nothing but the input.
    #[must_use]
    pub fn of_input(input: InputId) -> Self {
        Self {
            input,
            application: None,
            subsystem: None,
            host: None,
            level: None,
            env: None,
            tags: None,
            meta: None,
            sender: None,
            peer: None,
            event_time: None,
        }
    }
}

/// A run of consecutive events of one block that share labels and receive time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelRun {
    /// Number of events in the run, at least 1.
    pub events: u32,
    /// Their labels.
    pub labels: Arc<Labels>,
    /// When they were received.
    pub received: Timestamp,
}
