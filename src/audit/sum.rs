//! Sums: like notices added up into what one audit event says.
//!
//! Notices are alike when action, target, reason and outcome are. Every list in a sum is
//! bounded; what a list has no room for is counted, never forgotten. Pure.

use std::collections::BTreeMap;

use crate::audit::{Action, Fact, Notice, Outcome};
use crate::position::{JournalId, OffsetRange};

/// Sums kept apart; what comes above goes to the target [`OTHER`].
pub const SUMS_MAX: usize = 512;

/// The target of what has no sum of its own.
pub const OTHER: &str = "other";

/// Ranges named in a sum; further ones are counted.
pub const RANGES_MAX: usize = 20;

/// Reasons in words kept in a sum; further ones are counted.
pub const DETAILS_MAX: usize = 5;

/// Longest reason in words.
const DETAIL_BYTES_MAX: usize = 512;

/// Peers counted apart while a sum grows. Above it the one with the fewest events makes room,
/// so what an event says of one peer is then the least it sent.
pub const PEERS_MAX: usize = 256;

/// Facts kept in a sum.
const FACTS_MAX: usize = 16;

/// What like notices have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What was done.
    pub action: Action,
    /// What it was done to.
    pub target: Box<str>,
    /// Why.
    pub reason: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

impl Key {
    /// The key of a notice.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        Self {
            action: notice.action,
            target: notice.target.clone(),
            reason: notice.reason,
            outcome: notice.outcome,
        }
    }

    /// The key of the same with any target.
    #[must_use]
    pub fn other(&self) -> Self {
        Self {
            target: OTHER.into(),
            ..self.clone()
        }
    }
}

/// Like notices, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// What they have in common.
    pub key: Key,
    /// Notices.
    pub count: u64,
    /// Events they are about.
    pub events: u64,
    /// Bytes they are about.
    pub bytes: u64,
    /// Where the events are.
    pub ranges: Vec<SummedRange>,
    /// Ranges that are not named.
    pub ranges_omitted: u64,
    /// Who sent them.
    pub peers: Peers,
    /// The reasons in words, each once.
    pub details: Vec<Box<str>>,
    /// Notices whose words are not among them.
    pub details_omitted: u64,
    /// What else is known; of several values the latest.
    pub facts: Vec<(&'static str, Fact)>,
}

/// A range of offsets, with the hash chain before and after it when it was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SummedRange {
    /// The journal.
    pub journal: JournalId,
    /// The offsets.
    pub range: OffsetRange,
    /// The chain before and behind it.
    pub heads: Option<[[u8; 32]; 2]>,
}

