//! `weir journal repair`: what a start would do with the journals of a stopped node, done now.
//!
//! With `--dry-run` the same code runs on top of the disk and leaves it as it is. Nothing that
//! may be of use is deleted: what does not hold is copied or moved to the quarantine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{CommandError, Form, Verdict, answer_in};
use crate::journal::inspect::JournalPlace;
use crate::journal::inspect::cursors::{Cursors, read_cursors};
use crate::journal::inspect::inventory::{Inventory, inventory};
use crate::journal::recovery::{Finding, recover};
use crate::journal::segments::Catalog;
use crate::node::identity::{Identity, IdentityError};
use crate::os::disk::Disk;
use crate::os::lock_holder::LockHolder;
use crate::os::overlay_disk::OverlayDisk;
use crate::position::{JournalId, Offset};

/// Repairs all journals, or tells what that would do.
pub(super) fn repair(dir: &DataDir, form: &Form, dry_run: bool) -> Result<Verdict, CommandError> {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let (identity, node_file) = keep_out(dir, dry_run)?;
    let disk: Arc<dyn Disk> = if dry_run {
        Arc::new(OverlayDisk::new(Arc::clone(&dir.disk)))
    } else {
        Arc::clone(&dir.disk)
    };
    let cursors = read_cursors(&*disk, &dir.cursors(), *dir.card.node.as_bytes())
        .map_err(CommandError::disk("read the cursor records"))?;
    let mut journals = Vec::new();
    for place in dir.journals(None)? {
        let place = JournalPlace {
            disk: Arc::clone(&disk),
            ..place
        };
        let what = format!("repair journal {}", place.journal);
        journals.push(repair_one(&place, &cursors).map_err(CommandError::disk(what))?);
    }
    drop(identity);
    let well = journals.iter().all(Repaired::is_well);
    let json = json!({
        "dry_run": dry_run,
        "journals": journals.iter().map(|one| one.to_json(dir)).collect::<Vec<_>>(),
        "node_file": node_file.iter().map(finding_json).collect::<Vec<_>>(),
        "cursors": damaged_cursors(&cursors).map(|(path, told)| json!({
            "file": dir.short(path),
            "told": told,
        })).collect::<Vec<_>>(),
    });
    answer_in(form, &json, || {
        let node_file = node_file.iter().map(|finding| format!("{finding}\n"));
        node_file.collect::<String>() + &to_text(dir, &journals, &cursors, dry_run)
    })?;
    Ok(Verdict::of(well))
}

/// Makes sure that no node runs, and for a repair that none starts meanwhile. What of the node
/// file was made anew comes with it.
fn keep_out(
    dir: &DataDir,
    dry_run: bool,
) -> Result<(Option<Identity>, Vec<Finding>), CommandError> {
    let in_use = || {
        let (path, holder) = (dir.path.display(), dir.holder_told());
        CommandError::Usage(format!(
            "{path}: its node is {holder}, and repairs by itself at every start; stop it first (systemctl stop weir), or use weir journal check, which works beside it"
        ))
    };
    if dry_run {
        return match dir.holder {
            LockHolder::Process(_) => Err(in_use()),
            LockHolder::Nobody | LockHolder::Unknown => Ok((None, dir.card.findings.clone())),
        };
    }
    match Identity::open(&*dir.disk, &dir.path, dir.card.journals, &[]) {
        Ok(identity) => {
            let findings = identity.findings.clone();
            Ok((Some(identity), findings))
        }
        Err(IdentityError::Locked { .. }) => Err(in_use()),
        Err(error) => Err(CommandError::Usage(error.to_string())),
    }
}

/// What was done with a journal.
struct Repaired {
    journal: JournalId,
    /// Where it goes on.
    next: Offset,
    findings: Vec<Finding>,
    done: Vec<(PathBuf, String)>,
    /// What could not be done.
    left: Vec<(PathBuf, String)>,
}

impl Repaired {
    /// No event is lost, and nothing is left to do.
    fn is_well(&self) -> bool {
        let loses = |finding: &Finding| {
            matches!(finding, Finding::Damaged { .. } | Finding::Missing { .. })
        };
        self.left.is_empty() && !self.findings.iter().any(loses)
    }
}

