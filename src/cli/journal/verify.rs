//! `weir journal verify`: the hash chain, told.

use serde_json::{Value, json};

use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{CommandError, Form, Verdict, answer_in};
use crate::cli::text::{self, Progress};
use crate::journal::inspect::anchor::{Anchor, AnchorOutcome};
use crate::journal::inspect::chain::{self, Break, Hash, Head, RecordKind, Start, Verified};
use crate::journal::inspect::records::read_records;
use crate::position::JournalId;

/// Verifies the journals asked for against the anchors given.
pub(super) fn verify(
    dir: &DataDir,
    form: &Form,
    journal: Option<&str>,
    anchors: &[String],
) -> Result<Verdict, CommandError> {
    let anchors = anchors
        .iter()
        .map(|text| read_anchor(dir, journal, text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut progress = Progress::new("verify");
    let mut all = Vec::new();
    for place in dir.journals(journal)? {
        let of_this = anchors.iter().filter(|(of, _)| *of == place.journal);
        let of_this: Vec<Anchor> = of_this.map(|(_, anchor)| *anchor).collect();
        let records = || read_records(&place);
        let what = format!("verify journal {}", place.journal);
        let verified = chain::verify(&place, &records, &of_this, &mut |bytes| progress.add(bytes))
            .map_err(CommandError::disk(what))?;
        all.push((place.journal, verified));
    }
    drop(progress);
    let holds = all.iter().all(|(_, verified)| verified.holds());
    let journals: Vec<Value> = all
        .iter()
        .map(|(journal, verified)| to_json(dir, *journal, verified))
        .collect();
    let json = json!({ "holds": holds, "node": dir.holder_json(), "journals": journals });
    answer_in(form, &json, || {
        let told = all
            .iter()
            .map(|(journal, verified)| to_text(dir, *journal, verified));
        told.collect::<Vec<_>>().join("\n")
    })?;
    Ok(Verdict::of(holds))
}

/// An anchor of the command line, and the journal it is of.
fn read_anchor(
    dir: &DataDir,
    journal: Option<&str>,
    text: &str,
) -> Result<(JournalId, Anchor), CommandError> {
    let usage = |why: String| CommandError::Usage(format!("--anchor {text}: {why}"));
    let (named, anchor) = match text.split_once('/') {
        Some((named, anchor)) => (Some(named), anchor),
        None => (journal, text),
    };
    let anchor = anchor
        .parse::<Anchor>()
        .map_err(|error| usage(error.to_string()))?;
    let of = match named {
        Some(named) => match &dir.journals(Some(named))?[..] {
            [one, ..] => one.journal,
            [] => return Err(usage(format!("there is no journal {named}"))),
        },
        None if dir.card.journals == 1 => JournalId(0),
        None => {
            let journals = dir.card.journals;
            let why = format!("there are {journals} journals: say which, as JOURNAL/OFFSET:HASH");
            return Err(usage(why));
        }
    };
    if journal.is_some_and(|journal| journal != of.to_string()) {
        return Err(usage(format!(
            "it is of journal {of}, which is not asked for"
        )));
    }
    Ok((of, anchor))
}

// === For programs ===

fn to_json(dir: &DataDir, journal: JournalId, verified: &Verified) -> Value {
    let (start, at) = match verified.start {
        Start::Empty => ("empty", None),
        Start::Beginning => ("beginning", None),
        Start::Recorded(head) => ("recorded", Some(head)),
        Start::NotAnchored(head) => ("not_anchored", Some(head)),
    };
    let breaks: Vec<Value> = verified
        .breaks
        .iter()
        .map(|broken| break_json(dir, broken))
        .collect();
    let anchors = verified.anchors.iter().map(|(anchor, outcome)| {
        json!({
            "offset": anchor.0.offset.0,
            "hash": Hash(&anchor.0.hash).to_string(),
            "outcome": outcome_word(*outcome),
        })
    });
    let explained = verified.explained.iter().map(|record| {
        json!({
            "by": record_word(record.kind),
            "first": record.range.first.0,
            "end": record.range.end.0,
        })
    });
    json!({
        "journal": journal.to_string(),
        "holds": verified.holds(),
        "start": { "kind": start, "head": at.map(head_json) },
        "head": verified.head.map(head_json),
        "segments": verified.segments,
        "blocks": verified.blocks,
        "events": verified.events,
        "raw_bytes": verified.raw_bytes,
        "stored_bytes": verified.stored_bytes,
        "superseded_blocks": verified.superseded,
        "taken_meanwhile": verified.taken_meanwhile,
        "breaks_total": verified.breaks_total,
        "breaks": breaks,
        "explained": explained.collect::<Vec<_>>(),
        "anchors": anchors.collect::<Vec<_>>(),
    })
}

fn head_json(head: Head) -> Value {
    json!({ "offset": head.offset.0, "hash": Hash(&head.hash).to_string() })
}

fn break_json(dir: &DataDir, broken: &Break) -> Value {
    json!({
        "kind": broken.kind.to_string(),
        "file": dir.short(&broken.path),
        "position": broken.position,
        "first": broken.range.first.0,
        "end": broken.range.end.0,
        "why": broken.why,
    })
}

fn outcome_word(outcome: AnchorOutcome) -> &'static str {
    match outcome {
        AnchorOutcome::Holds => "holds",
        AnchorOutcome::Differs => "differs",
        AnchorOutcome::NoBlockEnds => "no_block_ends",
        AnchorOutcome::BehindEnd => "behind_end",
        AnchorOutcome::BelowStart => "below_start",
        AnchorOutcome::Recorded => "recorded",
    }
}

fn record_word(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Retention => "retention",
        RecordKind::Quarantine => "quarantine",
        RecordKind::Repair => "repair",
    }
}

