//! The progress line on a terminal.
//!
//! Owns the bar on standard error; where that is no terminal, or JSON is asked for, nothing is shown.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::{Clock, micros};

/// A bar that fills with time or with work.
pub(crate) struct Meter {
    bar: ProgressBar,
    clock: Clock,
    last: (u64, u64),
}

impl Meter {
    /// A bar of `length` steps; hidden unless `visible` and on a terminal.
    pub(crate) fn new(visible: bool, length: u64) -> Self {
        let shown = visible && std::io::stderr().is_terminal();
        let bar = if shown {
            ProgressBar::new(length)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let clock = Clock::start();
        Self {
            bar,
            clock,
            last: (clock.now_us(), 0),
        }
    }

    /// A bar that is full after `duration`.
    pub(crate) fn over(visible: bool, duration: Option<Duration>) -> Self {
        Self::new(visible, duration.map_or(0, |time| micros(time) / 1_000))
    }

    /// Shows the position and the rate since the last call; `bytes` is a running total.
    pub(crate) fn show_rate(&mut self, position: u64, text: &str, bytes: u64) {
        let now_us = self.clock.now_us();
        let (then_us, before) = self.last;
        if now_us < then_us + REDRAW_US {
            return;
        }
        self.last = (now_us, bytes);
        let rate = bytes.saturating_sub(before) as f64 / (now_us - then_us) as f64;
        self.bar.set_position(position);
        self.bar.set_message(format!("{text}, {rate:.0} MB/s"));
    }

    /// Shows the position.
    pub(crate) fn show(&self, position: u64, text: &str) {
        self.bar.set_position(position);
        self.bar.set_message(text.to_owned());
    }

    /// Removes the bar.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

const REDRAW_US: u64 = 400_000;