impl Sum {
    /// A sum of one notice.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        let mut sum = Self::empty(Key::of(notice));
        sum.add(notice);
        sum
    }

    fn empty(key: Key) -> Self {
        Self {
            key,
            count: 0,
            events: 0,
            bytes: 0,
            ranges: Vec::new(),
            ranges_omitted: 0,
            peers: Peers::default(),
            details: Vec::new(),
            details_omitted: 0,
            facts: Vec::new(),
        }
    }

    /// Adds a notice; its key is not looked at.
    pub fn add(&mut self, notice: &Notice) {
        self.count = self.count.saturating_add(1);
        self.events = self.events.saturating_add(notice.events);
        self.bytes = self.bytes.saturating_add(notice.bytes);
        // A head without events stands at an offset of its own.
        if let Some((journal, range)) = notice.range {
            self.add_range(SummedRange {
                journal,
                range,
                heads: notice.heads,
            });
        }
        match &notice.peer {
            Some(peer) => self.peers.add(peer, notice.events, notice.bytes),
            // What came from more senders than a block keeps apart is one of the others'.
            None if notice.action == Action::LineReject => self.peers.others.add(PeerCount {
                events: notice.events,
                bytes: notice.bytes,
            }),
            None => {}
        }
        self.add_detail(&notice.detail);
        for (name, fact) in &notice.facts {
            self.add_fact(name, fact);
        }
    }

    /// Adds another sum; its key is not looked at. What it says of one of a kind holds where
    /// this one says nothing.
    pub fn merge(&mut self, later: Self) {
        self.count = self.count.saturating_add(later.count);
        self.events = self.events.saturating_add(later.events);
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.ranges_omitted = self.ranges_omitted.saturating_add(later.ranges_omitted);
        for range in later.ranges {
            self.add_range(range);
        }
        self.peers.merge(later.peers);
        self.details_omitted = self.details_omitted.saturating_add(later.details_omitted);
        for detail in later.details {
            self.add_detail(&detail);
        }
        for (name, fact) in later.facts {
            self.add_fact(name, &fact);
        }
    }

    /// Ranges that stand one behind the other become one.
    fn add_range(&mut self, added: SummedRange) {
        let before = self.ranges.iter_mut().find(|known| {
            known.journal == added.journal
                && known.range.end == added.range.first
                && known.heads.is_some() == added.heads.is_some()
        });
        if let Some(before) = before {
            before.range.end = added.range.end;
            if let (Some([_, end]), Some([_, added_end])) = (&mut before.heads, added.heads) {
                *end = added_end;
            }
        } else if self.ranges.len() < RANGES_MAX {
            self.ranges.push(added);
        } else {
            self.ranges_omitted = self.ranges_omitted.saturating_add(1);
        }
    }

    fn add_detail(&mut self, detail: &str) {
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)];
        if detail.is_empty() || self.details.iter().any(|known| &**known == detail) {
            return;
        }
        if self.details.len() < DETAILS_MAX {
            self.details.push(detail.into());
        } else {
            self.details_omitted = self.details_omitted.saturating_add(1);
        }
    }

    fn add_fact(&mut self, name: &'static str, fact: &Fact) {
        let at = self.facts.iter().position(|(known, _)| *known == name);
        match at {
            Some(at) => self.facts[at].1 = fact.clone(),
            None if self.facts.len() < FACTS_MAX => self.facts.push((name, fact.clone())),
            None => {}
        }
    }
}

/// What a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCount {
    /// Events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl PeerCount {
    fn add(&mut self, added: Self) {
        self.events = self.events.saturating_add(added.events);
        self.bytes = self.bytes.saturating_add(added.bytes);
    }
}

/// Who sent how much: at most [`PEERS_MAX`] apart, and the sum of all others. Together they
/// are all that was added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peers {
    known: BTreeMap<Box<str>, PeerCount>,
    others: PeerCount,
}

impl Peers {
    /// Adds what a peer sent.
    pub fn add(&mut self, peer: &str, events: u64, bytes: u64) {
        self.add_count(peer.into(), PeerCount { events, bytes });
    }

    /// Those that sent most, at most so many, most first, and all others together.
    #[must_use]
    pub fn top(&self, peers_max: usize) -> (Vec<(&str, PeerCount)>, PeerCount) {
        let mut all: Vec<_> = self
            .known
            .iter()
            .map(|(peer, count)| (&**peer, *count))
            .collect();
        // Of equals the one that comes first by name, so that the same sum gives the same list.
        all.sort_by_key(|(_, count)| std::cmp::Reverse((count.events, count.bytes)));
        let mut others = self.others;
        for (_, count) in all.iter().skip(peers_max) {
            others.add(*count);
        }
        all.truncate(peers_max);
        (all, others)
    }

    fn merge(&mut self, added: Self) {
        self.others.add(added.others);
        for (peer, count) in added.known {
            self.add_count(peer, count);
        }
    }

    fn add_count(&mut self, peer: Box<str>, added: PeerCount) {
        if let Some(count) = self.known.get_mut(&peer) {
            count.add(added);
            return;
        }
        if self.known.len() >= PEERS_MAX {
            let least = self.known.iter().min_by_key(|(_, count)| count.events);
            let least = least.map(|(peer, _)| peer.clone());
            let least = least.and_then(|peer| self.known.remove(&peer));
            self.others.add(least.unwrap_or_default());
        }
        self.known.insert(peer, added);
    }
}

