//! `weir dead-letters show` and `export`: one letter with all it says, or events byte for byte.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::dead_letters::{check_stream, read};
use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::export::{ended, on_output, open_target};
use crate::cli::journal::{Form, answer_in};
use crate::cli::text;
use crate::cli::{CommandError, Verdict};
use crate::journal::letters::{DeadLetter, LetterId};

/// Shows the letters of that id: one, or one of each segment where a journal was made anew.
pub(super) fn show(
    dir: &DataDir,
    form: &Form,
    stream: &str,
    id: LetterId,
) -> Result<Verdict, CommandError> {
    check_stream(dir, stream)?;
    let mut found = Vec::new();
    read(dir, stream, &mut |letter| {
        if letter.id() == id {
            found.push(letter);
        }
        Ok(())
    })
    .map_err(CommandError::disk(format!(
        "read the dead letters of {stream}"
    )))?;
    if found.is_empty() {
        return Err(CommandError::Usage(format!(
            "{id}: stream {stream} has no such dead letter; weir dead-letters ls --stream {stream} has those there are"
        )));
    }
    let json = Value::from_iter(found.iter().map(to_json));
    answer_in(form, &json, || found.iter().map(to_text).collect())?;
    Ok(Verdict::Sound)
}

/// Writes events out.
pub(super) fn export(
    dir: &DataDir,
    stream: &str,
    out: Option<&PathBuf>,
    reason: Option<&str>,
) -> Result<Verdict, CommandError> {
    check_stream(dir, stream)?;
    let mut target = open_target(out)?;
    let mut damaged = 0;
    let exported = read(dir, stream, &mut |mut letter| {
        if reason.is_none_or(|reason| reason == letter.reason) {
            letter.line.push(b'\n');
            target.write_all(&letter.line).map_err(on_output)?;
        }
        Ok(())
    })
    .and_then(|findings| {
        damaged = findings.damaged;
        target.flush().map_err(on_output)
    });
    ended(
        exported,
        damaged == 0,
        &format!("export the dead letters of {stream}"),
    )
}

fn to_json(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id(),
        "segment": letter.position.segment.to_string(),
        "received": text::time(letter.received),
        "refused": text::time(letter.refused),
        "reason": letter.reason,
        "detail": letter.detail,
        "batch": letter.batch,
        "attempts": letter.attempts,
        "labels": letter.labels,
        "event": String::from_utf8_lossy(&letter.line),
    })
}

fn to_text(letter: &DeadLetter) -> String {
    let line = |text: &str| text::one_line(text, usize::MAX);
    let known = [
        ("letter", letter.id().to_string()),
        ("received", text::time(letter.received)),
        ("refused", text::time(letter.refused)),
        ("reason", line(&letter.reason)),
        ("detail", line(&letter.detail)),
        ("attempts", letter.attempts.to_string()),
        ("batch", line(&letter.batch)),
        ("segment", letter.position.segment.to_string()),
    ];
    let known = known.map(|(name, value)| format!("{name:<10} {value}\n"));
    let labels = letter.labels.iter().map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("  {} {}\n", line(name), line(&value))
    });
    format!(
        "{}labels\n{}event      {} bytes\n{}\n",
        known.concat(),
        labels.collect::<String>(),
        letter.line.len(),
        line(&String::from_utf8_lossy(&letter.line)),
    )
}
