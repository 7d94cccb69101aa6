//! The audit thread: makes audit events of what the parts tell, durable in the internal journal.

use std::io;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use crate::audit::Report;
use crate::journal::internal::InternalRequest;

/// Starts the thread; it ends when every [`crate::audit::AuditLog`] is gone.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn spawn(
    reports: Receiver<Report>,
    internal: Sender<InternalRequest>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("weir-audit".to_owned())
        .spawn(move || {
            for Report { notice, answer } in reports {
                let mut lines = format!("{{\"notice\":{:?}}}", format!("{notice:?}")).into_bytes();
                lines.push(b'\n');
                let request = InternalRequest {
                    lines,
                    count: 1,
                    answer: answer.unwrap_or_else(|| Box::new(|_durable| {})),
                };
                if internal.send(request).is_err() {
                    return;
                }
            }
        })
}
