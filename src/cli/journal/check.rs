//! `weir journal check`: everything on disk against the rules of its format, told.

use serde_json::{Value, json};

use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{CommandError, Form, Place, Verdict, answer_in};
use crate::cli::text::{self, Progress};
use crate::journal::inspect::check::{self, Checked, Finding, foreign_file};
use crate::journal::inspect::cursors::read_cursors;
use crate::journal::recovery::Finding as RecoveryFinding;
use crate::position::JournalId;

/// Checks the journals asked for, the cursor records and the node's file.
pub(super) fn check(
    place: &Place,
    form: &Form,
    journal: Option<&str>,
    deep: bool,
) -> Result<Verdict, CommandError> {
    let dir = DataDir::open(place)?;
    let read = || {
        read_cursors(&*dir.disk, &dir.cursors(), *dir.card.node.as_bytes())
            .map_err(CommandError::disk("read the cursor records"))
    };
    let before = read()?;
    let mut progress = Progress::new("check");
    let mut all = Vec::new();
    for place in dir.journals(journal)? {
        let what = format!("check journal {}", place.journal);
        let checked = check::check(&place, deep, &mut |bytes| progress.add(bytes))
            .map_err(CommandError::disk(what))?;
        all.push((place.journal, checked));
    }
    drop(progress);
    let cursors = read()?;
    for (journal, checked) in &mut all {
        check::check_cursors(&before, &cursors, *journal, checked);
    }
    let mut others = Checked::default();
    if journal.is_none() {
        for told in dir.card.findings.iter().filter_map(node_file) {
            others.find(told);
        }
        for path in &cursors.foreign {
            let rule = "the cursors' directory holds cursor records";
            others.find(foreign_file(path, rule));
        }
        let known = |journal: JournalId| all.iter().any(|(of, _)| *of == journal);
        for record in cursors
            .records
            .iter()
            .filter(|record| !known(record.journal))
        {
            let rule = "a cursor record is of a journal the node has";
            others.find(foreign_file(&record.path, rule));
        }
    }
    let findings = all.iter().map(|(_, checked)| checked).chain([&others]);
    let total: u64 = findings.map(|checked| checked.findings_total).sum();
    let journals: Vec<Value> = all
        .iter()
        .map(|(journal, checked)| to_json(&dir, *journal, checked))
        .collect();
    let json = json!({
        "sound": total == 0,
        "deep": deep,
        "node": dir.holder_json(),
        "journals": journals,
        "others": others.findings.iter().map(|finding| finding_json(&dir, finding)).collect::<Vec<_>>(),
    });
    answer_in(form, &json, || {
        let mut told = String::new();
        for (journal, checked) in &all {
            told.push_str(&to_text(&dir, *journal, checked, deep));
        }
        for finding in &others.findings {
            told.push_str(&finding_text(&dir, finding));
        }
        told
    })?;
    Ok(Verdict::of(total == 0))
}

/// The node file, as far as it does not hold.
fn node_file(told: &RecoveryFinding) -> Option<Finding> {
    let RecoveryFinding::NodeFile { path, what } = told else {
        return None;
    };
    Some(Finding {
        path: path.clone(),
        position: None,
        range: None,
        value: what.clone(),
        rule: "the node file is there twice and holds".to_owned(),
        advice: "weir journal repair, or the next start, does what is said here".to_owned(),
    })
}

fn to_json(dir: &DataDir, journal: JournalId, checked: &Checked) -> Value {
    let findings = checked
        .findings
        .iter()
        .map(|finding| finding_json(dir, finding));
    json!({
        "journal": journal.to_string(),
        "segments": checked.segments,
        "blocks": checked.blocks,
        "events": checked.events,
        "stored_bytes": checked.stored_bytes,
        "start": checked.held.first.0,
        "end": checked.held.end.0,
        "findings_total": checked.findings_total,
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn finding_json(dir: &DataDir, finding: &Finding) -> Value {
    json!({
        "file": dir.short(&finding.path),
        "position": finding.position,
        "first": finding.range.map(|range| range.first.0),
        "end": finding.range.map(|range| range.end.0),
        "value": finding.value,
        "rule": finding.rule,
        "do": finding.advice,
    })
}

fn to_text(dir: &DataDir, journal: JournalId, checked: &Checked, deep: bool) -> String {
    let verdict = match checked.findings_total {
        0 => "sound".to_owned(),
        1 => "1 finding".to_owned(),
        findings => format!("{findings} findings"),
    };
    let depth = if deep { "events and all" } else { "as stored" };
    let mut told = format!(
        "journal {journal}: {verdict}; {} blocks of {} segments read {depth}, {} events, {}\n",
        checked.blocks,
        checked.segments,
        checked.events,
        text::bytes(checked.stored_bytes),
    );
    for finding in &checked.findings {
        told.push_str(&finding_text(dir, finding));
    }
    let more = checked
        .findings_total
        .saturating_sub(checked.findings.len() as u64);
    if more > 0 {
        told.push_str(&format!("  and {more} more\n"));
    }
    told
}

fn finding_text(dir: &DataDir, finding: &Finding) -> String {
    let place = text::place(dir.short(&finding.path), finding.position);
    let events = finding
        .range
        .map_or_else(String::new, |range| format!(", events {range}"));
    format!(
        "  {place}{events}: {}\n    rule: {}\n    do: {}\n",
        finding.value, finding.rule, finding.advice
    )
}
