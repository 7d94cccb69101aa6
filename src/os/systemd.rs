//! What the service manager is told: ready, stopping, status, and that we are alive.
//!
//! Without a service manager (`NOTIFY_SOCKET` unset) every call does nothing and succeeds.
//! When to feed the watchdog is the caller's judgement: only while every thread turns.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that start-up is done and inputs are open.
///
/// # Errors
/// When the service manager's socket does not take the message; so do all calls here.
pub fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
}

/// Tells that the process drains and will end.
///
/// # Errors
/// As [`ready`].
pub fn stopping(status: &str) -> io::Result<()> {
    sd_notify::notify(&[
        NotifyState::Stopping,
        NotifyState::Status(&one_line(status)),
    ])
}

/// Sets the line that `systemctl status` shows.
///
/// # Errors
/// As [`ready`].
pub fn status(text: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Status(&one_line(text))])
}

/// Feeds the watchdog.
///
/// # Errors
/// As [`ready`].
pub fn feed_watchdog() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}

/// How often to call [`feed_watchdog`]: half of the time after which the service manager
/// would restart this process. `None` when it does not watch.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

/// A line break would begin another assignment of the protocol.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "WEIR_TEST_NOTIFYING_CHILD";

    /// The environment belongs to the whole process, so the messages are sent by a child:
    /// this test once more, with the variables set.
    #[test]
    fn messages_reach_the_service_manager() {
        if std::env::var_os(CHILD).is_some() {
            ready("listening\nREADY=0").unwrap();
            status("draining").unwrap();
            feed_watchdog().unwrap();
            stopping("bye").unwrap();
            assert_eq!(watchdog_interval(), Some(Duration::from_secs(10)));
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "os::systemd::tests::messages_reach_the_service_manager",
            ])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "20000000")
            .env_remove("WATCHDOG_PID")
            .output()
            .unwrap();
        assert!(child.status.success(), "{child:?}");
        for expected in [
            "READY=1\nSTATUS=listening READY=0\n",
            "STATUS=draining\n",
            "WATCHDOG=1\n",
            "STOPPING=1\nSTATUS=bye\n",
        ] {
            let mut message = [0; 200];
            let len = manager.recv(&mut message).unwrap();
            assert_eq!(std::str::from_utf8(&message[..len]).unwrap(), expected);
        }
    }
}
