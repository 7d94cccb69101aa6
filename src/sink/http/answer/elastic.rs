//! Replies to Elasticsearch and OpenSearch bulk requests.
//!
//! A 200 says only that the request was understood; what became of each document stands in `items`,
//! in the order of the request: `{"took","errors":true,"items":[{"create":{"status","error":{"type",
//! "reason"}}}]}`. When `errors` is false nothing else is read. A document whose id is there already
//! (409) was delivered by an earlier try.
//!
//! When every document is refused with 401, 403 or 404 it is not the documents that are at fault, but
//! the index or our rights: the batch is refused, and nothing is rejected.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memmem;
use serde::Deserialize;

use super::{Answered, ReplyEnd};
use crate::sink::{Failure, Outcome};

#[derive(Deserialize)]
struct Bulk<'r> {
    /// By the word of the action, of which each has one.
    #[serde(borrow)]
    items: Vec<BTreeMap<&'r str, Item<'r>>>,
}

#[derive(Deserialize)]
struct Item<'r> {
    status: u16,
    #[serde(borrow)]
    error: Option<ItemError<'r>>,
}

#[derive(Deserialize)]
struct ItemError<'r> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'r, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'r, str>>,
}

/// What the documents' results make of the batch; the reply is a success.
pub(super) fn judge(answered: Answered<'_>) -> Outcome {
    let body = &answered.reply.body;
    if errors(body) == Some(false) {
        return Outcome::Delivered;
    }
    let why = || answered.told("protocol_error");
    if answered.reply.end == ReplyEnd::TooLong {
        let mut why = why();
        why.detail = format!(
            "a bulk reply longer than {} MiB says that there are errors",
            body.len() >> 20
        );
        return if answered.events > 1 {
            Outcome::Split { why }
        } else {
            Outcome::Refused { why }
        };
    }
    let items = serde_json::from_slice(body)
        .ok()
        .and_then(|bulk: Bulk<'_>| {
            let items = bulk.items.into_iter().map(|item| item.into_values().next());
            items.collect::<Option<Vec<Item<'_>>>>()
        });
    match items {
        Some(items) if items.len() as u64 == u64::from(answered.events) => settle(answered, &items),
        // A page of something else, or another's results: nothing can be said of any event.
        _ => Outcome::Refused { why: why() },
    }
}

/// The value of `errors`, when it stands before the items, as it does in all versions.
fn errors(body: &[u8]) -> Option<bool> {
    let head = &body[..memmem::find(body, b"\"items\"").unwrap_or(body.len())];
    let (name, rest) = head.split_at(memmem::find(head, b"\"errors\"")? + b"\"errors\"".len());
    debug_assert!(name.ends_with(b"\"errors\""));
    let value = rest.trim_ascii_start().strip_prefix(b":")?;
    match value.trim_ascii_start() {
        value if value.starts_with(b"false") => Some(false),
        value if value.starts_with(b"true") => Some(true),
        _ => None,
    }
}

fn settle(answered: Answered<'_>, items: &[Item<'_>]) -> Outcome {
    let (mut retry, mut reject, mut why) = (Vec::new(), Vec::new(), None);
    let mut created = false;
    for (number, item) in (0..).zip(items) {
        match item.status {
            200..=299 => created = true,
            409 => {}
            429 | 500..=599 => {
                retry.push(number);
                why.get_or_insert_with(|| failure(answered, item));
            }
            _ => reject.push((number, failure(answered, item))),
        }
    }
    let is_ours = |number: u32| {
        let item = usize::try_from(number).ok().and_then(|n| items.get(n));
        item.is_some_and(|item| matches!(item.status, 401 | 403 | 404))
    };
    let first = reject.first().map(|(_, why)| why.clone());
    match (first, why) {
        (None, None) => Outcome::Delivered,
        (Some(why), None) if !created && reject.iter().all(|(number, _)| is_ours(*number)) => {
            Outcome::Refused { why }
        }
        (first, why) => Outcome::Partial {
            why: why.or(first).expect("one of them is there"),
            retry,
            reject,
            after: None,
        },
    }
}

