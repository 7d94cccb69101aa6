//! Names of fields: where the value of each is found.
//!
//! Owns: the table of names with a meaning of their own. Leaves to others: how values are compared.
//!
//! | name | is, in this order |
//! | --- | --- |
//! | `host`, `_host`, `source` | the label `host`, the event's key of that name, the service in `logSourceCRN` |
//! | `app`, `_app` | the label `application`, the event's key of that name, `logSourceCRN` |
//! | `_platform` | key `_platform` of the label `meta`, of the event, the service in `logSourceCRN` |
//! | `level` | the label `level`, the event's key `level`, its key `severity` |
//! | `env` | the label `env`, the event's key `env` |
//! | `tag` | the label `tags`, one by one, the event's key `tag` |
//! | `file` | the label `peer`, the event's key `file` |
//! | `label.x` | key `label.x` of the label `meta`, of the event |
//! | `meta.x` | key `x` of the label `meta`, the event's key `meta.x` |
//! | `line`, `_line` | the text of the line |
//! | any other | the event's key; dots lead into objects |
//!
//! Each of the first names also looks for the event's key of exactly that name (`_host:x` never sees a key `host`),
//! so that lines that another LogDNA client wrote are found by what they hold. Case matters in names.

use super::FIELD_NAME_BYTES_MAX;
use crate::filter::tree::{Field, Label, Path, Source};

/// What a condition speaks of.
pub(super) enum Subject {
    /// The text of the line.
    Line,
    /// A value.
    Field(Field),
}

/// A name that cannot be asked for, and why.
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) suggestion: Option<&'static str>,
}

/// Where the Activity Tracker has the name of the service (its fifth segment) and of the instance (all of it).
const LOG_SOURCE: &str = "logSourceCRN";

/// What `name` speaks of.
///
/// # Errors
/// The name is empty or too long, a part of it between dots is empty, or it belongs to searches only.
pub(super) fn subject(name: &str) -> Result<Subject, Refusal> {
    let sources = match name {
        "" => {
            return Err(Refusal {
                message: "expected the name of a field before `:`".to_owned(),
                suggestion: Some("a text that begins with `:` goes between double quotes"),
            });
        }
        "line" | "_line" => return Ok(Subject::Line),
        "_retention" | "_mezmo_line_size" => {
            return Err(Refusal {
                message: format!("`{name}` cannot be used in an exclusion rule"),
                suggestion: None,
            });
        }
        "host" | "_host" | "source" => vec![
            Source::Label(Label::Host),
            Source::Data(path(name)),
            Source::CrnService(path(LOG_SOURCE)),
        ],
        "app" | "_app" => vec![
            Source::Label(Label::Application),
            Source::Data(path(name)),
            Source::Data(path(LOG_SOURCE)),
        ],
        "_platform" => vec![
            Source::Meta(path(name)),
            Source::Data(path(name)),
            Source::CrnService(path(LOG_SOURCE)),
        ],
        "level" => vec![
            Source::Label(Label::Level),
            Source::Data(path(name)),
            Source::Data(path("severity")),
        ],
        "env" => vec![Source::Label(Label::Env), Source::Data(path(name))],
        "tag" => vec![Source::Label(Label::Tags), Source::Data(path(name))],
        "file" => vec![Source::Label(Label::Peer), Source::Data(path(name))],
        _ => key_sources(name)?,
    };
    Ok(Subject::Field(Field {
        name: name.into(),
        sources: sources.into(),
    }))
}

fn key_sources(name: &str) -> Result<Vec<Source>, Refusal> {
    if name.len() > FIELD_NAME_BYTES_MAX {
        return Err(Refusal {
            message: format!("the name of this field is longer than {FIELD_NAME_BYTES_MAX} bytes"),
            suggestion: None,
        });
    }
    if name.split('.').any(str::is_empty) {
        return Err(Refusal {
            message: "a part of this field name is empty".to_owned(),
            suggestion: Some("names are keys joined by single dots: `a.b.c`"),
        });
    }
    let data = Source::Data(path(name));
    Ok(if name.starts_with("label.") {
        vec![Source::Meta(path(name)), data]
    } else if let Some(key) = name.strip_prefix("meta.") {
        vec![Source::Meta(path(key)), data]
    } else {
        vec![data]
    })
}

fn path(name: &str) -> Path {
    name.split('.').map(Box::from).collect()
}