fn repair_one(place: &JournalPlace, cursors: &Cursors) -> std::io::Result<Repaired> {
    let before = inventory(place)?;
    let cursors_end = cursors.end_in(place.journal);
    let recovered = recover(&place.files(), &Catalog::default(), cursors_end)?;
    let after = inventory(place)?;
    let (done, left) = changes(&before, &after);
    Ok(Repaired {
        journal: place.journal,
        next: recovered.start.next,
        findings: recovered.findings,
        done,
        left,
    })
}

type Changes = Vec<(PathBuf, String)>;

/// What is different afterwards and no finding tells, and what is as it was though it should not.
fn changes(before: &Inventory, after: &Inventory) -> (Changes, Changes) {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let still: BTreeSet<&Path> = after
        .segments
        .iter()
        .map(|segment| segment.path.as_path())
        .collect();
    for segment in &before.segments {
        if !still.contains(segment.path.as_path()) {
            let what = "removed: it never got a block".to_owned();
            done.push((segment.path.clone(), what));
        }
    }
    for segment in &after.segments {
        let was = before.segments.iter().find(|was| was.path == segment.path);
        let was_sealed = was.is_some_and(|was| was.seal.is_ok());
        match &segment.seal {
            Ok(seal) if !was_sealed => {
                let (blocks, end) = (seal.entries, seal.end);
                let what = format!("sealed: {blocks} blocks, up to offset {end}");
                done.push((segment.path.clone(), what));
            }
            Ok(_) => {}
            Err(error) => left.push((segment.path.clone(), format!("not sealed: {error}"))),
        }
    }
    (done, left)
}

fn damaged_cursors(cursors: &Cursors) -> impl Iterator<Item = (&Path, String)> {
    cursors.records.iter().filter_map(|record| {
        let damage = record.damage.as_ref()?;
        let then = match &record.state {
            Some(state) => format!("the other page counts, cursor {}", state.cursor),
            None => "the stream begins with the oldest event at the next start".to_owned(),
        };
        Some((record.path.as_path(), format!("{damage}; {then}")))
    })
}

impl Repaired {
    fn to_json(&self, dir: &DataDir) -> Value {
        let list = |changes: &Changes| {
            let change =
                |(path, what): &(PathBuf, String)| json!({ "file": dir.short(path), "what": what });
            changes.iter().map(change).collect::<Vec<_>>()
        };
        json!({
            "journal": self.journal.to_string(),
            "next": self.next.0,
            "findings": self.findings.iter().map(finding_json).collect::<Vec<_>>(),
            "done": list(&self.done),
            "left": list(&self.left),
        })
    }
}

fn finding_json(finding: &Finding) -> Value {
    let (kind, range) = match finding {
        Finding::TornTail { .. } => ("torn_tail", None),
        Finding::Damaged { range, .. } => ("damaged", Some(range)),
        Finding::Alien { .. } => ("alien", None),
        Finding::Missing { range, .. } => ("missing", Some(range)),
        Finding::Repaired { .. } => ("repaired", None),
        Finding::Cursor { .. } => ("cursor", None),
        Finding::NodeFile { .. } => ("node_file", None),
    };
    json!({
        "kind": kind,
        "first": range.map(|range| range.first.0),
        "end": range.map(|range| range.end.0),
        "told": finding.to_string(),
    })
}

fn to_text(dir: &DataDir, journals: &[Repaired], cursors: &Cursors, dry_run: bool) -> String {
    let mut told = String::new();
    for Repaired {
        journal,
        next,
        findings,
        done,
        left,
    } in journals
    {
        let nothing = findings.is_empty() && done.is_empty() && left.is_empty();
        let what = if nothing { ": nothing to do" } else { "" };
        told.push_str(&format!(
            "journal {journal}{what}; it goes on at offset {next}\n"
        ));
        for finding in findings {
            told.push_str(&format!("  found  {finding}\n"));
        }
        for (word, changes) in [("done ", done), ("LEFT ", left)] {
            for (path, what) in changes {
                told.push_str(&format!(
                    "  {word}  {}: {what}\n",
                    dir.short(path).display()
                ));
            }
        }
    }
    for (path, what) in damaged_cursors(cursors) {
        told.push_str(&format!("{}: {what}\n", dir.short(path).display()));
    }
    if dry_run {
        told.push_str("nothing was changed: this is what a repair, or the next start, does\n");
    }
    told
}
