//! The command line: one file for each group of commands.

mod admin;
mod check;
mod dead_letters;
mod journal;
mod rules;
mod run;
mod streams;
mod text;

use std::io::{self, Write as _};
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
    /// Try a rule on events before trusting it.
    #[command(subcommand)]
    Rules(rules::Command),
    /// Look at events that destinations refused for good; send them again, or drop them.
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Ask the streams of a running node.
    #[command(subcommand)]
    Streams(streams::Command),
}

/// Exit status of a wrong configuration or command line.
const EXIT_USAGE: u8 = 2;

/// Runs the command given to the process.
#[must_use]
pub fn main() -> ExitCode {
    crate::os::allocator::keep_freed_memory();
    match Arguments::parse().command {
        Command::Run { config } => run::run(config.as_deref()),
        Command::Check { config } => check::check(&config),
        Command::Journal(command) => journal::run(&command),
        Command::Rules(command) => rules::run(&command),
        Command::DeadLetters(command) => dead_letters::run(&command),
        Command::Streams(command) => streams::run(&command),
    }
}

/// Prints to standard output; what cannot be printed there is returned. Whoever started the
/// process may have closed it (`| head -1`, a service without one), and `println!` panics then.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints an answer. A reader that has seen enough and went away (`| head -1`) is no error.
fn answer(text: &str) -> Result<(), CommandError> {
    match print(text.trim_end_matches('\n')) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Print(error)),
        _ => Ok(()),
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The command line or the directory is wrong.
    #[error("{0}")]
    Usage(String),
    /// The disk cannot be read.
    #[error("{what}: {error}")]
    Disk {
        /// What was being done.
        what: String,
        /// What the disk said.
        error: io::Error,
    },
    /// The running node says no, or does not answer.
    #[error("{0}")]
    Node(String),
    /// The answer cannot be written.
    #[error("write the answer: {0}")]
    Print(io::Error),
}

impl CommandError {
    fn disk(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Disk { what, error }
    }
}

/// What a command that did its work found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Sound,
    Findings,
}

impl Verdict {
    fn of(sound: bool) -> Self {
        if sound { Self::Sound } else { Self::Findings }
    }
}

/// The exit status a command's end means; what went wrong is told on standard error.
fn exit(done: Result<Verdict, CommandError>) -> ExitCode {
    match done {
        Ok(Verdict::Sound) => ExitCode::SUCCESS,
        Ok(Verdict::Findings) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("weir: {error}");
            match error {
                CommandError::Usage(_) => ExitCode::from(EXIT_USAGE),
                CommandError::Disk { .. } | CommandError::Node(_) | CommandError::Print(_) => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}
