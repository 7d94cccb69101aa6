//! Words and symbols of other languages, and what they are called here.
//!
//! Owns: the suggestions on what people paste or write by habit. Leaves to others: where that is a mistake.

/// What was probably meant by a symbol that the language has not.
pub(super) fn mistaken(symbol: &str) -> Option<&'static str> {
    Some(match symbol {
        "=" | "===" | ":=" => "did you mean `==`?",
        "!==" | "<>" => "did you mean `!=`?",
        "!~~" => "did you mean `!($d ~~ 'text')`?",
        "=~" => "did you mean `.matches(/…/)`?",
        "=>" => "did you mean `>=` or, in a case, `->`?",
        "&" => "did you mean `&&`?",
        "|" => "did you mean `||`?",
        "**" => "did you mean `power(a, b)`?",
        "?" => "did you mean `if(condition, a, b)`?",
        ";" => "a rule is one condition, without `;`",
        _ => return None,
    })
}

/// Commands of the pipe language around DPXL, which people paste with the condition.
pub(super) const COMMANDS: [&str; 29] = [
    "source",
    "from",
    "filter",
    "f",
    "where",
    "block",
    "choose",
    "select",
    "remove",
    "create",
    "add",
    "replace",
    "move",
    "convert",
    "redact",
    "extract",
    "roundtime",
    "limit",
    "find",
    "text",
    "wildfind",
    "wildtext",
    "lucene",
    "count",
    "countby",
    "groupby",
    "distinct",
    "orderby",
    "top",
];

/// Words that are operators elsewhere, and what they are here.
pub(super) const WORDS: [(&str, &str); 8] = [
    ("and", "did you mean `&&`?"),
    ("or", "did you mean `||`?"),
    ("not", "did you mean `!`?"),
    ("in", "did you mean `in(field, 'a', 'b')`?"),
    (
        "like",
        "did you mean `.contains('…')`, or `~ '…'` without regard to case?",
    ),
    ("contains", "did you mean `.contains('…')`?"),
    ("is", "did you mean `== null` or `!= null`?"),
    ("between", "did you mean `>= … && … <=`?"),
];
