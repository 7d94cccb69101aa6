//! `weir streams …`: asking a running node's streams.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use crate::cli::admin::{self, AdminPlace};
use crate::cli::{CommandError, Verdict, answer, exit};

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Let a stream that is parked deliver again, now.
    Resume {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        #[command(flatten)]
        node: AdminPlace,
    },
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    exit(match command {
        Command::Resume { stream, node } => resume(stream, node),
    })
}

fn resume(stream: &str, node: &AdminPlace) -> Result<Verdict, CommandError> {
    node.post(&admin::stream_path(stream, "resume")?, &json!({}))?;
    answer(&format!("stream \"{stream}\" tries again"))?;
    Ok(Verdict::Sound)
}
