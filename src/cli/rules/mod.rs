//! `weir rules …`: trying a rule on events before it decides over them.
//!
//! Both commands only read: files, standard input, or the journals of a data directory beside a running node. Exit
//! status: 0 all is well, 1 what was to be read cannot be read, or not whole, 2 the command line or the rule is wrong.

mod explain;
mod labels;
mod lines;
mod measure;
mod rule;
mod source;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::exit;

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Count what a rule matches of a file, of standard input, or of the journals' last minutes.
    Test(test::Test),
    /// Show the compiled program of a rule or of a configuration, and measure what it costs.
    Explain(explain::Explain),
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    exit(match command {
        Command::Test(test) => test::test(test),
        Command::Explain(explain) => explain::explain(explain),
    })
}
