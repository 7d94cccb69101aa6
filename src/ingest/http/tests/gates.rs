//! When nothing can be taken, and what an answer waits for.

use super::harness::{Disk, settings, with_node};
use crate::ingest::door::GateState;
use crate::ingest::http::RefusalReason;

#[tokio::test(flavor = "current_thread")]
async fn no_answer_before_every_line_is_durable() {
    with_node(settings(), |node| async move {
        for body in [&b"{\"n\":1}\n"[..], b"all\nbad\n"] {
            node.disk.set(Disk::Hangs);
            let mut client = node.connect().await;
            client.post("", body).await;
            node.taken.notified().await;
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert!(client.heard_nothing());
            assert!(node.budget.bytes_taken() > 0, "the lines still take memory");
            node.settle();
            assert_eq!(client.reply().await.status, 200);
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn lines_that_could_not_be_made_durable_are_not_accepted() {
    with_node(settings(), |node| async move {
        node.disk.set(Disk::Fails);
        let reply = node.post("", b"{}").await;
        reply.assert_refused(503, &["could not make the events durable"]);
        assert!(reply.head.contains("retry-after: 5"));
        assert_eq!(node.refused(RefusalReason::NotDurable), 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_journal_is_told_and_the_connection_lives() {
    with_node(settings(), |node| async move {
        node.door.set_state(GateState::Full);
        let mut client = node.connect().await;
        client.post("", b"{}\n").await;
        let reply = client.reply().await;
        reply.assert_refused(429, &["journal is full"]);
        assert!(reply.head.contains("retry-after: 5") && !reply.closes());
        node.assert_untouched().await;
        node.door.set_state(GateState::Open);
        client.post("", b"{}\n").await;
        client.reply().await.assert_accepted(1, 0);
        assert_eq!(node.refused(RefusalReason::JournalFull), 1);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_journal_does_not_read_a_large_body_but_its_client_hears_why() {
    with_node(settings(), |node| async move {
        node.door.set_state(GateState::Full);
        let mut client = node.connect().await;
        client.post("", &b"{}\n".repeat(500_000)).await;
        let reply = client.reply().await;
        reply.assert_refused(429, &["journal is full"]);
        assert!(reply.closes());
        client.assert_closed().await;
        let mut client = node.connect().await;
        client
            .send(
                "POST /v1/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Length: 3\r\n\r\n",
            )
            .await;
        client
            .reply()
            .await
            .assert_refused(429, &["journal is full"]);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_journal_that_fills_while_a_body_comes_admits_nothing_of_it() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client
            .send(
                "POST /v1/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Length: 3\r\n\r\n",
            )
            .await;
        assert_eq!(client.reply().await.status, 100);
        node.door.set_state(GateState::Full);
        client.send("{}\n").await;
        client
            .reply()
            .await
            .assert_refused(429, &["journal is full"]);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_busy_shard_is_waited_for() {
    with_node(settings(), |node| async move {
        node.door.set_state(GateState::Busy);
        let mut client = node.connect().await;
        client.post("", b"{}\n").await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert!(client.heard_nothing());
        node.assert_untouched().await;
        node.door.set_state(GateState::Open);
        client.reply().await.assert_accepted(1, 0);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_failed_or_stopping_node_says_so() {
    with_node(settings(), |node| async move {
        node.door.set_state(GateState::Failed);
        let mut client = node.connect().await;
        client.post("", b"{}\n").await;
        let reply = client.reply().await;
        reply.assert_refused(503, &["cannot make events durable"]);
        assert!(!reply.closes());
        node.door.set_state(GateState::Stopping);
        client.post("", b"{}\n").await;
        let reply = client.reply().await;
        reply.assert_refused(503, &["stopping"]);
        assert!(reply.closes());
        client.assert_closed().await;
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn without_memory_a_body_is_refused_and_later_taken() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        let free = 100;
        let others = node.budget.take(node.budget.bytes_max() - free);
        let body = b"{\"n\":1}\n".repeat(100);
        client.post("", &body).await;
        let reply = client.reply().await;
        reply.assert_refused(503, &["memory.max"]);
        assert!(reply.head.contains("retry-after: 1") && !reply.closes());
        // Of a compressed body the decompressed bytes count as well.
        let packed = zstd::stream::encode_all(&body[..], 3).expect("memory");
        assert!(packed.len() < 100);
        client.post("Content-Encoding: zstd\r\n", &packed).await;
        client.reply().await.assert_refused(503, &["memory.max"]);
        assert_eq!(node.budget.bytes_taken(), node.budget.bytes_max() - free);
        drop(others);
        node.assert_untouched().await;
        client.post("", &body).await;
        client.reply().await.assert_accepted(100, 0);
        assert_eq!(node.refused(RefusalReason::Memory), 2);
    })
    .await;
}
