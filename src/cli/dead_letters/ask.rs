//! `weir dead-letters redrive` and `drop`: asked of the running node.

use serde_json::{Value, json};

use crate::cli::admin::{self, AdminPlace};
use crate::cli::dead_letters::Selection;
use crate::cli::{CommandError, Verdict, answer};
use crate::journal::letters::Which;

/// Sends letters again.
pub(super) fn redrive(
    stream: &str,
    selection: &Selection,
    node: &AdminPlace,
) -> Result<Verdict, CommandError> {
    let letters = ask(stream, "redrive", selection, node)?;
    answer(&format!(
        "stream \"{stream}\": {letters} letters were delivered and are letters no more"
    ))?;
    Ok(Verdict::Sound)
}

/// Removes letters.
pub(super) fn drop_letters(
    stream: &str,
    selection: &Selection,
    node: &AdminPlace,
    yes: bool,
) -> Result<Verdict, CommandError> {
    if !yes {
        return Err(CommandError::Usage(format!(
            "drop removes the only copies of these events; look with weir dead-letters ls --stream {stream}, keep them with weir dead-letters export {stream}, and say --yes"
        )));
    }
    let letters = ask(stream, "drop", selection, node)?;
    answer(&format!(
        "stream \"{stream}\": {letters} letters were removed"
    ))?;
    Ok(Verdict::Sound)
}

/// Asks the stream and returns how many letters its answer is about.
fn ask(
    stream: &str,
    command: &str,
    selection: &Selection,
    node: &AdminPlace,
) -> Result<u64, CommandError> {
    let path = admin::stream_path(stream, &format!("dead-letters/{command}"))?;
    let answer = node.post(&path, &json!(which(selection)))?;
    let letters = answer.get("letters").and_then(Value::as_u64);
    letters.ok_or_else(|| CommandError::Node(format!("the node answers {answer}")))
}

fn which(selection: &Selection) -> Which {
    match (&selection.reason, selection.all) {
        (Some(reason), _) => Which::Reason(reason.clone()),
        (None, true) => Which::All,
        (None, false) => Which::Ids(selection.ids.iter().copied().collect()),
    }
}
