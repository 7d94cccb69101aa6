//! Replies of LogDNA's `/logs/ingest`: `{"status":"ok","batchID":"…"}`.
//!
//! A 2xx is a success; one whose `status` is another word says why it is none.

use serde::Deserialize;

use super::Answered;
use crate::sink::Outcome;

#[derive(Default, Deserialize)]
struct IngestReply {
    status: Option<String>,
}

/// What the body of a success adds to it.
pub(super) fn judge(answered: Answered<'_>) -> Outcome {
    let said: IngestReply = serde_json::from_slice(&answered.reply.body).unwrap_or_default();
    match said.status {
        Some(status) if !status.eq_ignore_ascii_case("ok") => Outcome::Refused {
            why: answered.told("rejected_in_reply"),
        },
        _ => Outcome::Delivered,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, reply, summary};
    use crate::sink::settings::ReplyForm;

    #[test]
    fn a_success_counts_unless_its_status_is_another_word() {
        for (body, expected) in [
            (r#"{"status":"ok","batchID":"a:1"}"#, "delivered"),
            (r#"{"status":"OK"}"#, "delivered"),
            ("{}", "delivered"),
            ("", "delivered"),
            ("queued", "delivered"),
            (r#"{"status":200}"#, "delivered"),
            (
                r#"{"status":"error","error":"Invalid payload","code":"BadRequest"}"#,
                "refused rejected_in_reply",
            ),
        ] {
            let reply = reply(200, &[], body);
            let verdict = answered(&reply, 2).judge(ReplyForm::Logdna);
            assert_eq!(summary(&verdict), expected, "{body}");
        }
    }
}