// === For people ===

fn to_text(dir: &DataDir, journal: JournalId, verified: &Verified) -> String {
    let mut lines = Vec::new();
    let Some(head) = verified.head else {
        let mut lines = vec![format!("journal {journal}: empty")];
        lines.extend(verified.breaks.iter().map(|broken| break_text(dir, broken)));
        lines.extend(anchor_lines(verified));
        return lines.join("\n") + "\n";
    };
    let verdict = match verified.breaks_total {
        0 => "the chain holds".to_owned(),
        1 => "the chain is broken in 1 place".to_owned(),
        breaks => format!("the chain is broken in {breaks} places"),
    };
    lines.push(format!("journal {journal}: {verdict}"));
    lines.push(format!("  head     {}:{}", head.offset, Hash(&head.hash)));
    lines.push(format!("  from     {}", start_text(verified.start)));
    lines.push(format!(
        "  read     {} events in {} blocks of {} segments, {} stored, {} raw",
        verified.events,
        verified.blocks,
        verified.segments,
        text::bytes(verified.stored_bytes),
        text::bytes(verified.raw_bytes),
    ));
    if verified.superseded > 0 {
        lines.push(format!(
            "  passed   {} blocks of segments that were given up after a failed write",
            verified.superseded
        ));
    }
    if verified.taken_meanwhile > 0 {
        lines.push(format!(
            "  passed   {} segments that retention took meanwhile",
            verified.taken_meanwhile
        ));
    }
    for record in &verified.explained {
        let (kind, range) = (record_word(record.kind), record.range);
        lines.push(format!("  missing  events {range}: recorded by {kind}"));
    }
    lines.extend(verified.breaks.iter().map(|broken| break_text(dir, broken)));
    let more = verified
        .breaks_total
        .saturating_sub(verified.breaks.len() as u64);
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.extend(anchor_lines(verified));
    lines.join("\n") + "\n"
}

fn start_text(start: Start) -> String {
    match start {
        Start::Empty => "nothing".to_owned(),
        Start::Beginning => "the first block that ever was".to_owned(),
        Start::Recorded(head) => {
            format!(
                "offset {}, where retention recorded that it took what came before",
                head.offset
            )
        }
        Start::NotAnchored(head) => format!(
            "offset {}, not anchored: no record says what came before, only the oldest segment itself",
            head.offset
        ),
    }
}

fn break_text(dir: &DataDir, broken: &Break) -> String {
    let place = text::place(dir.short(&broken.path), Some(broken.position));
    let events = match broken.range.is_empty() {
        true => format!("offset {}", broken.range.first),
        false => format!("events {}", broken.range),
    };
    format!(
        "  BROKEN   {place}, {events}: {}\n           {}",
        broken.kind, broken.why
    )
}

fn anchor_lines(verified: &Verified) -> Vec<String> {
    let line = |(anchor, outcome): &(Anchor, AnchorOutcome)| {
        let told = match outcome {
            AnchorOutcome::Holds => "holds",
            AnchorOutcome::Differs => {
                "DIFFERS: the block that ends there, or one before it, is not as it was"
            }
            AnchorOutcome::NoBlockEnds => {
                "DIFFERS: no block ends there; the journal is not as it was"
            }
            AnchorOutcome::BehindEnd => "REMOVED: the journal ends before it",
            AnchorOutcome::BelowStart => "removed by retention, cannot be checked",
            AnchorOutcome::Recorded => "removed with a record, cannot be checked",
        };
        format!(
            "  anchor   {}:{}… {told}",
            anchor.0.offset,
            &Hash(&anchor.0.hash).to_string()[..12]
        )
    };
    verified.anchors.iter().map(line).collect()
}
