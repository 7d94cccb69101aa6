//! How eagerly the current thread runs: its nice value.
//!
//! Everyone may lower a thread; bringing it back takes a privilege or a limit (`RLIMIT_NICE`,
//! `LimitNICE=` of systemd). Whether it can be brought back is tried once, on a thread made for
//! it: where it cannot, no thread is ever lowered, and that is said once.

use std::io;
use std::sync::OnceLock;

/// Nice value of a thread that gives way to the others.
pub const GIVE_WAY_NICE: i32 = 10;

/// Lets the current thread give way to the others, or ends that: it runs at
/// [`GIVE_WAY_NICE`], or as the process does. A thread that could not come back stays as it is.
pub fn give_way(gives_way: bool) {
    let Some(usual) = usual_nice() else { return };
    let nice = if gives_way {
        usual.max(GIVE_WAY_NICE)
    } else {
        usual
    };
    if let Err(error) = set_nice(nice) {
        tracing::warn!(nice, %error, "set a thread's nice value");
    }
}

/// The nice value threads of this process begin with, when a thread that was lowered can come
/// back to it. Asked of the system once.
fn usual_nice() -> Option<i32> {
    static USUAL: OnceLock<Option<i32>> = OnceLock::new();
    *USUAL.get_or_init(|| {
        let tried = std::thread::Builder::new()
            .name("weir-nice".to_owned())
            .spawn(there_and_back)
            .and_then(|thread| {
                let panicked = |_| io::Error::other("the thread that tried it panicked");
                thread.join().map_err(panicked)?
            });
        match tried {
            Ok(usual) => Some(usual),
            Err(error) => {
                tracing::info!(
                    %error,
                    "a thread that was lowered could not come back: streams that are behind run at the usual nice value (LimitNICE=+0 would allow it)"
                );
                None
            }
        }
    })
}

/// Lowers the current thread and brings it back; the nice value it had.
fn there_and_back() -> io::Result<i32> {
    let usual = current_nice()?;
    set_nice(usual.max(GIVE_WAY_NICE))?;
    set_nice(usual)?;
    Ok(usual)
}

/// The nice value of the current thread.
///
/// # Errors
/// When the system does not tell.
pub fn current_nice() -> io::Result<i32> {
    let thread = rustix::thread::gettid();
    Ok(rustix::process::getpriority_process(Some(thread))?)
}

/// Sets the nice value of the current thread: 0 is usual, 19 yields to everyone. Lowering it
/// takes a privilege.
///
/// # Errors
/// When the system refuses.
fn set_nice(nice: i32) -> io::Result<()> {
    // On Linux a nice value belongs to a thread, and the call takes a thread's id.
    let thread = rustix::thread::gettid();
    Ok(rustix::process::setpriority_process(Some(thread), nice)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    fn on_own_thread<T: Send + 'static>(check: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::Builder::new().spawn(check).unwrap();
        thread.join().unwrap()
    }

    #[test]
    fn nice_changes_this_thread_alone() {
        let before = current_nice().unwrap();
        on_own_thread(|| {
            set_nice(19).unwrap();
            assert_eq!(current_nice().unwrap(), 19);
        });
        assert_eq!(current_nice().unwrap(), before);
    }

    #[test]
    fn a_thread_gives_way_only_where_it_can_come_back() {
        // An unprivileged process may raise its soft limit to the hard one, no further.
        let limit = getrlimit(Resource::Nice);
        let current = limit.maximum;
        let raised = Rlimit { current, ..limit };
        setrlimit(Resource::Nice, raised).unwrap();
        let usual = current_nice().unwrap();
        let can = on_own_thread(|| there_and_back().is_ok());
        let (lowered, back) = on_own_thread(|| {
            give_way(true);
            let lowered = current_nice().unwrap();
            give_way(false);
            (lowered, current_nice().unwrap())
        });
        let expected = if can { usual.max(GIVE_WAY_NICE) } else { usual };
        assert_eq!((lowered, back), (expected, usual));
    }
}
