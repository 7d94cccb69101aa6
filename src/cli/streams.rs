//! `weir streams …`: trying destinations, and asking a running node's streams.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::admin::{self, AdminPlace};
use crate::cli::{CommandError, Verdict, answer, exit};
use crate::config::{self, plan::StreamPlan};
use crate::node::check::{self, CheckError};
use crate::os::clock::{Clock, SystemClock};
use crate::os::disk::Disk;
use crate::os::real_disk::RealDisk;
use crate::stream::probe;

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Send one marked event to a stream's destination, as the stream would: it must connect, take our
    /// credentials, know the topic or bucket, and take what the template makes.
    Validate(Destination),
    /// Send marked events to a stream's destination, to be looked for there.
    SendSamples {
        #[command(flatten)]
        destination: Destination,
        /// How many.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Let a stream that is parked deliver again, now.
    Resume {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: String,
        #[command(flatten)]
        node: AdminPlace,
    },
}

/// A stream of a configuration.
#[derive(Debug, Args)]
pub(super) struct Destination {
    /// The stream.
    #[arg(value_name = "STREAM")]
    stream: String,
    /// Configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Seconds to wait for the destination's answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    within: u64,
}

/// Runs a command.
pub(super) fn run(command: &Command) -> ExitCode {
    exit(match command {
        Command::Validate(destination) => send(destination, 1),
        Command::SendSamples { destination, count } => send(destination, *count),
        Command::Resume { stream, node } => resume(stream, node),
    })
}

fn resume(stream: &str, node: &AdminPlace) -> Result<Verdict, CommandError> {
    node.post(&admin::stream_path(stream, "resume")?, &json!({}))?;
    answer(&format!("stream \"{stream}\" tries again"))?;
    Ok(Verdict::Sound)
}

fn send(destination: &Destination, count: u32) -> Result<Verdict, CommandError> {
    let Destination {
        stream,
        config,
        within,
    } = destination;
    let plan = config::load(config).map_err(|errors| CommandError::Usage(errors.to_string()))?;
    let is_it = |known: &&StreamPlan| *known.stream.name == **stream;
    let known = plan.streams.iter().find(is_it).ok_or_else(|| {
        let file = config.display();
        CommandError::Usage(format!("there is no stream \"{stream}\" in {file}"))
    })?;
    let around = (
        Arc::new(RealDisk) as Arc<dyn Disk>,
        Arc::new(SystemClock) as Arc<dyn Clock>,
    );
    let kind = known.sink.kind();
    let (text, verdict) = match check::send_marked(
        known,
        count,
        around,
        Duration::from_secs(*within),
    ) {
        Ok(()) => {
            let text = format!(
                "stream \"{stream}\": the {kind} destination took {count} test event(s); look for \
                     \"{}\"",
                probe::MESSAGE
            );
            (text, Verdict::Sound)
        }
        Err(CheckError::NotTaken { why, may_pass }) => {
            let hope = if may_pass {
                "the stream would try again"
            } else {
                "a retry alone will not help"
            };
            let text = format!(
                "stream \"{stream}\": the {kind} destination did not take a test event: {}: {} ({hope})",
                why.reason, why.detail
            );
            (text, Verdict::Findings)
        }
        Err(error) => (
            format!("stream \"{stream}\": the {kind} destination {error}"),
            Verdict::Findings,
        ),
    };
    answer(&text)?;
    Ok(verdict)
}
