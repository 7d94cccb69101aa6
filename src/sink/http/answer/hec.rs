//! Replies of Splunk's HTTP Event Collector.
//!
//! The body is `{"text","code","invalid-event-number","ackId"}`; the codes are those of Splunk's
//! page "Troubleshoot HTTP Event Collector". They say more than the status: a 400 may mean the
//! token, one event or the index.
//!
//! `invalid-event-number` counts from 0. The events before it are indexed, those behind it were not
//! looked at. With indexer acknowledgement such a reply brings no number to ask by, so nothing
//! is known of the events before it, and they are sent again.

use serde::Deserialize;

use super::{Answered, Reply, ReplyEnd, Secrets, Verdict, describe};
use crate::sink::{Failure, Outcome};

/// The parts of a reply that decide; all optional, because proxies answer as well.
#[derive(Debug, Default, Deserialize)]
struct HecReply {
    code: Option<u16>,
    #[serde(rename = "invalid-event-number")]
    invalid: Option<u32>,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

/// What the codes mean, in the classes that call for different deeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Success,
    Token,
    Data,
    Index,
    Busy,
    Acknowledgement,
    /// The status decides.
    Other,
}

fn class(code: u16) -> Class {
    match code {
        0 => Class::Success,
        // Disabled, required, invalid authorization, invalid; not allowed in the query.
        1..=4 | 16 | 21 | 22 => Class::Token,
        // No data, invalid format, event field missing or blank, bad indexed fields.
        5 | 6 | 12 | 13 | 15 => Class::Data,
        7 => Class::Index,
        // Busy; unhealthy queues; shutting down; queues at capacity.
        9 | 18..=20 | 23 | 26 | 27 => Class::Busy,
        // Channel missing or invalid; acknowledgement disabled.
        10 | 11 | 14 => Class::Acknowledgement,
        _ => Class::Other,
    }
}

/// The verdict; `acknowledged` when the stream waits for indexers.
pub(super) fn judge(answered: Answered<'_>, by_status: Outcome, acknowledged: bool) -> Verdict {
    let reply = answered.reply;
    let untrusted = reply.status.is_success() && by_status != Outcome::Delivered;
    if untrusted || matches!(by_status, Outcome::Split { .. }) {
        return Verdict::Settled(by_status);
    }
    let said: HecReply = serde_json::from_slice(&reply.body).unwrap_or_default();
    let refused = |reason| Outcome::Refused {
        why: answered.told(reason),
    };
    Verdict::Settled(match said.code.map_or(Class::Other, class) {
        Class::Success | Class::Other if by_status == Outcome::Delivered && acknowledged => {
            match said.ack_id {
                Some(id) => return Verdict::Acknowledge(id),
                None => refused("hec_ack"),
            }
        }
        Class::Success | Class::Other => by_status,
        Class::Token => refused("hec_token"),
        Class::Index => refused("hec_index"),
        Class::Acknowledgement => refused("hec_ack"),
        Class::Busy => Outcome::Retry {
            why: answered.told("hec_busy"),
            after: match by_status {
                Outcome::Retry { after, .. } => after,
                _ => None,
            },
        },
        Class::Data => match said.invalid {
            Some(number) if number < answered.events => {
                let from = if acknowledged { 0 } else { number + 1 };
                let others = (from..answered.events).filter(|other| *other != number);
                Outcome::Partial {
                    retry: others.collect(),
                    reject: vec![(number, answered.told("hec_data"))],
                    why: answered.told("hec_data"),
                    after: None,
                }
            }
            _ => refused("hec_data"),
        },
    })
}

/// What an indexer said of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::sink::http) enum Acknowledged {
    /// It is safe.
    Indexed,
    /// Not yet.
    Pending,
    /// It will never be said.
    Refused(Failure),
}

