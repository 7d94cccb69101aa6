//! What rules cost: events held in memory, judged again and again; the fastest pass counts.
//!
//! Owns: the events held, and the timing. A pass judges every event as the relay does, so it is the rules' own cost:
//! nothing is read, inflated or written meanwhile. Leaves to others: where the events come from.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::CommandError;
use crate::cli::rules::source::{Found, Remains, Source};
use crate::event::{LabelRun, Labels};
use crate::filter::exclusions::Exclusions;
use crate::filter::selection::{BlockJudge, Keep, Selections};
use crate::filter::{Evaluator, Event};
use crate::ingest::validate::Validator;
use crate::position::Timestamp;

/// Bytes of events that are held.
pub(super) const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Passes of one measurement: at least so many, and then until the time is over.
const PASSES_MIN: u32 = 3;
const PASSES_MAX: u32 = 100;
const MEASURE_FOR: Duration = Duration::from_millis(500);

/// Events in memory, as a block has them.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Each event and one `\n`.
    raw: Vec<u8>,
    runs: Vec<LabelRun>,
    pub(super) events: u64,
    /// There were more than there is room for.
    pub(super) is_cut: bool,
}

impl Held {
    /// Takes events of a source, as many as there is room for.
    pub(super) fn read(
        source: &Source,
        config: Option<&Path>,
        now: Timestamp,
    ) -> Result<(Self, Remains), CommandError> {
        let mut held = Self::default();
        let remains = source.each(config, now, &mut |found| match found {
            Found::Event(event) => held.add(event),
            Found::Pause => ControlFlow::Continue(()),
        })?;
        Ok((held, remains))
    }

    fn add(&mut self, event: Event<'_>) -> ControlFlow<()> {
        const RUN_BYTES: usize = size_of::<LabelRun>() + size_of::<Labels>();
        let bytes = self.raw.len() + self.runs.len() * RUN_BYTES;
        if bytes + event.line.len() + 1 > HELD_BYTES_MAX {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        self.raw.extend_from_slice(event.line);
        self.raw.push(b'\n');
        self.events += 1;
        let before = self.runs.last_mut();
        let same = before.filter(|run| *run.labels == *event.labels);
        match same {
            Some(run) if run.received == event.received => run.events += 1,
            same => {
                let labels = same.map(|run| Arc::clone(&run.labels));
                self.runs.push(LabelRun {
                    events: 1,
                    labels: labels.unwrap_or_else(|| Arc::new(event.labels.clone())),
                    received: event.received,
                });
            }
        }
        ControlFlow::Continue(())
    }

    /// Bytes of the events, without line ends.
    pub(super) fn bytes(&self) -> u64 {
        self.raw.len() as u64 - self.events
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.raw[..];
        std::iter::from_fn(move || {
            let end = memchr::memchr(b'\n', rest)?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            Some(line)
        })
    }

    /// Time of one pass that only finds the lines and validates them.
    pub(super) fn validation(&self) -> Duration {
        let validator = Validator::new();
        fastest(|| {
            for line in self.lines() {
                // What it says was known when the event was taken; it is the time that is wanted.
                black_box(validator.validate(black_box(line)).is_ok());
            }
        })
    }

    /// Time of one pass that asks each event which exclusion rule drops it.
    pub(super) fn exclusions(&self, rules: &Exclusions) -> Duration {
        let mut evaluator = Evaluator::new();
        fastest(|| {
            let mut lines = self.lines();
            for run in &self.runs {
                for line in lines.by_ref().take(run.events as usize) {
                    let event = Event {
                        line,
                        labels: &run.labels,
                        received: run.received,
                    };
                    black_box(rules.first_match(&mut evaluator, event));
                }
            }
        })
    }

    /// Time of one pass that asks all selections which events they take.
    pub(super) fn selections(&self, selections: &Selections) -> Duration {
        let mut judge = BlockJudge::default();
        fastest(|| {
            black_box(judge.judge(selections, &self.raw, &self.runs, Keep::Nothing));
        })
    }
}

fn fastest(mut pass: impl FnMut()) -> Duration {
    let begun = Instant::now();
    let (mut passes, mut fastest) = (0, Duration::MAX);
    while passes < PASSES_MIN || (passes < PASSES_MAX && begun.elapsed() < MEASURE_FOR) {
        let start = Instant::now();
        pass();
        fastest = fastest.min(start.elapsed());
        passes += 1;
    }
    fastest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::InputId;

    #[test]
    fn events_are_held_with_their_labels_until_the_room_is_full() {
        let mut held = Held::default();
        let mut labels = Labels::of_input(InputId(0));
        let mut add = |line: &str, labels: &Labels, received| {
            let event = Event {
                line: line.as_bytes(),
                labels,
                received: Timestamp(received),
            };
            held.add(event).is_continue()
        };
        assert!(add("{\"a\":1}", &labels, 1));
        assert!(add("{}", &labels, 1));
        assert!(add("{}", &labels, 2));
        labels.host = Some("h".into());
        assert!(add("{\"a\":2}", &labels, 2));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(HELD_BYTES_MAX));
        assert!(!add(&large, &labels, 2));
        assert!(held.is_cut);
        let runs: Vec<_> = held
            .runs
            .iter()
            .map(|run| (run.events, run.received.0, run.labels.host.as_deref()))
            .collect();
        assert_eq!(runs, [(2, 1, None), (1, 2, None), (1, 2, Some("h"))]);
        assert!(Arc::ptr_eq(&held.runs[0].labels, &held.runs[1].labels));
        let lines: Vec<_> = held.lines().collect();
        assert_eq!(lines, [&b"{\"a\":1}"[..], b"{}", b"{}", b"{\"a\":2}"]);
        assert_eq!((held.events, held.bytes()), (4, 18));
    }
}
