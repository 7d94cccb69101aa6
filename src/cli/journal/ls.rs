//! `weir journal ls`: what the journals hold, who waits for it, and the room it takes.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{CommandError, Form, Verdict, answer_in};
use crate::cli::text::{self, Cell, Table};
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::cursors::{Cursors, FoundCursor, read_cursors};
use crate::journal::inspect::inventory::{self, ForeignFile, SegmentFile};
use crate::journal::inspect::summary::{SegmentSummary, summarize};
use crate::os::disk::{Disk, OpenMode};
use crate::position::{JournalId, Offset};

/// Lists the journals.
pub(super) fn ls(dir: &DataDir, form: &Form) -> Result<Verdict, CommandError> {
    // Cursors first: then what the journal holds is never behind them.
    let cursors = read_cursors(&*dir.disk, &dir.cursors(), *dir.card.node.as_bytes())
        .map_err(CommandError::disk("read the cursor records"))?;
    let mut journals = Vec::new();
    for place in dir.journals(None)? {
        let what = format!("list journal {}", place.journal);
        journals.push(look(dir, &place, &cursors).map_err(CommandError::disk(what))?);
    }
    let quarantine = Quarantine::look(&*dir.disk, &dir.path.join("quarantine"));
    let json = json!({
        "data_dir": dir.path,
        "node": dir.holder_json(),
        "journals": journals.iter().map(|journal| journal.to_json(dir)).collect::<Vec<_>>(),
        "quarantine": { "files": quarantine.files, "bytes": quarantine.bytes },
        "room_bytes": journals.iter().map(Journal::room_bytes).sum::<u64>() + quarantine.bytes,
    });
    answer_in(form, &json, || to_text(dir, &journals, &quarantine))?;
    Ok(Verdict::Sound)
}

/// A journal as it was found.
struct Journal {
    journal: JournalId,
    segments: Vec<(SegmentFile, SegmentSummary)>,
    spares: (u64, u64),
    foreign: Vec<ForeignFile>,
    cursors: Vec<FoundCursor>,
}

