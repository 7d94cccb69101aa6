//! An event as a template gets it: its line, labels, receive time and position.
//!
//! Promises: everything a shape writes beside the line comes from here; there is no clock and no randomness.

use core::net::SocketAddr;
use std::sync::Arc;

use uuid::Uuid;

use crate::batch::EventPosition;
use crate::event::Labels;
use crate::position::Timestamp;

use super::json::escape::push_string;
use super::json::{decoded, member, string_span};
use super::time;

/// One event to be rendered.
#[derive(Debug, Clone, Copy)]
pub struct EventAt<'a> {
    /// Its bytes, without a line end.
    pub line: &'a [u8],
    /// Its labels.
    pub labels: &'a Arc<Labels>,
    /// When it was received.
    pub received: Timestamp,
    /// Where it is.
    pub position: EventPosition,
}

impl EventPosition {
    /// UUID version 5 (RFC 9562) of segment id, journal and offset, the numbers big-endian, in a name space of Weir's own.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        let mut name = [0; 26];
        name[..16].copy_from_slice(&self.segment.0);
        name[16..18].copy_from_slice(&self.journal.0.to_be_bytes());
        name[18..].copy_from_slice(&self.offset.0.to_be_bytes());
        Uuid::new_v5(&EVENT_IDS, &name)
    }
}

impl EventAt<'_> {
    /// The event time label, else the receive time.
    pub(super) fn labelled_time(&self) -> Timestamp {
        self.labels.event_time.unwrap_or(self.received)
    }

    /// The event time label, else the event's own `eventTime`, else the receive time.
    pub(super) fn time(&self) -> Timestamp {
        let own = || {
            let value = member(self.line, "eventTime")?;
            time::parse(&decoded(string_span(value)?))
        };
        self.labels.event_time.or_else(own).unwrap_or(self.received)
    }

    /// Address of the peer without the port, when the peer is one.
    pub(super) fn peer_address(&self) -> Option<String> {
        let peer: SocketAddr = self.labels.peer.as_deref()?.parse().ok()?;
        Some(peer.ip().to_canonical().to_string())
    }

    /// The peer when it is no address: a file's path, a topic's partition.
    pub(super) fn peer_place(&self) -> Option<&str> {
        let peer = self.labels.peer.as_deref()?;
        peer.parse::<SocketAddr>().is_err().then_some(peer)
    }

    /// The host label, else the peer's address.
    pub(super) fn host(&self) -> Option<String> {
        let label = self.labels.host.as_deref().map(str::to_owned);
        label.or_else(|| self.peer_address())
    }

    /// Whether there is a tag.
    pub(super) fn has_tags(&self) -> bool {
        self.tags().next().is_some()
    }

    /// Appends the tags as an array of strings.
    pub(super) fn push_tags(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (number, tag) in self.tags().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            push_string(out, tag);
        }
        out.push(b']');
    }

    /// The tags, trimmed; empty ones are none.
    fn tags(&self) -> impl Iterator<Item = &str> {
        let tags = self.labels.tags.as_deref().unwrap_or_default();
        tags.split(',').map(str::trim).filter(|tag| !tag.is_empty())
    }
}

/// Name space of the ids of events: drawn once, never changed.
const EVENT_IDS: Uuid = Uuid::from_u128(0x5f0c_93e1_7d52_4b8e_a1c6_0e94_2b77_d3f8);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{JournalId, Offset, SegmentId};

    #[test]
    fn ids_are_of_version_5_and_differ_with_every_part_of_the_position() {
        let position = EventPosition {
            segment: SegmentId([7; 16]),
            journal: JournalId(1),
            offset: Offset(2),
        };
        let others = [
            EventPosition {
                segment: SegmentId([8; 16]),
                ..position
            },
            EventPosition {
                journal: JournalId(2),
                ..position
            },
            EventPosition {
                offset: Offset(3),
                ..position
            },
        ];
        assert_eq!(position.uuid(), position.uuid());
        assert_eq!(position.uuid().get_version_num(), 5);
        assert_eq!(
            position.uuid().to_string(),
            "b9a81590-e7a9-5d70-8130-eb322dbf2bfd"
        );
        for other in others {
            assert_ne!(position.uuid(), other.uuid());
        }
    }
}
