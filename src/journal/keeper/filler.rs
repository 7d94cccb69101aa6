//! The thread that makes spares for the keeper, one at a time: 128 MiB of zeros take a while,
//! and other journals' orders must not wait for them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::journal::segments::SegmentFiles;

/// The way to the thread; it ends when this is gone.
#[derive(Debug)]
pub(super) struct Filler {
    jobs: Sender<(SegmentFiles, u64)>,
    /// Where made spares arrive, in the order they were asked for.
    pub(super) made: Receiver<io::Result<PathBuf>>,
    /// Someone waits for the spare that is being made.
    hurry: Arc<AtomicBool>,
}

impl Filler {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, work) = crossbeam_channel::bounded::<(SegmentFiles, u64)>(1);
        let (done, made) = crossbeam_channel::bounded(1);
        let hurry = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&hurry);
        std::thread::Builder::new()
            .name("weir-spares".to_owned())
            .spawn(move || {
                for (files, number) in work {
                    if done.send(files.make_spare(number, &asked)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { jobs, made, hurry })
    }

    /// Has a spare made, gently unless someone waits for it.
    pub(super) fn make(&self, files: SegmentFiles, number: u64, hurry: bool) {
        self.hurry.store(hurry, Ordering::Relaxed);
        let asked = self.jobs.send((files, number));
        asked.expect("the filler lives as long as the keeper");
    }

    /// Someone waits for the spare that is being made.
    pub(super) fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }
}
