//! Configuration: text in, a [`plan::Plan`] or every mistake out.
//!
//! ```text
//! text -> tables with places -> sections read by key -> rules across keys -> Plan
//!         (reader/syntax)       (reader, keys)          (budget, here)
//! ```
//!
//! Promises: one run reports every mistake of a file, each with its place, the value as
//! typed, the rule and the fix; secrets are never in a message; [`parse`] does no I/O. The
//! keys, their ranges and defaults stand once, in [`keys`].

mod budget;
mod describe;
mod inputs;
pub mod keys;
mod node;
pub mod plan;
mod reader;
mod rules;
mod sinks;
mod streams;
mod template;
pub mod units;

use std::fs;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

pub use self::describe::describe;
use self::plan::Plan;
pub use self::reader::report::ConfigErrors;
use self::reader::report::{Given, Report};
use self::reader::{syntax, unknown_sections};

/// What a configuration is judged against besides its text.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Cores this process may use, at least 1.
    pub cores: usize,
    /// Directory that relative paths are meant from.
    pub working_dir: PathBuf,
    /// True when the path is a file that can be read.
    pub file_exists: fn(&Path) -> bool,
}

impl Environment {
    /// This machine and process.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            file_exists: |path| fs::File::open(path).is_ok() && path.is_file(),
        }
    }

    /// The path from the root, without `.` and `..`. Links are not followed.
    fn absolute(&self, path: &Path) -> PathBuf {
        let mut absolute = PathBuf::new();
        for component in self.working_dir.join(path).components() {
            match component {
                Component::CurDir => {}
                Component::ParentDir => {
                    absolute.pop();
                }
                part => absolute.push(part),
            }
        }
        absolute
    }
}

/// Reads the configuration file at `path`.
///
/// # Errors
/// When the file cannot be read, or with every mistake in it.
pub fn load(path: &Path) -> Result<Plan, ConfigErrors> {
    let name = path.display().to_string();
    let of_file = |text: String| ConfigErrors::of_file(&name, text);
    let mut bytes = Vec::new();
    // One byte above the limit tells a file that is too long, also one without an end.
    fs::File::open(path)
        .and_then(|file| file.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| of_file(format!("cannot be read: {error}; check path and rights")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        of_file(format!("line {line} is not UTF-8; save the file as UTF-8"))
    })?;
    parse(&text, &name, &Environment::of_this_process())
}

/// The plan of a configuration text; `name` stands for the file in messages.
///
/// # Errors
/// With every mistake in the text.
///
/// # Panics
/// Never on any text: a part is missing from the plan only when a mistake was reported.
pub fn parse(text: &str, name: &str, environment: &Environment) -> Result<Plan, ConfigErrors> {
    if u64::try_from(text.len()).map_or(true, |length| length > TEXT_BYTES_MAX) {
        let max = units::ByteSize(TEXT_BYTES_MAX);
        let text = format!("is longer than {max}; is it a configuration?");
        return Err(ConfigErrors::of_file(name, text));
    }
    let report = Report::new(text);
    let readable = syntax::readable(text);
    let tables = syntax::parse_tables(&readable, &report);
    unknown_sections(&report, tables.get_ref());
    let plan = node::read_plan(&report, tables.get_ref(), environment);
    match report.into_errors(name) {
        Some(errors) => Err(errors),
        None => Ok(plan.expect("a part of the plan is missing only beside a mistake")),
    }
}

/// The configuration of `weir run` without a file: TCP on 127.0.0.1:9000, HTTP on
/// 127.0.0.1:9001, admin on 127.0.0.1:9600, state in `./weir-data`, one file stream.
#[must_use]
pub fn embedded_default() -> &'static str {
    include_str!("../../examples/minimal.toml")
}

/// Entry of the fuzz target: any text gives a plan or mistakes, and a plan can be described.
pub fn fuzz_parse(text: &str) {
    let environment = Environment {
        cores: 2,
        working_dir: PathBuf::from("/"),
        file_exists: |_| true,
    };
    match parse(text, "weir.toml", &environment) {
        Ok(plan) => assert!(!describe(&plan).is_empty()),
        Err(errors) => {
            assert!(errors.count() > 0);
            assert!(errors.to_string().ends_with("; nothing was started"));
        }
    }
}

/// Refuses a lower bound above its upper bound.
fn check_order(report: &Report<'_>, low: &Given<Duration>, high: &Given<Duration>) {
    if low.value <= high.value {
        return;
    }
    // The message stands at the one the operator typed.
    let (about, other, rule) = if high.is_typed() || !low.is_typed() {
        (high, low, "below")
    } else {
        (low, high, "above")
    };
    if other.is_sound() {
        let (key, typed) = (&other.place.key, &other.typed);
        report.refuse(
            about,
            format!("is {rule} {key} = {typed}; change one of them"),
        );
    }
}

/// Bytes of a configuration text; all examples together have a hundredth of it.
const TEXT_BYTES_MAX: u64 = 1 << 20;
