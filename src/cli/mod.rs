//! The command line: one file for each group of commands.

mod check;
mod journal;
mod run;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Event relay appliance: takes NDJSON, keeps it safely, delivers it to several SIEMs.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay until SIGTERM or SIGINT.
    Run {
        /// Configuration; without it the embedded default runs: TCP and HTTP on loopback, one
        /// file stream, data in ./weir-data.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check a configuration and print the plan it makes; nothing is started.
    Check {
        /// Configuration.
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Look into the journals of a data directory, of a live or a stopped node.
    #[command(subcommand)]
    Journal(journal::Command),
}

/// Exit status of a wrong configuration or command line.
const EXIT_USAGE: u8 = 2;

/// Runs the command given to the process.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config } => run::run(config.as_deref()),
        Command::Check { config } => check::check(&config),
        Command::Journal(command) => journal::run(&command),
    }
}

/// Prints to standard output; what cannot be printed there is returned. Whoever started the
/// process may have closed it (`| head -1`, a service without one), and `println!` panics then.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
