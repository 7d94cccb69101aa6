//! `weir journal …`: looking into the journals of a data directory, and putting one right.
//!
//! All commands but `repair` work beside a running node: they take no lock and write nothing.
//! Exit status: 0 all is well, 1 something was found or the disk cannot be read, 2 the command
//! line or the directory is wrong.

mod check;
pub(super) mod data_dir;
pub(super) mod export;
mod ls;
mod repair;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::cli::journal::data_dir::DataDir;
use crate::cli::{CommandError, Verdict, answer, exit};

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List journals, segments, cursors and the room they take.
    Ls {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
    },
    /// Read every block and hold it, indexes and cursors against the rules of the format.
    Check {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
        /// Only this journal: a number, or `internal`.
        #[arg(long, value_name = "JOURNAL")]
        journal: Option<String>,
        /// Inflate every block, too, and count its events.
        #[arg(long)]
        deep: bool,
    },
    /// Follow the hash chain: has a block been altered, inserted, or removed without a record?
    Verify {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
        /// Only this journal: a number, or `internal`.
        #[arg(long, value_name = "JOURNAL")]
        journal: Option<String>,
        /// A head of the chain kept elsewhere; the journal's number may be left out when there
        /// is one. May be given several times.
        #[arg(long, value_name = "[JOURNAL/]OFFSET:HASH")]
        anchor: Vec<String>,
    },
    /// Write events out, byte for byte, one a line.
    Export(export::Export),
    /// Do what a start does with a stopped node's journals: seal, set damage aside, and tell.
    Repair {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        form: Form,
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which data directory.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Configuration that names the data directory.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub(super) config: Option<PathBuf>,
    /// The data directory. Default: ./weir-data.
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

/// How the answer is written.
#[derive(Debug, Args)]
pub(super) struct Form {
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Ls { place, form } => DataDir::open(place).and_then(|dir| ls::ls(&dir, form)),
        Command::Check {
            place,
            form,
            journal,
            deep,
        } => check::check(place, form, journal.as_deref(), *deep),
        Command::Verify {
            place,
            form,
            journal,
            anchor,
        } => DataDir::open(place)
            .and_then(|dir| verify::verify(&dir, form, journal.as_deref(), anchor)),
        Command::Export(export) => {
            DataDir::open(&export.place).and_then(|dir| export::export(&dir, export))
        }
        Command::Repair {
            place,
            form,
            dry_run,
        } => DataDir::open(place).and_then(|dir| repair::repair(&dir, form, *dry_run)),
    };
    exit(done)
}

/// Prints an answer as JSON or as text.
pub(super) fn answer_in(
    form: &Form,
    json: &serde_json::Value,
    text: impl FnOnce() -> String,
) -> Result<(), CommandError> {
    if form.json {
        answer(&format!("{json:#}"))
    } else {
        answer(&text())
    }
}
