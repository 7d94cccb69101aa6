//! `weir journal export`: events out of a journal, byte for byte.
//!
//! Standard output or a file gets the events and nothing else; what cannot be read is told on
//! standard error and by the exit status. Whole blocks go into gzip as they lie in the journal.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::block::CodecId;
use crate::block::codec::{CompressionLevel, best_codec};
use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{CommandError, Place, Verdict};
use crate::cli::text::{self, Progress};
use crate::event::Labels;
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::events::{Bound, Events, Gap, Piece, Range, read_events};
use crate::position::{JournalId, Offset, Timestamp};
use crate::stream::gzip::{GzipMember, Recompressor};

/// Arguments of the command.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    pub(super) place: Place,
    /// The journal: a number, or `internal` for audit events and rejects. May be left out when
    /// there is one.
    #[arg(long, value_name = "JOURNAL")]
    journal: Option<String>,
    /// First event: an offset, or the time from which it was received (RFC 3339).
    #[arg(long, value_name = "OFFSET|TIME")]
    from: Option<String>,
    /// Where to end, not itself exported: an offset, or a time of receipt.
    #[arg(long, value_name = "OFFSET|TIME")]
    to: Option<String>,
    /// File to write to, which must not be there yet; without it standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = OutputForm::Ndjson)]
    format: OutputForm,
    /// Each event within a JSON object with its offset and labels, and not by itself.
    #[arg(long)]
    json_labels: bool,
}

/// Forms of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    /// One event a line.
    Ndjson,
    /// The same as one gzip member.
    Gzip,
}

/// Exports a range of one journal.
pub(super) fn export(dir: &DataDir, arguments: &Export) -> Result<Verdict, CommandError> {
    let place = the_journal(dir, arguments.journal.as_deref())?;
    let range = Range {
        from: arguments
            .from
            .as_deref()
            .map(|text| bound("--from", text))
            .transpose()?,
        to: arguments
            .to
            .as_deref()
            .map(|text| bound("--to", text))
            .transpose()?,
    };
    let target = open_target(arguments.out.as_ref())?;
    // Told only beside a file: on a terminal events and progress would get in each other's way.
    let mut progress = arguments.out.is_some().then(|| Progress::new("export"));
    let mut output = Output {
        dir,
        journal: place.journal,
        labels: arguments.json_labels,
        form: match arguments.format {
            OutputForm::Ndjson => Encoding::Plain,
            OutputForm::Gzip => Encoding::gzip(),
        },
        target,
        gaps: 0,
        text: Vec::new(),
    };
    let exported = output.begin().and_then(|()| {
        read_events(&place, range, &mut |piece| {
            match piece {
                Piece::Events(events) => {
                    output.events(&events).map_err(on_output)?;
                    if let Some(progress) = &mut progress {
                        progress.add(events.raw.len() as u64);
                    }
                }
                Piece::Gap(gap) => output.gap(&gap),
            }
            Ok(())
        })?;
        output.finish().map_err(on_output)
    });
    drop(progress);
    let what = format!("export journal {}", place.journal);
    ended(exported, output.gaps == 0, &what)
}

/// What the end of an export means: `sound` when all was there to be read. Errors of the output
/// are those that [`on_output`] made.
pub(in crate::cli) fn ended(
    exported: io::Result<()>,
    sound: bool,
    what: &str,
) -> Result<Verdict, CommandError> {
    let Err(error) = exported else {
        return Ok(Verdict::of(sound));
    };
    match error.downcast::<OutputError>() {
        // The reader has seen what it wanted (`| head -1`).
        Ok(OutputError(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Verdict::of(sound))
        }
        Ok(OutputError(error)) => Err(CommandError::Print(error)),
        Err(error) => Err(CommandError::disk(what)(error)),
    }
}

fn the_journal(dir: &DataDir, named: Option<&str>) -> Result<JournalPlace, CommandError> {
    if named.is_none() && dir.card.journals > 1 {
        let journals = dir.card.journals;
        return Err(CommandError::Usage(format!(
            "--journal is missing: there are {journals} journals, 0 to {}, and \"internal\"",
            journals - 1
        )));
    }
    let mut journals = dir.journals(Some(named.unwrap_or("0")))?;
    Ok(journals.remove(0))
}

/// An offset, or a time.
fn bound(key: &str, text: &str) -> Result<Bound, CommandError> {
    if let Ok(offset) = text.parse() {
        return Ok(Bound::Offset(Offset(offset)));
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| Bound::Time(Timestamp(time.as_microsecond())))
        .map_err(|_| {
            CommandError::Usage(format!(
                "{key} {text}: neither an offset nor a time like 2026-01-31T12:00:00Z"
            ))
        })
}

