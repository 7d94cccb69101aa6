//! SIGINT and SIGTERM as a flag.
//!
//! Owns one thread that waits for them. The first asks everybody to finish in good order; the second
//! ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// A flag that becomes true with the first SIGINT or SIGTERM.
pub(crate) fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                for count in 1.. {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    raised.store(true, Ordering::Relaxed);
                    if count > 1 {
                        let own = getpid();
                        // Nothing can be done if even this is refused.
                        kill_process(own, Signal::KILL).ok();
                    }
                }
            });
        })?;
    Ok(flag)
}
