//! Ways to break the promise on purpose, to show that the oracle sees it.
//!
//! Each is one wrong thing done by the shells around the real parts, or by the disk. Product
//! code is never changed. `every_broken_promise_is_seen` runs them all.

/// One wrong thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Senders are told as soon as their lines are taken.
    AckBeforeSync,
    /// Streams get blocks when their write begins.
    PublishedBeforeDurable,
    /// The core is told that a write is done before it is begun.
    WrittenBeforeWriting,
    /// A write that failed is reported as done.
    FailedWritesTrusted,
    /// Syncs and durable writes succeed and make nothing durable.
    SyncsLie,
    /// A start loses the last durable block.
    RecoveryCutsTooMuch,
    /// A start gives offsets to new events that old ones have.
    OffsetsReused,
    /// Segments are used again whatever the streams still need.
    RetentionIgnoresCursors,
    /// The cursor record is ahead of what was delivered.
    CursorBeforeDelivery,
    /// Cursor records are never written.
    RecordsUnwritten,
    /// A batch is sent without its cut on record.
    CutsUnrecorded,
    /// A start forgets what was cut.
    CutsForgotten,
    /// What cannot be read is passed over without a word.
    GapsUntold,
    /// Events are given up before the audit event that says so is durable.
    LossesUntold,
    /// Senders are told before their rejects are durable.
    RejectsNotAwaited,
    /// Writers of records are told without anything being written.
    RecordsAnsweredUnwritten,
    /// Rejected lines are not counted.
    RejectsUncounted,
    /// A stream counts an event less than it delivers.
    DeliveryUncounted,
    /// Two events of a batch change places.
    EventsSwapped,
    /// A byte of a batch is another.
    ByteChanged,
    /// A try that failed is never repeated.
    RetriesForgotten,
    /// A stream that hangs holds up the others.
    OneHangsAllHang,
}

impl Mutation {
    /// Each with the promises it may break: what is seen first depends on the run.
    pub(crate) const ALL: [(Self, &'static [&'static str]); 22] = [
        (Self::AckBeforeSync, &["S1"]),
        (Self::PublishedBeforeDurable, &["S1", "S5"]),
        (Self::WrittenBeforeWriting, &["S1"]),
        (Self::FailedWritesTrusted, &["S1"]),
        (Self::SyncsLie, &["S1", "S4", "S6"]),
        (Self::RecoveryCutsTooMuch, &["S1"]),
        (Self::OffsetsReused, &["S1"]),
        (Self::RetentionIgnoresCursors, &["S1"]),
        (Self::CursorBeforeDelivery, &["S1"]),
        (Self::RecordsUnwritten, &["S4"]),
        (Self::CutsUnrecorded, &["S4"]),
        (Self::CutsForgotten, &["S4"]),
        (Self::GapsUntold, &["S1"]),
        (Self::LossesUntold, &["S6"]),
        (Self::RejectsNotAwaited, &["S1"]),
        (Self::RecordsAnsweredUnwritten, &["S6"]),
        (Self::RejectsUncounted, &["S5"]),
        (Self::DeliveryUncounted, &["S5"]),
        (Self::EventsSwapped, &["S3"]),
        (Self::ByteChanged, &["S2"]),
        (Self::RetriesForgotten, &["L1", "L2"]),
        (Self::OneHangsAllHang, &["L2"]),
    ];
}
