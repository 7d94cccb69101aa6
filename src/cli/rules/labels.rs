//! `--label NAME=VALUE`: the labels of events that come without any.

use crate::cli::CommandError;
use crate::event::{InputId, Labels};
use crate::ingest::validate;

/// Names of labels that may be given.
const NAMES: [&str; 9] = [
    "application",
    "subsystem",
    "host",
    "level",
    "env",
    "tags",
    "meta",
    "sender",
    "peer",
];

/// The labels that these arguments give.
pub(super) fn parse(given: &[String]) -> Result<Labels, CommandError> {
    let mut labels = Labels::of_input(InputId(0));
    for argument in given {
        set(&mut labels, argument)
            .map_err(|why| CommandError::Usage(format!("--label {argument}: {why}")))?;
    }
    Ok(labels)
}

fn set(labels: &mut Labels, argument: &str) -> Result<(), String> {
    let Some((name, value)) = argument.split_once('=') else {
        return Err("is not NAME=VALUE; write for example application=billing".to_owned());
    };
    let label = match name {
        "application" => &mut labels.application,
        "subsystem" => &mut labels.subsystem,
        "host" => &mut labels.host,
        "level" => &mut labels.level,
        "env" => &mut labels.env,
        "tags" => &mut labels.tags,
        "meta" => &mut labels.meta,
        "sender" => &mut labels.sender,
        "peer" => &mut labels.peer,
        _ => return Err(format!("no such label; there are {}", NAMES.join(", "))),
    };
    if label.is_some() {
        return Err("is given twice".to_owned());
    }
    if name == "meta" {
        validate::validate(value.as_bytes())
            .map_err(|error| format!("is not one JSON object: {error}"))?;
    }
    *label = Some(value.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(given: &[&str]) -> Result<Labels, String> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        parse(&given).map_err(|error| error.to_string())
    }

    #[test]
    fn each_named_label_is_set_once() {
        for name in NAMES {
            let argument = format!("{name}={{\"a\":\"=\"}}");
            let labels = parsed(&[&argument]).expect("a known label");
            let all = [
                &labels.application,
                &labels.subsystem,
                &labels.host,
                &labels.level,
                &labels.env,
                &labels.tags,
                &labels.meta,
                &labels.sender,
                &labels.peer,
            ];
            let set: Vec<bool> = all.iter().map(|label| label.is_some()).collect();
            let expected: Vec<bool> = NAMES.iter().map(|known| *known == name).collect();
            assert_eq!(set, expected, "{name}");
            let twice = parsed(&[&argument, &argument]).expect_err("given twice");
            assert!(twice.ends_with("is given twice"), "{twice}");
        }
    }

    #[test]
    fn what_is_no_label_is_refused_with_what_would_be() {
        let unknown = parsed(&["app=x"]).expect_err("an unknown name");
        assert!(NAMES.iter().all(|name| unknown.contains(name)), "{unknown}");
        let bare = parsed(&["application"]).expect_err("no value");
        assert!(bare.contains("NAME=VALUE"), "{bare}");
        let meta = parsed(&["meta=[1]"]).expect_err("no object");
        assert!(meta.contains("byte 0"), "{meta}");
    }
}
