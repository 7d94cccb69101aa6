//! `weir dead-letters …`: looking at events that destinations refused for good, and deciding
//! what becomes of them.
//!
//! `ls`, `show` and `export` read the files of a data directory beside a running node: they take
//! no lock and write nothing. `redrive` and `drop` ask the running node, whose streams own the
//! files and tell what is done as audit events. Exit status: 0 all is well, 1 something does not
//! hold, cannot be read, or the node says no, 2 the command line or the directory is wrong.

mod ask;
mod ls;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::admin::AdminPlace;
use crate::cli::journal::data_dir::DataDir;
use crate::cli::journal::{Form, Place};
use crate::cli::{CommandError, exit};
use crate::journal::letters::{self, DeadLetter, LetterFindings, LetterId, read_letters};

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List dead letters: how many, why, and each with what the destination said.
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
        /// Only this stream's.
        #[arg(long, value_name = "STREAM")]
        stream: Option<String>,
    },
    /// Show all that is known of one letter, and its event.
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        /// The letter, as `ls` names it.
        #[arg(value_name = "ID")]
        id: LetterId,
    },
    /// Write events of letters out, byte for byte, one a line.
    Export {
        #[command(flatten)]
        place: Place,
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        /// File to write to, which must not be there yet; without it standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Only those refused for this reason.
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
    },
    /// Ask the running node to send letters again; those that are delivered are letters no more.
    Redrive {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        node: AdminPlace,
    },
    /// Ask the running node to remove letters for good.
    Drop {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        node: AdminPlace,
        /// They are the only copies of their events: without this nothing is removed.
        #[arg(long)]
        yes: bool,
    },
}

/// Which letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Selection {
    /// These, as `ls` names them.
    #[arg(value_name = "ID")]
    ids: Vec<LetterId>,
    /// All of the stream.
    #[arg(long)]
    all: bool,
    /// Those refused for this reason.
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    exit(match command {
        Command::Ls {
            place,
            form,
            stream,
        } => DataDir::open(place).and_then(|dir| ls::ls(&dir, form, stream.as_deref())),
        Command::Show {
            place,
            form,
            stream,
            id,
        } => DataDir::open(place).and_then(|dir| show::show(&dir, form, stream, *id)),
        Command::Export {
            place,
            stream,
            out,
            reason,
        } => DataDir::open(place)
            .and_then(|dir| show::export(&dir, stream, out.as_ref(), reason.as_deref())),
        Command::Redrive {
            stream,
            selection,
            node,
        } => ask::redrive(stream, selection, node),
        Command::Drop {
            stream,
            selection,
            node,
            yes,
        } => ask::drop_letters(stream, selection, node, *yes),
    })
}

/// Streams that have a file of letters, sorted.
fn streams(dir: &DataDir) -> Result<Vec<String>, CommandError> {
    let path = dir.path.join(letters::DIR);
    let files = match dir.disk.list(&path) {
        Ok(files) => files,
        // No stream of this directory ever ran with letters.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(CommandError::disk(format!("list {}", path.display()))(
                error,
            ));
        }
    };
    let streams = files
        .iter()
        .filter_map(|file| letters::stream_of_file_name(file));
    Ok(streams.map(str::to_owned).collect())
}

/// Gives the letters of a stream to `each`, the oldest first; what does not hold is told.
fn read(
    dir: &DataDir,
    stream: &str,
    each: &mut dyn FnMut(DeadLetter) -> std::io::Result<()>,
) -> std::io::Result<LetterFindings> {
    let path = letters::file_of(&dir.path.join(letters::DIR), stream);
    let findings = read_letters(&*dir.disk, &path, each)?;
    if findings.damaged > 0 {
        let LetterFindings {
            damaged,
            damaged_bytes,
            ..
        } = findings;
        eprintln!(
            "weir: {}: {damaged} letters ({damaged_bytes} bytes) do not hold; the next start sets them aside in {}.damaged",
            dir.short(&path).display(),
            dir.short(&path).display(),
        );
    }
    Ok(findings)
}

/// Refuses a stream that has no file of letters.
fn check_stream(dir: &DataDir, stream: &str) -> Result<(), CommandError> {
    let known = streams(dir)?;
    if known.iter().any(|name| name == stream) {
        return Ok(());
    }
    let known = match known.is_empty() {
        true => "no stream has any".to_owned(),
        false => format!("these have: {}", known.join(", ")),
    };
    Err(CommandError::Usage(format!(
        "{stream:?}: no stream of {} has dead letters under that name; {known}",
        dir.path.display()
    )))
}
