//! `weir dead-letters ls`: how many letters each stream has, why, and which.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::dead_letters::{check_stream, read, streams};
use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{Form, answer_in};
use crate::cli::text::{self, Cell, Table};
use crate::cli::{CommandError, Verdict};
use crate::journal::letters::{DeadLetter, LetterFindings, LetterId};
use crate::position::Timestamp;

/// Characters of a detail in the table.
const DETAIL_CHARS_MAX: usize = 60;

/// Lists the letters of all streams, or of one.
pub(super) fn ls(dir: &DataDir, form: &Form, named: Option<&str>) -> Result<Verdict, CommandError> {
    if let Some(stream) = named {
        check_stream(dir, stream)?;
    }
    let mut listed = Vec::new();
    for stream in streams(dir)? {
        if named.is_none_or(|named| named == stream) {
            listed.push(Listed::read(dir, stream)?);
        }
    }
    let sound = listed.iter().all(|stream| stream.findings.damaged == 0);
    let json = json!({
        "data_dir": dir.path,
        "streams": listed.iter().map(Listed::to_json).collect::<Vec<_>>(),
    });
    answer_in(form, &json, || match listed.is_empty() {
        true => format!("{}: no dead letters", dir.path.display()),
        false => listed.iter().map(Listed::to_text).collect(),
    })?;
    Ok(Verdict::of(sound))
}

/// A stream with its letters.
struct Listed {
    stream: String,
    letters: Vec<Line>,
    findings: LetterFindings,
}

/// What is shown of a letter.
struct Line {
    id: LetterId,
    received: Timestamp,
    refused: Timestamp,
    reason: String,
    detail: String,
    attempts: u32,
    event_bytes: u64,
}

impl Line {
    fn of(letter: DeadLetter) -> Self {
        Self {
            id: letter.id(),
            received: letter.received,
            refused: letter.refused,
            event_bytes: letter.line.len() as u64,
            reason: letter.reason,
            detail: letter.detail,
            attempts: letter.attempts,
        }
    }
}

impl Listed {
    fn read(dir: &DataDir, stream: String) -> Result<Self, CommandError> {
        let mut letters = Vec::new();
        let findings = read(dir, &stream, &mut |letter| {
            letters.push(Line::of(letter));
            Ok(())
        });
        let what = format!("read the dead letters of {stream}");
        Ok(Self {
            findings: findings.map_err(CommandError::disk(what))?,
            stream,
            letters,
        })
    }

    fn event_bytes(&self) -> u64 {
        self.letters.iter().map(|letter| letter.event_bytes).sum()
    }

    /// How many for each reason.
    fn reasons(&self) -> BTreeMap<&str, u64> {
        let mut reasons = BTreeMap::new();
        for letter in &self.letters {
            *reasons.entry(&*letter.reason).or_default() += 1;
        }
        reasons
    }

    fn to_json(&self) -> Value {
        let letters = self.letters.iter().map(|letter| {
            json!({
                "id": letter.id,
                "received": text::time(letter.received),
                "refused": text::time(letter.refused),
                "reason": letter.reason,
                "detail": letter.detail,
                "attempts": letter.attempts,
                "event_bytes": letter.event_bytes,
            })
        });
        json!({
            "stream": self.stream,
            "count": self.letters.len(),
            "event_bytes": self.event_bytes(),
            "reasons": self.reasons(),
            "damaged": self.findings.damaged,
            "letters": letters.collect::<Vec<_>>(),
        })
    }

    fn to_text(&self) -> String {
        let reasons = self.reasons().into_iter();
        let reasons: Vec<String> = reasons
            .map(|(reason, count)| format!("{count} {}", text::one_line(reason, DETAIL_CHARS_MAX)))
            .collect();
        let mut told = format!(
            "stream {}: {} dead letters, {} of events",
            self.stream,
            self.letters.len(),
            text::bytes(self.event_bytes()),
        );
        if self.letters.is_empty() {
            told.push('\n');
            return told;
        }
        told.push_str(&format!("; {}\n", reasons.join(", ")));
        let mut table = Table::new(&["id", "refused", "reason", ">bytes", "detail"]);
        for letter in &self.letters {
            table.row(vec![
                Cell::word(letter.id),
                Cell::word(text::short_time(Some(letter.refused))),
                Cell::word(text::one_line(&letter.reason, DETAIL_CHARS_MAX)),
                Cell::number(letter.event_bytes),
                Cell::word(text::one_line(&letter.detail, DETAIL_CHARS_MAX)),
            ]);
        }
        told.push_str(&table.show("  "));
        told
    }
}
