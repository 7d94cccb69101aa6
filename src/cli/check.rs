//! `weir check FILE`.
#![expect(clippy::print_stdout, reason = "the plan is what the command prints")]

use std::path::Path;
use std::process::ExitCode;

use crate::cli::EXIT_USAGE;
use crate::config;

/// Prints the plan a configuration makes, or all its mistakes.
pub(super) fn check(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(plan) => {
            println!("{}", config::describe(&plan));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
