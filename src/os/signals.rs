//! Signals as a stream of a closed set: stop, and look at the configuration again.

use std::io;

use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, from the service manager: drain and stop.
    Terminate,
    /// SIGINT, from a terminal: drain and stop.
    Interrupt,
    /// SIGHUP: read certificates, keys, tokens and configuration again.
    Reload,
}

/// Receives signals. From its making on, they no longer end the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Listener,
    interrupt: Listener,
    reload: Listener,
}

impl Signals {
    /// Begins to listen, on the current tokio runtime.
    ///
    /// # Errors
    /// When the system refuses a handler.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. Cancel safe. Signals of one kind that come faster than
    /// they are taken count as one; a wish to stop goes before one to reload.
    pub async fn next(&mut self) -> Signal {
        // A listener ends only with the runtime; nothing is left to be told then.
        tokio::select! {
            biased;
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.reload.recv() => Signal::Reload,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[test]
    fn each_signal_is_told_once_by_its_meaning() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut signals = Signals::listen().unwrap();
            for (number, meaning) in [
                (Number::TERM, Signal::Terminate),
                (Number::INT, Signal::Interrupt),
                (Number::HUP, Signal::Reload),
                (Number::TERM, Signal::Terminate),
            ] {
                kill_process(getpid(), number).unwrap();
                assert_eq!(signals.next().await, meaning);
            }
        });
    }
}
