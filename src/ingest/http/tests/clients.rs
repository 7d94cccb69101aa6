//! Clients of every manner: pipelining, slow, gone, wrong.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::{Disk, post_of, settings, with_node};
use crate::ingest::http::RefusalReason;

const CHUNKED: &str = "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n";

#[tokio::test(flavor = "current_thread")]
async fn pipelined_requests_are_answered_in_order() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        let requests: Vec<u8> = [
            post_of("", b"{\"n\":1}\n{\"n\":2}"),
            post_of("", b"broken"),
            post_of("Content-Encoding: br\r\n", b"{}"),
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            post_of("", b"{\"n\":3}"),
        ]
        .concat();
        client.send(&requests).await;
        client.reply().await.assert_accepted(2, 0);
        client.reply().await.assert_accepted(0, 1);
        client.reply().await.assert_refused(415, &["br"]);
        client.reply().await.assert_refused(404, &["/nowhere"]);
        client.reply().await.assert_accepted(1, 0);
        assert_eq!(node.stored_text(), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn other_paths_and_methods_are_told_the_right_one() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client
            .send("POST /v2/events?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            .await;
        client
            .reply()
            .await
            .assert_refused(404, &["/v2/events", "POST /v1/events"]);
        for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
            client
                .send(format!("{method} /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"))
                .await;
            let reply = client.reply().await;
            reply.assert_refused(405, &[method, "only POST"]);
            assert!(reply.head.contains("allow: post"));
        }
        client
            .send("HEAD /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            .await;
        let mut head = vec![0; 12];
        client
            .stream
            .read_exact(&mut head)
            .await
            .expect("an answer");
        assert_eq!(head, b"HTTP/1.1 405");
        assert_eq!(node.refused(RefusalReason::Method), 5);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn chunked_bodies_with_extensions_and_trailers_are_read() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client.send(CHUNKED).await;
        client
            .send("Trailer: X-Sum\r\n\r\n4;a=b\r\n{\"n\"\r\n")
            .await;
        client
            .send("5\r\n:1}\n{\r\n1\r\n}\r\n0\r\nX-Sum: 7\r\n\r\n")
            .await;
        client.reply().await.assert_accepted(2, 0);
        client.post("", b"{}").await;
        client.reply().await.assert_accepted(1, 0);
        assert_eq!(node.stored_text(), "{\"n\":1}\n{}\n{}\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn bad_chunks_admit_nothing_and_end_the_connection() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client.send(CHUNKED).await;
        client
            .send("\r\n3\r\n{}\n\r\nxyz\r\n{}\n\r\n0\r\n\r\n")
            .await;
        let reply = client.reply().await;
        reply.assert_refused(400, &["after 3 bytes", "chunk"]);
        assert!(reply.closes());
        client.assert_closed().await;
        assert_eq!(node.refused(RefusalReason::Unreadable), 1);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_chunked_body_over_the_limit_is_refused_as_soon_as_it_passes() {
    let mut small = settings();
    small.body_bytes_max = 100_000;
    with_node(small, |node| async move {
        let mut client = node.connect().await;
        client.send(CHUNKED).await;
        client.send("\r\n").await;
        let chunk = format!("{:x}\r\n{}\r\n", 10_000, "{}\n{}\n{}\n ".repeat(1_000));
        // Twice as much as one may drop behind a refusal, and no end.
        for _ in 0..220 {
            client.send_in_vain(chunk.as_bytes()).await;
        }
        let reply = client.reply().await;
        reply.assert_refused(413, &["limit of 100000", "body_bytes_max"]);
        assert!(reply.closes());
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_shorter_than_announced_admits_nothing() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client
            .send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}\n{}")
            .await;
        client.stream.shutdown().await.expect("closes");
        let reply = client.reply().await;
        reply.assert_refused(400, &["ended after 5 bytes"]);
        client.assert_closed().await;
        assert_eq!(node.refused(RefusalReason::Aborted), 1);
        // One that is simply gone is counted too.
        let mut client = node.connect().await;
        client
            .send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}")
            .await;
        drop(client);
        while node.refused(RefusalReason::Aborted) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_behind_the_announced_length_are_no_part_of_the_body() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client
            .send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}\n{}\n")
            .await;
        client.reply().await.assert_accepted(1, 0);
        assert!(client.rest().await.starts_with(b"HTTP/1.1 400"));
        node.until_counted(|counters| &counters.malformed_heads)
            .await;
        assert_eq!(node.stored_text(), "{}\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn expect_continue_asks_for_the_body_only_when_it_is_wanted() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        let head = |length: usize| {
            format!(
                "POST /v1/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
        };
        client.send(head(3)).await;
        assert_eq!(client.reply().await.status, 100);
        client.send("{}\n").await;
        client.reply().await.assert_accepted(1, 0);
        client.send(head(3 << 20)).await;
        let reply = client.reply().await;
        reply.assert_refused(413, &["3145728"]);
        assert!(reply.closes());
        client.assert_closed().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_closed_its_side_still_gets_its_answer() {
    with_node(settings(), |node| async move {
        node.disk.set(Disk::Hangs);
        let mut client = node.connect().await;
        client.post("", b"{}").await;
        client.stream.shutdown().await.expect("closes");
        node.taken.notified().await;
        node.settle();
        client.reply().await.assert_accepted(1, 0);
        client.assert_closed().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_that_comes_a_byte_at_a_time_is_given_up() {
    let mut hasty = settings();
    hasty.body_timeout = Duration::from_millis(200);
    with_node(hasty, |node| async move {
        let mut client = node.connect().await;
        client
            .send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
            .await;
        // No pause is as long as the timeout, so only the floor ends this.
        while node.refused(RefusalReason::TooSlow) == 0 {
            client.send_in_vain(b" ").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let reply = client.reply().await;
        reply.assert_refused(408, &["1 KiB/s", "body_timeout"]);
        assert!(reply.closes());
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_stalled_body_is_given_up() {
    let mut hasty = settings();
    hasty.body_timeout = Duration::from_millis(50);
    with_node(hasty, |node| async move {
        let mut client = node.connect().await;
        client
            .send("POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}")
            .await;
        client.reply().await.assert_refused(408, &["2 bytes"]);
        client.assert_closed().await;
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_head_that_does_not_end_is_given_up() {
    let mut hasty = settings();
    hasty.header_timeout = Duration::from_millis(100);
    with_node(hasty, |node| async move {
        let mut client = node.connect().await;
        client.post("", b"{}").await;
        client.reply().await.assert_accepted(1, 0);
        client.send("POST /v1/events HTTP/1.1\r\n").await;
        let reply = client.reply().await;
        reply.assert_refused(408, &["header_timeout"]);
        assert!(reply.closes());
        client.assert_closed().await;
        node.until_counted(|counters| &counters.head_timeouts).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_connection_is_closed_without_a_word() {
    let mut hasty = settings();
    hasty.keep_alive_timeout = Duration::from_millis(50);
    with_node(hasty, |node| async move {
        node.connect().await.assert_closed().await;
        node.until_counted(|counters| &counters.idle_timeouts).await;
        let mut client = node.connect().await;
        client.post("", b"{}").await;
        client.reply().await.assert_accepted(1, 0);
        client.assert_closed().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_never_reads_its_answers_is_closed() {
    let mut hasty = settings();
    hasty.body_timeout = Duration::from_millis(100);
    with_node(hasty, |node| async move {
        let mut client = node.connect().await;
        // Answers name 100 lines each; nobody reads them, so they fill every buffer.
        let request = post_of("", "?\n".repeat(200).as_bytes());
        let answer_timeouts = || {
            let counters = node.input.counters();
            counters
                .answer_timeouts
                .load(std::sync::atomic::Ordering::Relaxed)
        };
        while answer_timeouts() == 0 {
            let sending = client.send_in_vain(&request);
            let _stuck = tokio::time::timeout(Duration::from_millis(200), sending).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_no_http_is_refused_and_counted() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client.send("{\"plain\":\"tcp\"}\r\n\r\n").await;
        assert!(client.rest().await.starts_with(b"HTTP/1.1 400"));
        node.until_counted(|counters| &counters.malformed_heads)
            .await;
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_head_without_end_in_size_is_refused() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        client.send("POST /v1/events HTTP/1.1\r\nX-Long: ").await;
        client.send_in_vain(&[b'x'; 200_000]).await;
        assert!(client.rest().await.starts_with(b"HTTP/1.1 431"));
        node.until_counted(|counters| &counters.malformed_heads)
            .await;
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_stop_closes_idle_connections_and_lets_the_others_finish() {
    with_node(settings(), |node| async move {
        let mut idle = node.connect().await;
        idle.post("", b"{}").await;
        idle.reply().await.assert_accepted(1, 0);
        node.taken.notified().await;
        node.disk.set(Disk::Hangs);
        let mut busy = node.connect().await;
        busy.post("", b"{}").await;
        node.taken.notified().await;
        node.input.stop();
        idle.assert_closed().await;
        node.settle();
        let reply = busy.reply().await;
        reply.assert_accepted(1, 0);
        assert!(reply.closes());
        busy.assert_closed().await;
        node.connect().await.assert_closed().await;
    })
    .await;
}