/// Reads the reply to a question for an acknowledgement: `{"acks":{"7":true}}`.
pub(in crate::sink::http) fn acknowledged(
    reply: &Reply,
    id: u64,
    secrets: &Secrets,
) -> Acknowledged {
    #[derive(Default, Deserialize)]
    struct Acks {
        #[serde(default)]
        acks: std::collections::BTreeMap<String, bool>,
    }
    if reply.status.is_client_error() && reply.status.as_u16() != 429 {
        return Acknowledged::Refused(Failure {
            reason: "hec_ack",
            detail: describe(reply, secrets),
        });
    }
    let said: Acks = serde_json::from_slice(&reply.body).unwrap_or_default();
    let whole = reply.status.is_success() && reply.end == ReplyEnd::Whole;
    if whole && said.acks.get(&id.to_string()) == Some(&true) {
        Acknowledged::Indexed
    } else {
        Acknowledged::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, reply, summary};
    use super::*;
    use crate::sink::settings::ReplyForm;
    use std::time::Duration;

    fn check(status: u16, body: &str, acknowledged: bool, expected: &str) {
        let form = ReplyForm::SplunkHec {
            acknowledgement: acknowledged.then_some(Duration::from_secs(300)),
        };
        let reply = reply(status, &[], body);
        let verdict = answered(&reply, 4).judge(form);
        assert_eq!(summary(&verdict), expected, "{status} {body}");
    }

    #[test]
    fn every_documented_code_has_its_outcome() {
        let cases = [
            (200, "Success", 0, "delivered"),
            (403, "Token disabled", 1, "refused hec_token"),
            (401, "Token is required", 2, "refused hec_token"),
            (401, "Invalid authorization", 3, "refused hec_token"),
            (403, "Invalid token", 4, "refused hec_token"),
            (400, "No data", 5, "refused hec_data"),
            (400, "Invalid data format", 6, "refused hec_data"),
            (400, "Incorrect index", 7, "refused hec_index"),
            (500, "Internal server error", 8, "retry http_5xx"),
            (503, "Server is busy", 9, "retry hec_busy"),
            (400, "Data channel is missing", 10, "refused hec_ack"),
            (400, "Invalid data channel", 11, "refused hec_ack"),
            (400, "Event field is required", 12, "refused hec_data"),
            (400, "Event field cannot be blank", 13, "refused hec_data"),
            (400, "ACK is disabled", 14, "refused hec_ack"),
            (429, "Queue at capacity", 26, "retry hec_busy"),
            (413, "Request entity too large", 6, "split http_4xx"),
            (
                404,
                "The requested URL was not found",
                404,
                "refused http_4xx",
            ),
        ];
        for (status, text, code, expected) in cases {
            let body = format!(r#"{{"text":"{text}","code":{code}}}"#);
            check(status, &body, false, expected);
        }
    }

    #[test]
    fn what_is_not_splunk_s_is_told_by_the_status() {
        check(
            502,
            "<html>a balancer alone</html>",
            false,
            "retry http_5xx",
        );
        check(403, "<html>a firewall</html>", false, "refused http_4xx");
        check(200, "", false, "delivered");
        // A number that means nothing without the code that goes with it.
        let index = r#"{"code":7,"invalid-event-number":1}"#;
        check(400, index, false, "refused hec_index");
        let busy = r#"{"code":9,"invalid-event-number":2}"#;
        check(503, busy, false, "retry hec_busy");
    }

    #[test]
    fn an_invalid_event_is_rejected_and_what_stands_behind_it_is_sent_again() {
        for code in [6, 12, 13, 15] {
            let body = |number| format!(r#"{{"code":{code},"invalid-event-number":{number}}}"#);
            let partial = "partial retry [2, 3] reject [(1, hec_data)]";
            check(400, &body(1), false, partial);
            check(
                400,
                &body(3),
                false,
                "partial retry [] reject [(3, hec_data)]",
            );
            check(400, &body(4), false, "refused hec_data");
            // Without an acknowledgement of their own, those before it count as not delivered.
            let partial = "partial retry [0, 2, 3] reject [(1, hec_data)]";
            check(400, &body(1), true, partial);
        }
    }

    #[test]
    fn with_acknowledgement_a_success_is_a_number_to_ask_by() {
        check(
            200,
            r#"{"text":"Success","code":0,"ackId":7}"#,
            true,
            "acknowledge 7",
        );
        check(
            200,
            r#"{"text":"Success","code":0}"#,
            true,
            "refused hec_ack",
        );
        check(200, "fine", true, "refused hec_ack");
        check(
            503,
            r#"{"text":"Server is busy","code":9}"#,
            true,
            "retry hec_busy",
        );
    }

    #[test]
    fn only_true_under_the_own_number_acknowledges() {
        let secrets = Secrets::new(std::iter::empty(), &[]);
        let said = |status, body: &str| acknowledged(&reply(status, &[], body), 7, &secrets);
        assert_eq!(
            said(200, r#"{"acks":{"7":true,"8":false}}"#),
            Acknowledged::Indexed
        );
        for (status, body) in [
            (200, r#"{"acks":{"7":false}}"#),
            (200, r#"{"acks":{"8":true}}"#),
            (200, "{}"),
            (200, "not JSON"),
            (503, r#"{"acks":{"7":true}}"#),
            (429, ""),
        ] {
            assert_eq!(said(status, body), Acknowledged::Pending, "{status} {body}");
        }
        let refused = said(400, r#"{"text":"ACK is disabled","code":14}"#);
        assert!(
            matches!(refused, Acknowledged::Refused(why) if why.reason == "hec_ack" && why.detail.contains("disabled"))
        );
    }
}
