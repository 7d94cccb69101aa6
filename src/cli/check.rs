//! `weir check FILE`.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use crate::cli::{EXIT_USAGE, print};
use crate::config;

/// Prints the plan a configuration makes, or all its mistakes.
pub(super) fn check(path: &Path) -> ExitCode {
    match config::load(path) {
        Ok(plan) => {
            match print(&config::describe(&plan)) {
                Ok(()) => ExitCode::SUCCESS,
                // The reader has seen what it wanted (`| head -1`); the file is right.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("weir: print the plan: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