/// Where events go: a file that is made, or standard output.
pub(in crate::cli) fn open_target(out: Option<&PathBuf>) -> Result<Box<dyn Write>, CommandError> {
    let Some(path) = out else {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    };
    let made = File::options().write(true).create_new(true).open(path);
    let file = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CommandError::Usage(format!(
            "--out {}: it is there already; name another, or remove it",
            path.display()
        )),
        _ => CommandError::Usage(format!("--out {}: {error}", path.display())),
    })?;
    Ok(Box::new(BufWriter::new(file)))
}

/// An error of the output, told apart from one of the journal's disk.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OutputError(io::Error);

/// Marks an error as one of the output.
pub(in crate::cli) fn on_output(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), OutputError(error))
}

/// Where events go, and in which form.
struct Output<'a> {
    dir: &'a DataDir,
    journal: JournalId,
    labels: bool,
    form: Encoding,
    target: Box<dyn Write>,
    gaps: u64,
    text: Vec<u8>,
}

enum Encoding {
    Plain,
    Gzip {
        member: GzipMember,
        recompressor: Recompressor,
        run: Vec<u8>,
    },
}

impl Encoding {
    fn gzip() -> Self {
        Self::Gzip {
            member: GzipMember::new(),
            recompressor: Recompressor::new(best_codec(CompressionLevel::FASTEST)),
            run: Vec::new(),
        }
    }
}

impl Output<'_> {
    fn begin(&mut self) -> io::Result<()> {
        match self.form {
            Encoding::Plain => Ok(()),
            Encoding::Gzip { .. } => self
                .target
                .write_all(&GzipMember::header())
                .map_err(on_output),
        }
    }

    fn events(&mut self, events: &Events<'_>) -> io::Result<()> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let raw = if self.labels {
            self.with_labels(events, &mut text);
            &text[..]
        } else {
            events.raw
        };
        match &mut self.form {
            Encoding::Plain => self.target.write_all(raw)?,
            Encoding::Gzip {
                member,
                recompressor,
                run,
            } => {
                let block = &events.block.block;
                if !self.labels && events.is_whole() && block.codec == CodecId::DeflateRun {
                    self.target.write_all(&block.body())?;
                    member.add_run(block.raw_crc32, u64::from(block.raw_len));
                } else {
                    run.clear();
                    recompressor.push(raw, run).map_err(io::Error::other)?;
                    let made = recompressor.finish(run).map_err(io::Error::other)?;
                    self.target.write_all(run)?;
                    member.add_run(made.raw_crc32, made.raw_len);
                }
            }
        }
        self.text = text;
        Ok(())
    }

    fn gap(&mut self, gap: &Gap) {
        self.gaps += 1;
        eprintln!(
            "weir: events {} of journal {} cannot be read: {}",
            gap.range, self.journal, gap.why
        );
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Encoding::Gzip { member, .. } = &mut self.form {
            let end = std::mem::take(member).finish();
            self.target.write_all(&end)?;
        }
        self.target.flush()
    }

    /// `{"offset":…,"received":…,"labels":{…},"event":…}` for each event; its bytes stay.
    fn with_labels(&self, events: &Events<'_>, text: &mut Vec<u8>) {
        let mut offset = events.block.block.first;
        let mut runs = events.runs.iter();
        let mut run = runs.next();
        let mut left = run.map_or(0, |run| run.events);
        let mut lines = events.raw.split_inclusive(|byte| *byte == b'\n');
        while offset < events.range.end {
            while left == 0 && run.is_some() {
                run = runs.next();
                left = run.map_or(0, |run| run.events);
            }
            if offset >= events.range.first
                && let Some(line) = lines.next()
            {
                let received = run.map_or(events.block.header.received_first, |run| run.received);
                let labels = run.map_or_else(|| json!({}), |run| self.labels_json(&run.labels));
                let head = format!(
                    "{{\"offset\":{offset},\"received\":\"{}\",\"labels\":{labels},\"event\":",
                    text::time(received)
                );
                text.extend_from_slice(head.as_bytes());
                text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                text.extend_from_slice(b"}\n");
            }
            left = left.saturating_sub(1);
            offset = offset.plus(1);
        }
    }

    fn labels_json(&self, labels: &Labels) -> Value {
        let mut map = Map::new();
        let input = self.dir.card.inputs.get(&labels.input.0);
        let input = input.map_or_else(|| json!(labels.input.0), |name| json!(name));
        map.insert("input".to_owned(), input);
        let texts = [
            ("application", &labels.application),
            ("subsystem", &labels.subsystem),
            ("host", &labels.host),
            ("level", &labels.level),
            ("env", &labels.env),
            ("tags", &labels.tags),
            ("meta", &labels.meta),
            ("sender", &labels.sender),
            ("peer", &labels.peer),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                map.insert(name.to_owned(), json!(**value));
            }
        }
        if let Some(time) = labels.event_time {
            map.insert("event_time".to_owned(), json!(text::time(time)));
        }
        Value::Object(map)
    }
}
