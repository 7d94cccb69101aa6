//! Key paths of a line, and their values by the walk that rules use.
//!
//! A path is followed as rules follow it ([`filter::tree`](crate::filter::tree)): keys are compared decoded, the first of
//! equal keys wins also when what it leads to is no object, and a step into anything but an object finds nothing.

use crate::filter::path;
use crate::filter::tree::Path;
use crate::filter::{PathId, Paths, Walker};

use super::TemplateError;

/// Reads a path as it is written in a configuration.
pub(super) fn parse(text: &str) -> Result<Path, TemplateError> {
    path::parse(text).map_err(|why| TemplateError::path(text, why))
}

/// The values of many paths in one line.
pub(super) struct Values<'a> {
    walker: &'a mut Walker,
    paths: &'a Paths,
    line: &'a [u8],
}

impl<'a> Values<'a> {
    pub(super) fn of(walker: &'a mut Walker, paths: &'a Paths, line: &'a [u8]) -> Self {
        walker.begin(paths, line);
        Self {
            walker,
            paths,
            line,
        }
    }

    /// The raw value, quotes included.
    pub(super) fn find(&mut self, path: PathId) -> Option<&'a [u8]> {
        let place = self.walker.find(self.paths, self.line, path)?;
        self.line.get(place)
    }
}
