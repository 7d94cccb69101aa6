//! `loadgen`: drives a relay over public protocols and proves what it did with the events.
//!
//! Owns the command line and the exit status: 0 all is well, 1 an acknowledged event is lost or
//! changed, 2 wrong usage or a failing environment. It shares no code with the relay, so it can drive
//! others as well and cannot share its faults.

mod alone;
mod cli;
mod clock;
mod disk;
mod event;
mod http1;
mod meter;
mod procfs;
mod receive;
mod relay;
mod relay_config;
mod report;
mod run;
mod send;
mod signals;
mod units;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

// Bodies come and go in megabytes from many threads; the system's allocator keeps them all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    send::idle::raise_descriptor_limit();
    let result = match &cli.command {
        Command::Send(arguments) => alone::send(arguments),
        Command::Receive(arguments) => alone::receive(arguments),
        Command::Verify(arguments) => alone::verify(arguments),
        Command::Run(arguments) => run::run(arguments),
    };
    match result {
        Ok(report) => {
            report.print(cli.command.wants_json());
            report.exit_code()
        }
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(2)
        }
    }
}