fn failure(answered: Answered<'_>, item: &Item<'_>) -> Failure {
    let error = item.error.as_ref();
    let kind = error
        .and_then(|error| error.kind.as_deref())
        .unwrap_or_default();
    let said = error
        .and_then(|error| error.reason.as_deref())
        .unwrap_or_default();
    let reason = match (item.status, kind) {
        (500..=599, _) => "http_5xx",
        (
            _,
            "mapper_parsing_exception"
            | "document_parsing_exception"
            | "strict_dynamic_mapping_exception",
        ) => "elastic_mapping",
        _ => "http_4xx",
    };
    answered.told_of(reason, &format!("{} {kind}: {said}", item.status))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answered, reply, summary};
    use super::*;
    use crate::sink::settings::ReplyForm;

    fn check(body: &str, events: u32, expected: &str) {
        let reply = reply(200, &[], body);
        let verdict = answered(&reply, events).judge(ReplyForm::ElasticBulk);
        assert_eq!(summary(&verdict), expected, "{body}");
    }

    const CREATED: &str = r#"{"create":{"_index":"audit","_id":"a","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":7,"_primary_term":1,"status":201}}"#;
    const THERE: &str = r#"{"create":{"_index":"audit","_id":"a","status":409,"error":{"type":"version_conflict_engine_exception","reason":"[a]: version conflict, document already exists (current version [1])","index":"audit","shard":"0"}}}"#;
    const MAPPING: &str = r#"{"create":{"_index":"audit","_id":"c","status":400,"error":{"type":"document_parsing_exception","reason":"[1:88] failed to parse field [n] of type [long]","caused_by":{"type":"illegal_argument_exception","reason":"For input string: \"x\""}}}}"#;
    const QUEUE: &str = r#"{"create":{"_index":"audit","_id":"d","status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected execution of coordinating operation"}}}"#;
    const SHARD: &str = r#"{"create":{"status":503,"error":{"type":"unavailable_shards_exception","reason":"primary shard is not active"}}}"#;
    const NO_INDEX: &str = r#"{"create":{"_index":"audit","_id":"e","status":404,"error":{"type":"index_not_found_exception","reason":"no such index [audit]"}}}"#;

    fn bulk(items: &[&str]) -> String {
        format!(
            "{{\"took\":30,\"errors\":true,\"items\":[{}]}}",
            items.join(",")
        )
    }

    #[test]
    fn without_errors_the_items_are_not_looked_at() {
        check(
            r#"{"took":3,"errors":false,"items":[broken"#,
            2,
            "delivered",
        );
        check("{ \"errors\" : false }", 9, "delivered");
        // OpenSearch tells more before it.
        let body = r#"{"took":3,"ingest_took":1,"errors":false,"items":[]}"#;
        check(body, 2, "delivered");
    }

    #[test]
    fn each_item_has_its_outcome() {
        let cases = [
            (bulk(&[CREATED, THERE]), "delivered"),
            (
                bulk(&[CREATED, MAPPING, QUEUE, SHARD]),
                "partial retry [2, 3] reject [(1, elastic_mapping)]",
            ),
            (
                bulk(&[CREATED, NO_INDEX]),
                "partial retry [] reject [(1, http_4xx)]",
            ),
            (
                bulk(&[MAPPING]),
                "partial retry [] reject [(0, elastic_mapping)]",
            ),
            (bulk(&[QUEUE]), "partial retry [0] reject []"),
        ];
        for (body, expected) in cases {
            let events = u32::try_from(body.matches("{\"create\":").count()).unwrap();
            check(&body, events, expected);
        }
    }

    #[test]
    fn what_refuses_every_document_alike_is_not_the_documents_fault() {
        check(&bulk(&[NO_INDEX, NO_INDEX]), 2, "refused http_4xx");
        check(&bulk(&[THERE, NO_INDEX]), 2, "refused http_4xx");
        let mixed = "partial retry [] reject [(0, http_4xx), (1, elastic_mapping)]";
        check(&bulk(&[NO_INDEX, MAPPING]), 2, mixed);
    }

    #[test]
    fn what_is_no_bulk_reply_of_this_batch_settles_nothing() {
        for body in ["", "<html>", "{}", "[]", r#"{"errors":true}"#] {
            check(body, 1, "refused protocol_error");
        }
        check(&bulk(&[CREATED]), 2, "refused protocol_error");
        check(
            r#"{"errors":true,"items":[{}]}"#,
            1,
            "refused protocol_error",
        );
    }

    #[test]
    fn a_reply_too_long_to_read_splits_the_batch_unless_it_begins_without_errors() {
        let mut long = reply(200, &[], &bulk(&[CREATED]));
        long.end = ReplyEnd::TooLong;
        let verdict = answered(&long, 2).judge(ReplyForm::ElasticBulk);
        assert_eq!(summary(&verdict), "split protocol_error");
        let verdict = answered(&long, 1).judge(ReplyForm::ElasticBulk);
        assert_eq!(summary(&verdict), "refused protocol_error");
        let mut long = reply(200, &[], r#"{"took":9,"errors":false,"items":[{"#);
        long.end = ReplyEnd::TooLong;
        let verdict = answered(&long, 2).judge(ReplyForm::ElasticBulk);
        assert_eq!(summary(&verdict), "delivered");
    }

    #[test]
    fn the_details_of_a_rejection_are_those_of_the_item() {
        let reply = reply(200, &[], &bulk(&[CREATED, MAPPING]));
        let Outcome::Partial { reject, .. } = judge(answered(&reply, 2)) else {
            panic!("it is partial");
        };
        assert_eq!(
            reject[0].1.detail,
            "400 document_parsing_exception: [1:88] failed to parse field [n] of type [long]"
        );
    }
}
