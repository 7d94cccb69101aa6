//! Where the key paths of DPXL lead: the tables of labels and metadata.
//!
//! Owns: the names behind `$l` and `$m`, without regard to ASCII case, and the virtual field `serviceName`. Promises:
//! labels are strings, `$m.severity` is a severity, `$m.timestamp` a timestamp; the type of a field of the event is left
//! open. Leaves to others: reading a field.

use std::ops::Range;

use super::super::tree::{Field, Label, Path, Source, Type};
use super::Problem;
use super::lexer::Namespace;
use super::nearest::nearest;
use super::nodes::Keypath;

/// A label or a metadatum: its name and the label of the event that has it, or else the key in the label `meta`.
struct Named {
    name: &'static str,
    label: Option<Label>,
}

const fn label(name: &'static str, label: Label) -> Named {
    Named {
        name,
        label: Some(label),
    }
}

const fn meta(name: &'static str) -> Named {
    Named { name, label: None }
}

/// `$l`.
const LABELS: [Named; 8] = [
    label("applicationname", Label::Application),
    label("subsystemname", Label::Subsystem),
    label("computername", Label::Host),
    label("ipaddress", Label::Peer),
    meta("category"),
    meta("classname"),
    meta("methodname"),
    meta("threadid"),
];

/// `$m`.
const METADATA: [&str; 3] = ["timestamp", "severity", "priorityclass"];

/// The field of a key path, named as in the rule, and its type when that is known.
pub(super) fn resolve(
    keypath: &Keypath,
    name: &str,
    span: Range<usize>,
) -> Result<(Field, Option<Type>), Problem> {
    let (sources, known) = match keypath.namespace {
        None | Some(Namespace::Data) => (data(&keypath.keys), None),
        Some(Namespace::Labels) => (labels(keypath, span)?, Some(Type::String)),
        Some(Namespace::Metadata) => metadata(keypath, span)?,
    };
    let field = Field {
        name: name.into(),
        sources: sources.into(),
    };
    Ok((field, known))
}

/// The only key behind `$l` or `$m`, lower case; empty when there are none or many.
fn only_key(keypath: &Keypath) -> String {
    match &keypath.keys[..] {
        [key] => key.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn path(keys: &[&str]) -> Path {
    keys.iter().map(|key| (*key).into()).collect()
}

fn data(keys: &[Box<str>]) -> Vec<Source> {
    let mut sources = vec![Source::Data(keys.into())];
    // Audit events carry the service in their CRN alone.
    if let [key] = keys
        && &**key == "serviceName"
    {
        sources.push(Source::CrnService(path(&["logSourceCRN"])));
    }
    sources
}

fn labels(keypath: &Keypath, span: Range<usize>) -> Result<Vec<Source>, Problem> {
    let key = only_key(keypath);
    match LABELS.iter().find(|known| known.name == key) {
        Some(Named {
            label: Some(label), ..
        }) => Ok(vec![Source::Label(*label)]),
        Some(Named { name, label: None }) => Ok(vec![Source::Meta(path(&[name]))]),
        None => {
            let names: Vec<&str> = LABELS.iter().map(|known| known.name).collect();
            Err(unknown("label", "$l", keypath, &names, span))
        }
    }
}

fn metadata(keypath: &Keypath, span: Range<usize>) -> Result<(Vec<Source>, Option<Type>), Problem> {
    match &*only_key(keypath) {
        "timestamp" => Ok((vec![Source::Time], Some(Type::Timestamp))),
        "severity" => {
            let sources = vec![
                Source::Label(Label::Level),
                Source::Data(path(&["level"])),
                Source::Data(path(&["severity"])),
            ];
            Ok((sources, Some(Type::Severity)))
        }
        "priorityclass" => Ok((
            vec![Source::Meta(path(&["priorityclass"]))],
            Some(Type::String),
        )),
        "logid" => Err(
            Problem::new("`$m.logid` is not supported in rules", span).suggest(
                "it is given by the receiving system, so no event has one here; compare a field of the event",
            ),
        ),
        _ => Err(unknown("metadatum", "$m", keypath, &METADATA, span)),
    }
}

fn unknown(
    what: &str,
    namespace: &str,
    keypath: &Keypath,
    names: &[&'static str],
    span: Range<usize>,
) -> Problem {
    let key = only_key(keypath);
    let message = match &keypath.keys[..] {
        [] => format!("`{namespace}` needs the name of a {what}"),
        [key] => format!("unknown {what} `{key}`"),
        _ => format!("a {what} has no keys of its own"),
    };
    let known = format!("known are {}", names.join(", "));
    Problem::new(message, span).suggest(match nearest(&key, names.iter().copied()) {
        Some(near) if !key.is_empty() && near != key => {
            format!("did you mean `{namespace}.{near}`? {known}")
        }
        _ => known,
    })
}
