//! The rule that examples load: what a user copies first must work.

use std::path::{Path, PathBuf};

use weir::config::{Environment, parse};

use crate::source::{File, Finding, Tree};

/// Every file in `examples/` and every TOML block of README.md is a sound configuration, on
/// a machine that has the files it names.
pub(crate) fn examples_load(tree: &Tree) -> Vec<Finding> {
    let files = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with("examples/"));
    let whole = files
        .filter(|file| file.path.ends_with(".toml"))
        .map(|file| (file, 1, file.text.clone()));
    let readme = tree.file("README.md").into_iter().flat_map(|file| {
        blocks(file)
            .into_iter()
            .map(move |(line, text)| (file, line, text))
    });
    let mut findings = Vec::new();
    for (file, line, text) in whole.chain(readme) {
        if let Err(mistakes) = parse(&text, &file.path, &any_machine()) {
            let advice = format!("does not load, line numbers count from here: {mistakes}");
            findings.push(file.finding(line, "example", advice));
        }
    }
    findings
}

/// A machine with two cores that has every file.
fn any_machine() -> Environment {
    Environment {
        cores: 2,
        working_dir: PathBuf::from("/srv"),
        file_exists: |_: &Path| true,
    }
}

/// The TOML blocks of a Markdown file with the lines they start on, from 1.
fn blocks(file: &File) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (index, line) in file.text.lines().enumerate() {
        match (inside, line) {
            (false, "```toml") => {
                inside = true;
                blocks.push((index + 2, String::new()));
            }
            (true, "```") => inside = false,
            (true, text) => {
                let (_, block) = blocks.last_mut().expect("a block was opened");
                block.push_str(text);
                block.push('\n');
            }
            (false, _) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::places;

    #[test]
    fn an_example_that_does_not_load_is_found() {
        let sound = weir::config::embedded_default();
        let readme = format!("# A\n```toml\n{sound}```\n```toml\n[node]\ndata_dirr = 1\n```\n");
        let files = [
            ("examples/sound.toml", sound),
            ("examples/broken.toml", "[node]\nshards = \"many\"\n"),
            ("README.md", readme.as_str()),
        ];
        let bad_block = sound.lines().count() + 5;
        let expected = [
            "README.md:".to_owned() + &bad_block.to_string(),
            "examples/broken.toml:1".to_owned(),
        ];
        assert_eq!(places(examples_load, &files), expected);
    }
}
