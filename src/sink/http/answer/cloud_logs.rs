//! Replies of IBM Cloud Logs' `/logs/v1/singles`.
//!
//! A 200 may carry a body saying that some lines were not accepted. Its form is documented nowhere,
//! so this reads what such bodies commonly are: a member `rejected`, `failed` or `errors` with a count
//! or a list, whose items are line numbers or objects that hold one. Lines that are named are
//! rejected. When lines are rejected but not named, the batch is refused, so that the stream
//! finds them by halves: they must not pass for delivered. All else is a success.

use serde_json::{Map, Value};

use super::Answered;
use crate::sink::{Failure, Outcome};

const LISTS: [&str; 3] = ["rejected", "failed", "errors"];
const NUMBERS: [&str; 4] = ["index", "line", "position", "number"];
const TEXTS: [&str; 3] = ["reason", "message", "error"];

/// What the body of a success adds to it.
pub(super) fn judge(answered: Answered<'_>) -> Outcome {
    let body: Value = serde_json::from_slice(&answered.reply.body).unwrap_or_default();
    let found = LISTS.iter().find_map(|name| body.get(name));
    let refused = || Outcome::Refused {
        why: answered.told("rejected_in_reply"),
    };
    match found {
        Some(Value::Array(items)) if !items.is_empty() => {
            let named: Option<Vec<_>> = items.iter().map(|item| rejected(answered, item)).collect();
            let Some(mut reject) = named else {
                return refused();
            };
            reject.sort_by_key(|(number, _)| *number);
            reject.dedup_by_key(|(number, _)| *number);
            Outcome::Partial {
                retry: Vec::new(),
                why: reject[0].1.clone(),
                reject,
                after: None,
            }
        }
        Some(Value::Number(count)) if count.as_u64() != Some(0) => refused(),
        Some(Value::Bool(true)) => refused(),
        _ => Outcome::Delivered,
    }
}

/// Number and reason of a rejected line; `None` when the item names none of the batch.
fn rejected(answered: Answered<'_>, item: &Value) -> Option<(u32, Failure)> {
    let member = |names: &[&str]| {
        let object: &Map<String, Value> = item.as_object()?;
        names.iter().find_map(|name| object.get(*name))
    };
    let number = item
        .as_u64()
        .or_else(|| member(&NUMBERS).and_then(Value::as_u64))?;
    let number = u32::try_from(number)
        .ok()
        .filter(|n| *n < answered.events)?;
    let text = member(&TEXTS).and_then(Value::as_str);
    let why = text.map_or_else(
        || answered.told("rejected_in_reply"),
        |text| answered.told_of("rejected_in_reply", text),
    );
    Some((number, why))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, reply, summary};
    use crate::sink::settings::ReplyForm;

    #[test]
    fn lines_that_a_success_rejects_never_pass_for_delivered() {
        let one = "partial retry [] reject [(1, rejected_in_reply)]";
        let two = "partial retry [] reject [(0, rejected_in_reply), (2, rejected_in_reply)]";
        for (body, expected) in [
            ("", "delivered"),
            ("{}", "delivered"),
            ("ok", "delivered"),
            (r#"{"accepted":3,"rejected":0}"#, "delivered"),
            (r#"{"errors":[]}"#, "delivered"),
            (r#"{"errors":false}"#, "delivered"),
            (r#"{"rejected":[1]}"#, one),
            (
                r#"{"rejected":[{"index":2,"reason":"too old"},{"index":0},{"index":2}]}"#,
                two,
            ),
            (r#"{"rejected":1}"#, "refused rejected_in_reply"),
            (
                r#"{"errors":["line too long"]}"#,
                "refused rejected_in_reply",
            ),
            (r#"{"rejected":[3]}"#, "refused rejected_in_reply"),
        ] {
            let reply = reply(200, &[], body);
            let verdict = answered(&reply, 3).judge(ReplyForm::CloudLogs);
            assert_eq!(summary(&verdict), expected, "{body}");
        }
    }
}
