//! Relayed batches: who may send them, what is kept of where they come from, and that each is stored once.

use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use super::harness::{Disk, Node, Reply, settings, with_node};
use crate::ingest::http::RefusalReason;
use crate::ingest::settings::{HttpSettings, RelayToken};

const SITE_A: &str = "Authorization: Basic c2VjcmV0LW9mLXNpdGUtYTo=\r\n";
const SITE_B: &str = "Authorization: Basic c2VjcmV0LW9mLXNpdGUtYjo=\r\n";
const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

fn relaying() -> HttpSettings {
    let token = |name: &str, header: &str| RelayToken {
        name: name.into(),
        authorization: HeaderValue::from_str(header.trim_end().split_once(": ").unwrap().1)
            .unwrap(),
    };
    HttpSettings {
        relay: vec![token("site-a", SITE_A), token("site-b", SITE_B)],
        ..settings()
    }
}

fn request(headers: &str, body: &str) -> String {
    format!(
        "POST /logs/selfstream?hostname=h-1&now=1 HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn relay(node: &Node, token: &str, batch: &str, body: &str) -> Reply {
    let mut client = node.connect().await;
    let headers = format!("{token}{NDJSON}Idempotency-Key: {batch}\r\nX-Weir-Node: node-1\r\n");
    client.send(request(&headers, body)).await;
    client.reply().await
}

#[tokio::test(flavor = "current_thread")]
async fn only_a_sender_with_a_token_is_taken_and_only_where_there_are_tokens() {
    with_node(settings(), |node| async move {
        let reply = relay(&node, SITE_A, "a", "{}\n").await;
        reply.assert_refused(404, &["/logs/selfstream"]);
        node.assert_untouched().await;
    })
    .await;
    with_node(relaying(), |node| async move {
        for token in [
            "",
            "Authorization: Basic eDo=\r\n",
            "Authorization: Bearer x\r\n",
        ] {
            let reply = relay(&node, token, "a", "{}\n").await;
            reply.assert_refused(401, &["token"]);
            assert!(
                reply.head.contains("www-authenticate: basic"),
                "{}",
                reply.head
            );
        }
        assert_eq!(node.refused(RefusalReason::Unauthorized), 3);
        let long = format!("Idempotency-Key: {}\r\n", "x".repeat(257));
        for (headers, words) in [
            (NDJSON, "idempotency-key"),
            (&format!("{NDJSON}{long}"), "idempotency-key"),
            (
                &format!("{NDJSON}Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
                "idempotency-key",
            ),
            (
                "Idempotency-Key: a\r\nContent-Type: application/json\r\n",
                "application/x-ndjson",
            ),
        ] {
            let mut client = node.connect().await;
            client
                .send(request(&format!("{SITE_A}{headers}"), "{}\n"))
                .await;
            client.reply().await.assert_refused(400, &[words]);
        }
        assert_eq!(node.refused(RefusalReason::Relay), 4);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn events_are_labelled_with_where_they_come_from_whatever_they_say_themselves() {
    with_node(relaying(), |node| async move {
        let body = "{\"_source\":{\"token\":\"forged\"}}\n";
        relay(&node, SITE_B, "seg/0-1/s/0", body).await.assert_accepted(1, 0);
        let stored = node.stored.borrow();
        let labels = Arc::clone(&stored.runs[0].labels);
        assert_eq!(labels.sender.as_deref(), Some("site-b"));
        assert_eq!(labels.host.as_deref(), Some("h-1"));
        assert_eq!(labels.application.as_deref(), Some("default"));
        let meta: Value = serde_json::from_str(labels.meta.as_deref().unwrap()).unwrap();
        assert_eq!(
            meta,
            serde_json::json!({"_source": {"token": "site-b", "node": "node-1", "batch": "seg/0-1/s/0"}})
        );
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_event_that_came_over_a_relay_before_is_rejected() {
    with_node(relaying(), |node| async move {
        let body = "{\"n\":1}\n{\"n\":2,\"_meta\":{\"_source\":{\"token\":\"t\"}}}\n{\"n\":3}\n";
        let reply = relay(&node, SITE_A, "a", body).await;
        reply.assert_accepted(2, 1);
        assert_eq!(reply.body["rejected"][0]["line"], 2);
        assert_eq!(node.stored_text(), "{\"n\":1}\n{\"n\":3}\n");
        assert_eq!(node.stored.borrow().rejects[0]["reason"], "relay_loop");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_batch_that_comes_again_is_stored_once_for_each_token() {
    with_node(relaying(), |node| async move {
        let body = "{\"n\":1}\nbad\n{\"n\":2}\n";
        for _ in 0..3 {
            relay(&node, SITE_A, "a", body).await.assert_accepted(2, 1);
        }
        assert_eq!(node.stored_text(), "{\"n\":1}\n{\"n\":2}\n");
        assert_eq!(node.stored.borrow().counts.received, 3);
        relay(&node, SITE_A, "b", "{\"n\":3}\n")
            .await
            .assert_accepted(1, 0);
        relay(&node, SITE_B, "a", "{\"n\":4}\n")
            .await
            .assert_accepted(1, 0);
        assert_eq!(
            node.stored_text(),
            "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n"
        );
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn of_a_batch_that_was_stored_in_part_the_rest_is_stored() {
    with_node(relaying(), |node| async move {
        let body = "{\"n\":1}\nbad\n{\"n\":2}\n{\"n\":3}\n";
        relay(&node, SITE_A, "first", "{\"n\":0}\n")
            .await
            .assert_accepted(1, 0);
        // What a start finds in the journal of a batch whose second block was lost in a crash.
        let labels = Arc::clone(&node.stored.borrow().runs[0].labels);
        let meta = labels.meta.as_deref().unwrap().replace("first", "a");
        let labels = crate::event::Labels {
            meta: Some(meta.into()),
            ..(*labels).clone()
        };
        node.input.relay().add_stored(&labels, 2);
        relay(&node, SITE_A, "a", body).await.assert_accepted(3, 1);
        assert_eq!(node.stored_text(), "{\"n\":0}\n{\"n\":3}\n");
        let counts = node.stored.borrow().counts;
        assert!(counts.balances());
        assert_eq!((counts.received, counts.stored), (3, 2));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_try_that_nobody_waits_for_any_more_counts_all_the_same() {
    with_node(relaying(), |node| async move {
        node.disk.set(Disk::Hangs);
        let mut client = node.connect().await;
        let headers = format!("{SITE_A}{NDJSON}Idempotency-Key: a\r\n");
        client.send(request(&headers, "{\"n\":1}\n")).await;
        node.taken.notified().await;
        relay(&node, SITE_A, "a", "{\"n\":1}\n")
            .await
            .assert_refused(503, &["another try"]);
        assert_eq!(node.refused(RefusalReason::RelayBusy), 1);
        drop(client);
        node.settle();
        let mut reply = relay(&node, SITE_A, "a", "{\"n\":1}\n").await;
        while reply.status == 503 {
            reply = relay(&node, SITE_A, "a", "{\"n\":1}\n").await;
        }
        reply.assert_accepted(1, 0);
        assert_eq!(node.stored_text(), "{\"n\":1}\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_try_that_could_not_be_made_durable_leaves_the_batch_unknown() {
    with_node(relaying(), |node| async move {
        node.disk.set(Disk::Fails);
        let reply = relay(&node, SITE_A, "a", "{\"n\":1}\n").await;
        reply.assert_refused(503, &["could not make the events durable"]);
        node.disk.set(Disk::Syncs);
        let mut reply = relay(&node, SITE_A, "a", "{\"n\":1}\n").await;
        while reply.status == 503 {
            reply = relay(&node, SITE_A, "a", "{\"n\":1}\n").await;
        }
        reply.assert_accepted(1, 0);
        assert_eq!(node.stored_text(), "{\"n\":1}\n{\"n\":1}\n");
    })
    .await;
}