/// Sums by key, at most [`SUMS_MAX`] with a target of their own.
#[derive(Debug, Default)]
pub struct Sums {
    sums: BTreeMap<Key, Sum>,
}

impl Sums {
    /// Adds a notice to the sum of its like.
    pub fn add(&mut self, notice: &Notice) {
        let mut key = Key::of(notice);
        if self.sums.len() >= SUMS_MAX && !self.sums.contains_key(&key) {
            // Actions, reasons and outcomes are closed lists: these sums are few.
            key = key.other();
        }
        let known = self.sums.entry(key.clone());
        known.or_insert_with(|| Sum::empty(key)).add(notice);
    }

    /// Takes all sums out.
    pub fn take(&mut self) -> Vec<Sum> {
        std::mem::take(&mut self.sums).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Offset;

    fn range(first: u64, end: u64) -> OffsetRange {
        OffsetRange {
            first: Offset(first),
            end: Offset(end),
        }
    }

    fn discard(first: u64, end: u64) -> Notice {
        Notice::new(Action::EventDiscard, "siem", "missing").range(JournalId(0), range(first, end))
    }

    #[test]
    fn ranges_one_behind_the_other_are_one_and_further_ones_are_counted() {
        let mut sum = Sum::of(&discard(0, 10).heads([1; 32], [2; 32]));
        sum.add(&discard(10, 30).heads([2; 32], [3; 32]));
        assert_eq!(
            sum.ranges,
            vec![SummedRange {
                journal: JournalId(0),
                range: range(0, 30),
                heads: Some([[1; 32], [3; 32]]),
            }]
        );
        for number in 0..RANGES_MAX as u64 + 4 {
            sum.add(&discard(100 + number * 10, 105 + number * 10));
        }
        assert_eq!(sum.ranges.len(), RANGES_MAX);
        assert_eq!(sum.ranges_omitted, 5);
        assert_eq!(sum.events, 30 + 5 * (RANGES_MAX as u64 + 4));
    }

    #[test]
    fn a_loud_peer_is_found_among_thousands_of_quiet_ones_and_nothing_is_lost() {
        let mut peers = Peers::default();
        for number in 0..5_000_u64 {
            peers.add(&format!("10.0.{}.{}", number / 250, number % 250), 1, 10);
            peers.add("192.0.2.1", 3, 30);
        }
        let (top, others) = peers.top(20);
        assert_eq!(top.len(), 20);
        assert_eq!(top[0].0, "192.0.2.1");
        assert_eq!(top[0].1.events, 15_000);
        let named: u64 = top.iter().map(|(_, count)| count.events).sum();
        assert_eq!(named + others.events, 20_000);
    }

    #[test]
    fn words_are_kept_once_and_cut_at_a_character() {
        let long = "é".repeat(DETAIL_BYTES_MAX);
        let mut sum = Sum::of(&discard(0, 1).detail(&*long));
        sum.add(&discard(1, 2).detail(&*long));
        assert_eq!(sum.details.len(), 1);
        assert_eq!(sum.details[0].len(), DETAIL_BYTES_MAX);
        for number in 0..DETAILS_MAX {
            sum.add(&discard(9, 10).detail(format!("file {number}")));
        }
        assert_eq!(sum.details.len(), DETAILS_MAX);
        assert_eq!(sum.details_omitted, 1);
    }

    #[test]
    fn targets_without_number_are_summed_as_other() {
        let mut sums = Sums::default();
        for number in 0..2 * SUMS_MAX {
            sums.add(&Notice::new(Action::FileQuarantine, format!("f{number}"), "alien").events(1));
        }
        let sums = sums.take();
        assert_eq!(sums.len(), SUMS_MAX + 1);
        let other = sums.iter().find(|sum| &*sum.key.target == OTHER);
        assert_eq!(other.map(|sum| sum.events), Some(SUMS_MAX as u64));
    }
}
