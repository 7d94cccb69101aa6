//! Key paths as an operator writes them in a configuration: keys joined by dots; `\.` is a dot within a key and `\\` a
//! backslash. What a path leads to is said in [`tree`](super::tree).

use super::tree::Path;

/// Reads a path as it is written in a configuration.
///
/// # Errors
/// With what is wrong, in words that go behind the path.
pub fn parse(text: &str) -> Result<Path, &'static str> {
    let mut keys = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let key = keys.last_mut().expect("there is always one");
        match character {
            '.' => keys.push(String::new()),
            '\\' => match characters.next() {
                Some(escaped @ ('.' | '\\')) => key.push(escaped),
                _ => return Err("a backslash stands before a dot or a backslash only"),
            },
            other => key.push(other),
        }
    }
    if keys.iter().any(String::is_empty) {
        return Err("a key is empty");
    }
    if keys.len() > crate::limits::NESTING_DEPTH_MAX {
        return Err("it is deeper than any event");
    }
    Ok(keys.into_iter().map(String::into_boxed_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_dots_escaped_or_not() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let keys = parse(text).ok();
            let keys: Option<Vec<&str>> = keys
                .as_ref()
                .map(|keys| keys.iter().map(AsRef::as_ref).collect());
            assert_eq!(keys.as_deref(), expected, "{text}");
        };
        check("a", Some(&["a"]));
        check(
            "initiator.host.address",
            Some(&["initiator", "host", "address"]),
        );
        check(r"a\.b.c\\d", Some(&["a.b", r"c\d"]));
        for text in ["", ".", "a.", ".a", "a..b", r"a\", r"a\b"] {
            check(text, None);
        }
    }
}
