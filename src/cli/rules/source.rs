//! Where the events come from that a rule is tried on: a file, standard input, or the journals' last minutes.
//!
//! Owns: which lines are events. Promises: memory does not grow with what is read; nothing of a data directory is taken
//! or changed. Leaves to others: what the rule says of them.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cli::journal::Place;
use crate::cli::journal::data_dir::DataDir;
use crate::cli::rules::labels;
use crate::cli::rules::lines::{Line, Lines};
use crate::cli::{CommandError, Verdict};
use crate::config::units::parse_duration;
use crate::event::Labels;
use crate::filter::Event;
use crate::ingest::validate::Validator;
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::events::{Bound, Events, Piece, Range, read_events};
use crate::position::{JournalId, Timestamp};

/// Arguments that say where events come from.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// Events, one JSON object a line; `-` is standard input.
    #[arg(value_name = "FILE", conflicts_with = "last")]
    file: Option<PathBuf>,
    /// The events of the journals received in this time up to now, for example 10m; also beside a running node.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    last: Option<Duration>,
    /// The data directory that has the journals. Default: ./weir-data.
    // A FILE lifts the demand for --last, which it excludes; so it is named, too.
    #[arg(long, value_name = "DIR", requires = "last", conflicts_with_all = ["file", "labels"])]
    data_dir: Option<PathBuf>,
    /// A label of all events of a file; those of a journal have their own. May be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with = "last")]
    labels: Vec<String>,
}

/// What comes next.
pub(super) enum Found<'a> {
    /// An event.
    Event(Event<'a>),
    /// The next event may have to be waited for.
    Pause,
}

/// Where what is found goes; a break ends the reading.
pub(super) type Take<'a> = &'a mut dyn FnMut(Found<'_>) -> ControlFlow<()>;

/// What was read beside events.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// Lines that are not one JSON object.
    pub(super) malformed: u64,
    /// Place of the first of them, and what is wrong with it.
    pub(super) malformed_first: Option<String>,
    /// Runs of events of the journals that cannot be read; each was told on standard error.
    gaps: u64,
}

impl Remains {
    /// Whether all could be read.
    pub(super) fn verdict(&self) -> Verdict {
        Verdict::of(self.gaps == 0)
    }

    fn malformed(&mut self, what: impl FnOnce() -> String) {
        self.malformed += 1;
        self.malformed_first.get_or_insert_with(what);
    }
}

impl Source {
    /// Whether a source is named.
    pub(super) fn is_given(&self) -> bool {
        self.file.is_some() || self.last.is_some()
    }

    /// Reads all events. Without a source it is standard input. `now` is when the command began, and when events
    /// without a receive time were received; the data directory of `config` is read when no other is named.
    pub(super) fn each(
        &self,
        config: Option<&Path>,
        now: Timestamp,
        take: Take<'_>,
    ) -> Result<Remains, CommandError> {
        if let Some(last) = self.last {
            let micros = i64::try_from(last.as_micros()).unwrap_or(i64::MAX);
            let place = Place {
                config: config.map(Path::to_owned),
                data_dir: self.data_dir.clone(),
            };
            return each_of_journals(&place, Timestamp(now.0.saturating_sub(micros)), take);
        }
        let labels = labels::parse(&self.labels)?;
        let mut reading = Reading::new(take);
        let (name, read) = match &self.file {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::open(path);
                let read = file.and_then(|file| reading.lines(file, &labels, now));
                (path.display().to_string(), read)
            }
            None if io::stdin().is_terminal() => {
                return Err(CommandError::Usage(
                    "no events: name a FILE, - for standard input, or --last 10m for a journal"
                        .to_owned(),
                ));
            }
            _ => {
                let read = reading.lines(io::stdin().lock(), &labels, now);
                ("standard input".to_owned(), read)
            }
        };
        read.map_err(CommandError::disk(format!("read {name}")))?;
        Ok(reading.remains)
    }
}

fn each_of_journals(
    place: &Place,
    from: Timestamp,
    take: Take<'_>,
) -> Result<Remains, CommandError> {
    let dir = DataDir::open(place)?;
    let mut reading = Reading::new(take);
    for place in dir.journals(None)? {
        // The internal journal has what the node says of itself; no rule is asked of it.
        if place.journal != JournalId::INTERNAL && reading.go_on.is_continue() {
            let what = format!("read journal {}", place.journal);
            reading
                .journal(&place, from)
                .map_err(CommandError::disk(what))?;
        }
    }
    Ok(reading.remains)
}

struct Reading<'a> {
    validator: Validator,
    remains: Remains,
    go_on: ControlFlow<()>,
    take: Take<'a>,
}

impl<'a> Reading<'a> {
    fn new(take: Take<'a>) -> Self {
        Self {
            validator: Validator::new(),
            remains: Remains::default(),
            go_on: ControlFlow::Continue(()),
            take,
        }
    }

    fn lines(&mut self, from: impl Read, labels: &Labels, received: Timestamp) -> io::Result<()> {
        let mut lines = Lines::new(from);
        let mut number = 0u64;
        while self.go_on.is_continue() {
            if lines.is_drained() {
                self.go_on = (self.take)(Found::Pause);
            }
            let Some(line) = lines.read()? else { break };
            number += 1;
            match line {
                Line::Whole(line) => {
                    let event = Event {
                        line,
                        labels,
                        received,
                    };
                    self.line(event, || format!("line {number}"));
                }
                Line::TooLong => self
                    .remains
                    .malformed(|| format!("line {number}: longer than 16 MiB")),
            }
        }
        Ok(())
    }

    fn journal(&mut self, place: &JournalPlace, from: Timestamp) -> io::Result<()> {
        let range = Range {
            from: Some(Bound::Time(from)),
            to: None,
        };
        let read = read_events(place, range, &mut |piece| {
            match piece {
                Piece::Events(events) => self.events(place.journal, &events),
                Piece::Gap(gap) => {
                    self.remains.gaps += 1;
                    let journal = place.journal;
                    eprintln!(
                        "weir: events {} of journal {journal} cannot be read: {}",
                        gap.range, gap.why
                    );
                }
            }
            match self.go_on {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(io::Error::other("enough was read")),
            }
        });
        if self.go_on.is_break() { Ok(()) } else { read }
    }

    /// The events of one block that are in the range, each with the labels of its run.
    fn events(&mut self, journal: JournalId, events: &Events<'_>) {
        let mut offset = events.block.block.first;
        let mut lines = events.raw.split_inclusive(|byte| *byte == b'\n');
        for run in events.runs {
            for _ in 0..run.events {
                if (events.range.first..events.range.end).contains(&offset)
                    && self.go_on.is_continue()
                    && let Some(line) = lines.next()
                {
                    let event = Event {
                        line: line.strip_suffix(b"\n").unwrap_or(line),
                        labels: &run.labels,
                        received: run.received,
                    };
                    self.line(event, || format!("event {offset} of journal {journal}"));
                }
                offset = offset.plus(1);
            }
        }
    }

    /// Gives on a line that is an event; notes one that is none. An empty line is nothing, as for a relay's inputs.
    fn line(&mut self, event: Event<'_>, place: impl FnOnce() -> String) {
        if event.line.trim_ascii_start().is_empty() {
            return;
        }
        match self.validator.validate(event.line) {
            Ok(()) => self.go_on = (self.take)(Found::Event(event)),
            Err(error) => self.remains.malformed(|| format!("{}, {error}", place())),
        }
    }
}
