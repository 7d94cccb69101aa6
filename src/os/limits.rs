//! Limits the system sets on this process: the number of open files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files, before and after it was raised. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFilesLimit {
    /// What the process was started with.
    pub before: Option<u64>,
    /// What holds now.
    pub now: Option<u64>,
}

/// Raises the limit of open files to the most an unprivileged process may have: every
/// connection is one. Call it once, before sockets are opened.
///
/// # Errors
/// When the system refuses; the limit is as before then.
pub fn raise_open_files() -> io::Result<OpenFilesLimit> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(OpenFilesLimit {
        before: limit.current,
        now: getrlimit(Resource::Nofile).current,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_to_the_hard_limit_and_stay_there() {
        let raised = raise_open_files().unwrap();
        assert_eq!(raised.now, getrlimit(Resource::Nofile).maximum);
        let again = raise_open_files().unwrap();
        assert_eq!((again.before, again.now), (raised.now, raised.now));
    }
}
