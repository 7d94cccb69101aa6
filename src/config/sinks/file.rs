//! `[stream.NAME.file]`.

use std::path::PathBuf;

use super::compression_of;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::{Given, Place};
use crate::config::streams::StreamReader;
use crate::sink::settings::FileSettings;

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_file(
        &self,
        stream: &Section<'_, '_>,
        files: &mut Vec<Given<PathBuf>>,
    ) -> Option<FileSettings> {
        let section = stream.section("file", &keys::stream::FILE);
        let path = section.path("path");
        let compression = section.one_of("compression");
        let rotate_bytes = section.size("rotate_bytes");
        let rotate_age = section.span("rotate_age");
        let keep_files = section.count("keep_files");
        section.finish();
        let path = path?;
        files.push(path.clone());
        Some(FileSettings {
            path: path.value,
            compression: compression_of(compression?.value),
            rotate_bytes: rotate_bytes?.value,
            rotate_age: rotate_age?.value,
            keep_files: u32::try_from(keep_files?.value)
                .expect("the range of keep_files lies in u32"),
        })
    }

    /// Files must have a name, be written by one stream, and stay out of the node's state.
    pub(in crate::config) fn check_files(&self, files: &[Given<PathBuf>]) {
        let data_dir = self.environment.absolute(&self.node.data_dir);
        let out = data_dir.join("out");
        let mut seen: Vec<(PathBuf, &Place)> = Vec::new();
        for file in files {
            let path = self.environment.absolute(&file.value);
            let names_folder = file.value.to_string_lossy().ends_with(['/', '.']);
            if names_folder || path.file_name().is_none() {
                let rule = "names a folder; add the name of a file";
                self.report.refuse(file, rule);
            } else if path.starts_with(&data_dir) && (!path.starts_with(&out) || path == out) {
                let example = self.node.data_dir.join("out").join("events.ndjson");
                self.report.refuse(
                    file,
                    format!(
                        "is inside the data directory, where the journal lives; write for example \
                         \"{}\"",
                        example.display()
                    ),
                );
            }
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == path) {
                let line = first
                    .line
                    .map_or(String::new(), |line| format!(" on line {line}"));
                let subject = &first.subject;
                self.report.refuse(
                    file,
                    format!("is written by {subject}{line} too; give each stream its own file"),
                );
            }
            seen.push((path, &file.place));
        }
    }
}