fn look(dir: &DataDir, place: &JournalPlace, cursors: &Cursors) -> std::io::Result<Journal> {
    let found = inventory::inventory(place)?;
    let running = dir.may_be_live();
    let mut segments = Vec::new();
    for (at, segment) in found.segments.iter().enumerate() {
        let mut later = found.segments[at + 1..].iter();
        let next = later.find(|next| next.has_blocks(place).unwrap_or(false));
        match summarize(place, segment, next, running) {
            Ok(summary) => segments.push((segment.clone(), summary)),
            // Retention took it since the list was made.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let of_this = cursors.records.iter();
    let of_this = of_this.filter(|record| record.journal == place.journal);
    Ok(Journal {
        journal: place.journal,
        segments,
        spares: (
            found.spares.len() as u64,
            found.spares.iter().map(|spare| spare.file_bytes).sum(),
        ),
        foreign: found.foreign,
        cursors: of_this.cloned().collect(),
    })
}

impl Journal {
    fn start(&self) -> Offset {
        let oldest = self.segments.first();
        oldest.map_or(Offset(0), |(segment, _)| segment.header.first)
    }

    fn end(&self) -> Offset {
        let ends = self.segments.iter().map(|(_, summary)| summary.end);
        ends.max().unwrap_or_default()
    }

    fn sum(&self, of: impl Fn(&SegmentSummary) -> u64) -> u64 {
        self.segments.iter().map(|(_, summary)| of(summary)).sum()
    }

    fn room_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|(file, _)| file.file_bytes).sum();
        let foreign: u64 = self.foreign.iter().map(|file| file.file_bytes).sum();
        segments + self.spares.1 + foreign
    }

    /// Events behind a cursor, and their raw bytes as the segments' means give them.
    fn lag(&self, cursor: Offset) -> (u64, u64) {
        let mut bytes = 0;
        for (segment, summary) in &self.segments {
            let behind = summary.end.events_since(cursor.max(segment.header.first));
            let share = u128::from(summary.raw_bytes) * u128::from(behind.min(summary.events))
                / u128::from(summary.events.max(1));
            bytes += u64::try_from(share).unwrap_or(u64::MAX);
        }
        (self.end().events_since(cursor), bytes)
    }

    fn to_json(&self, dir: &DataDir) -> Value {
        let segments = self.segments.iter().map(|(file, summary)| {
            json!({
                "sequence": file.header.sequence,
                "file": dir.short(&file.path),
                "id": file.header.segment.to_string(),
                "state": summary.state.to_string(),
                "first": file.header.first.0,
                "end": summary.end.0,
                "events": summary.events,
                "blocks": summary.blocks,
                "raw_bytes": summary.raw_bytes,
                "stored_bytes": summary.stored_bytes,
                "file_bytes": file.file_bytes,
                "received_first": summary.received_first.map(text::time),
                "received_last": summary.received_last.map(text::time),
                "holes": summary.holes,
            })
        });
        let cursors = self.cursors.iter().map(|record| {
            let cursor = record.state.as_ref().map(|state| state.cursor);
            let lag = cursor.map(|cursor| self.lag(cursor));
            json!({
                "stream": record.stream,
                "cursor": cursor.map(|cursor| cursor.0),
                "lag_events": lag.map(|lag| lag.0),
                "lag_bytes": lag.map(|lag| lag.1),
                "damage": record.damage,
            })
        });
        let foreign = self.foreign.iter();
        let foreign = foreign.map(|file| json!({ "file": dir.short(&file.path), "why": file.why }));
        json!({
            "journal": self.journal.to_string(),
            "start": self.start().0,
            "end": self.end().0,
            "events": self.sum(|summary| summary.events),
            "blocks": self.sum(|summary| summary.blocks),
            "raw_bytes": self.sum(|summary| summary.raw_bytes),
            "stored_bytes": self.sum(|summary| summary.stored_bytes),
            "segments": segments.collect::<Vec<_>>(),
            "spares": { "files": self.spares.0, "bytes": self.spares.1 },
            "foreign": foreign.collect::<Vec<_>>(),
            "cursors": cursors.collect::<Vec<_>>(),
            "room_bytes": self.room_bytes(),
        })
    }

    fn to_text(&self, dir: &DataDir) -> String {
        let (raw, stored) = (
            self.sum(|summary| summary.raw_bytes),
            self.sum(|summary| summary.stored_bytes),
        );
        let mut told = format!(
            "journal {}: offsets {}..{}, {} events, {} raw in {} ({}x); {} on disk\n",
            self.journal,
            self.start(),
            self.end(),
            self.sum(|summary| summary.events),
            text::bytes(raw),
            text::bytes(stored),
            text::ratio(raw, stored),
            text::bytes(self.room_bytes()),
        );
        if !self.segments.is_empty() {
            told.push_str(&self.segment_table().show("  "));
        }
        let (spares, spare_bytes) = self.spares;
        if spares > 0 {
            told.push_str(&format!(
                "  {spares} spares, {}\n",
                text::bytes(spare_bytes)
            ));
        }
        for file in &self.foreign {
            let path = dir.short(&file.path).display();
            told.push_str(&format!("  {path}: {}\n", file.why));
        }
        if !self.cursors.is_empty() {
            told.push_str(&self.cursor_table().show("  "));
        }
        told
    }

    fn segment_table(&self) -> Table {
        let mut table = Table::new(&[
            ">sequence",
            ">first",
            ">events",
            ">blocks",
            ">raw",
            ">stored",
            ">ratio",
            "received from",
            "to",
            "state",
        ]);
        for (file, summary) in &self.segments {
            let state = match summary.holes {
                0 => summary.state.to_string(),
                holes => format!("{}, damaged in {holes} places", summary.state),
            };
            table.row(vec![
                Cell::number(file.header.sequence),
                Cell::number(file.header.first),
                Cell::number(summary.events),
                Cell::number(summary.blocks),
                Cell::number(text::bytes(summary.raw_bytes)),
                Cell::number(text::bytes(summary.stored_bytes)),
                Cell::number(text::ratio(summary.raw_bytes, summary.stored_bytes)),
                Cell::word(text::short_time(summary.received_first)),
                Cell::word(text::short_time(summary.received_last)),
                Cell::word(state),
            ]);
        }
        table
    }

    fn cursor_table(&self) -> Table {
        let mut table = Table::new(&["stream", ">cursor", ">lag", ">lag, raw", "record"]);
        for record in &self.cursors {
            let cursor = record.state.as_ref().map(|state| state.cursor);
            let lag = cursor.map(|cursor| self.lag(cursor));
            let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
            table.row(vec![
                Cell::word(&record.stream),
                Cell::number(or_dash(cursor.map(|cursor| cursor.to_string()))),
                Cell::number(or_dash(lag.map(|lag| lag.0.to_string()))),
                Cell::number(or_dash(lag.map(|lag| text::bytes(lag.1)))),
                Cell::word(record.damage.as_deref().unwrap_or("")),
            ]);
        }
        table
    }
}

/// What was set aside.
struct Quarantine {
    files: u64,
    bytes: u64,
}

impl Quarantine {
    /// Counts the files of the directory and of those in it; what cannot be read counts nothing.
    fn look(disk: &dyn Disk, dir: &Path) -> Self {
        let mut found = Self { files: 0, bytes: 0 };
        let mode = OpenMode {
            write: false,
            create: false,
            direct: false,
        };
        for name in disk.list(dir).unwrap_or_default() {
            let path = dir.join(name);
            if path.is_dir() {
                let below = Self::look(disk, &path);
                found.files += below.files;
                found.bytes += below.bytes;
            } else if let Ok(bytes) = disk.open(&path, mode).and_then(|file| file.len()) {
                found.files += 1;
                found.bytes += bytes;
            }
        }
        found
    }
}

fn to_text(dir: &DataDir, journals: &[Journal], quarantine: &Quarantine) -> String {
    let mut told = format!(
        "{}: node {}, {}\n",
        dir.path.display(),
        dir.card.node,
        dir.holder_told()
    );
    for journal in journals {
        told.push('\n');
        told.push_str(&journal.to_text(dir));
    }
    if quarantine.files > 0 {
        let (files, bytes) = (quarantine.files, text::bytes(quarantine.bytes));
        told.push_str(&format!("\nquarantine: {files} files, {bytes}\n"));
    }
    told
}
