//! Spellings that other query languages have and this one has not.
//!
//! Owns: which unquoted texts are refused, since taken literally they would be a rule that silently never matches,
//! and what was probably meant. Leaves to others: texts between double quotes, which always mean themselves.

/// What is wrong, and what to write instead.
pub(super) type Hint = (&'static str, Option<String>);

const WILDCARD: &str = "there are no wildcards";
const DROP_ASTERISK: &str = "words and values are prefixes already; drop the `*`";
const QUOTE_LITERAL: &str = "; the text itself goes between double quotes";

/// Of a word to look for anywhere.
pub(super) fn of_search(word: &str) -> Option<Hint> {
    let operator =
        |message, instead: &str| Some((message, Some(format!("{instead}{QUOTE_LITERAL}"))));
    match word {
        "&&" => operator("`&&` is not an operator here", "write `AND`"),
        "||" => operator("`||` is not an operator here", "write `OR`"),
        "NOT" => operator(
            "`NOT` is not an operator here",
            "write `-` directly before what it negates",
        ),
        _ if word.starts_with('!') => operator(
            "`!` is not an operator here",
            "write `-` directly before what it negates",
        ),
        _ => of_prefix(word),
    }
}

/// Of a value that is a prefix.
pub(super) fn of_value(value: &str) -> Option<Hint> {
    if value.starts_with('!') {
        let suggestion = format!("write `-field:value` for what it is not{QUOTE_LITERAL}");
        return Some(("`!` is not an operator here", Some(suggestion)));
    }
    of_prefix(value)
}

/// Of a word behind `=`.
pub(super) fn of_prefix(text: &str) -> Option<Hint> {
    if text.len() > 1 && text.ends_with('*') {
        return Some((WILDCARD, Some(format!("{DROP_ASTERISK}{QUOTE_LITERAL}"))));
    }
    of_quotes(text)
}

/// Of a value or word that has to be met entirely.
pub(super) fn of_exact_value(value: &str) -> Option<Hint> {
    if value.ends_with('*') {
        let suggestion = format!("without `==` it is a prefix{QUOTE_LITERAL}");
        return Some((WILDCARD, Some(suggestion)));
    }
    of_quotes(value)
}

/// Of an item of a list, which cannot be quoted.
pub(super) fn of_item(item: &str) -> Option<Hint> {
    if item.trim().is_empty() {
        return Some(("this item of the list is empty", None));
    }
    if item.trim_start().starts_with('"') {
        let suggestion = "drop the quotes: an item is all that stands between the commas";
        return Some((
            "items of a list are not quoted",
            Some(suggestion.to_owned()),
        ));
    }
    if item.ends_with('*') {
        return Some((WILDCARD, Some(DROP_ASTERISK.to_owned())));
    }
    None
}

fn of_quotes(text: &str) -> Option<Hint> {
    if !text.starts_with(['\'', '‘', '“', '”']) {
        return None;
    }
    let suggestion = "texts go between plain double quotes: `\"a b\"`";
    Some((
        "this is not the quotation mark of a text",
        Some(suggestion.to_owned()),
    ))
}
