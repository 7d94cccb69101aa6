//! What may be in a body, and what is said when something else is.

use std::io::Write as _;
use std::sync::Arc;

use super::harness::{settings, with_node};
use crate::ingest::http::RefusalReason;
use crate::ingest::settings::Validation;
use crate::position::Timestamp;

const GZIP: &str = "Content-Encoding: gzip\r\n";
const ZSTD: &str = "Content-Encoding: zstd\r\n";

fn gzip(raw: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(raw).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(raw: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(raw, 3).expect("memory")
}

#[tokio::test(flavor = "current_thread")]
async fn lines_are_stored_as_sent_with_any_line_end_and_encoding() {
    with_node(settings(), |node| async move {
        let body = b"{\"a\":1.50}\r\n\r\n {\"b\" : \"\\u00e9\"}\n{\"a\":1,\"a\":2}";
        let packed = [
            ("", body.to_vec()),
            ("Content-Encoding: identity\r\n", body.to_vec()),
            (GZIP, gzip(body)),
            (
                "Content-Encoding: X-GZIP\r\n",
                [gzip(&body[..7]), gzip(&body[7..])].concat(),
            ),
            (ZSTD, zstd(body)),
            ("Content-Type: text/plain\r\n", body.to_vec()),
        ];
        for (headers, sent) in &packed {
            node.post(headers, sent).await.assert_accepted(3, 0);
        }
        let expected = "{\"a\":1.50}\n {\"b\" : \"\\u00e9\"}\n{\"a\":1,\"a\":2}\n";
        assert_eq!(node.stored_text(), expected.repeat(packed.len()));
        let counts = node.stored.borrow().counts;
        assert!(counts.balances());
        assert_eq!((counts.stored, counts.skipped), (18, 6));
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_array_is_as_many_events_as_it_has_objects() {
    with_node(settings(), |node| async move {
        let body = b" [ {\"a\":\n[1]} ,7,{\"b\":\"],[\"}]\n";
        let reply = node.post("Content-Type: application/json\r\n", body).await;
        reply.assert_accepted(2, 1);
        assert_eq!(reply.body["rejected"][0]["line"], 2);
        assert_eq!(node.stored_text(), "{\"a\": [1]}\n{\"b\":\"],[\"}\n");
        node.post("", b"{\"one\":\"document\"}")
            .await
            .assert_accepted(1, 0);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn broken_arrays_admit_nothing_and_say_where() {
    with_node(settings(), |node| async move {
        for (body, place) in [
            (&b"[{},{}"[..], "byte 6"),
            (b"[{}{}]", "byte 3"),
            (b"[{},]", "byte 4"),
            (b"[{}] {}", "byte 5"),
            (b"[", "byte 1"),
        ] {
            let reply = node.post("", body).await;
            reply.assert_refused(400, &["JSON array", place]);
        }
        assert_eq!(node.refused(RefusalReason::Unreadable), 5);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_array_of_a_trusted_sender_cannot_smuggle_in_a_line_break() {
    let mut trusting = settings();
    trusting.input.validation = Validation::None;
    with_node(trusting, |node| async move {
        let reply = node.post("", b"[{\"a\":\"x\ny\"},{}]").await;
        reply.assert_accepted(1, 1);
        node.post("", b"{trusted}\n").await.assert_accepted(1, 0);
        assert_eq!(node.stored_text(), "{}\n{trusted}\n");
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn bad_lines_are_named_and_recorded_and_the_others_stored() {
    with_node(settings(), |node| async move {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
        let body = [
            b"{\"n\":1}\nnot json\n\n{\"n\":2}\n{\"t\":\"".as_slice(),
            b"\xff\"}\n",
            long.as_bytes(),
            b"\n{\"cut\":",
        ]
        .concat();
        let reply = node.post("", &body).await;
        reply.assert_accepted(2, 4);
        let rejected = reply.body["rejected"].as_array().expect("a list").clone();
        let lines: Vec<u64> = rejected
            .iter()
            .filter_map(|line| line["line"].as_u64())
            .collect();
        assert_eq!(lines, [2, 5, 6, 7]);
        let says = |index: usize| rejected[index]["error"].as_str().expect("words").to_owned();
        assert!(says(0).contains("byte 0") && says(1).contains("UTF-8"));
        assert!(says(2).contains("longer than 1000") && says(3).contains("ends"));
        assert_eq!(node.stored_text(), "{\"n\":1}\n{\"n\":2}\n");
        let stored = node.stored.borrow();
        assert!(stored.counts.balances());
        assert_eq!(stored.counts.rejected, [1, 3, 0]);
        assert_eq!(stored.rejects.len(), 4);
        assert_eq!(stored.rejects[0]["input"], "web");
        assert_eq!(stored.rejects[0]["line"], 2);
        assert_eq!(stored.rejects[0]["sample"], "not json");
        assert_eq!(stored.rejects[1]["sample_hex"], "7b2274223a22ff227d");
        assert!(
            stored.rejects[0]["peer"]
                .as_str()
                .expect("a peer")
                .starts_with("127.0.0.1:")
        );
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_flood_of_bad_lines_is_answered_with_the_first_hundred_and_balances() {
    with_node(settings(), |node| async move {
        let reply = node.post("", "?\n".repeat(5_000).as_bytes()).await;
        reply.assert_accepted(0, 5_000);
        assert_eq!(reply.body["rejected"].as_array().map(Vec::len), Some(100));
        let stored = node.stored.borrow();
        assert_eq!(stored.counts.rejected, [0, 5_000, 0]);
        assert!(stored.counts.balances());
        assert_eq!(stored.rejects.len(), 1_001);
        assert_eq!(stored.rejects[1_000]["lines"], 4_000);
        assert_eq!(stored.rejects[1_000]["bytes"], 4_000);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_without_events_is_accepted() {
    with_node(settings(), |node| async move {
        node.post("", b"").await.assert_accepted(0, 0);
        node.post(GZIP, b"").await.assert_accepted(0, 0);
        node.post(GZIP, &gzip(b"")).await.assert_accepted(0, 0);
        node.post("", b"[]").await.assert_accepted(0, 0);
        node.assert_untouched().await;
        node.post("", b"\n\r\n").await.assert_accepted(0, 0);
        while node.stored.borrow().counts.skipped == 0 {
            node.taken.notified().await;
        }
        assert_eq!(node.stored.borrow().counts.skipped, 2);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn bad_compression_is_refused_whole() {
    with_node(settings(), |node| async move {
        let lines = b"{\"event\":\"of some length\"}\n".repeat(100);
        for (headers, packed, format) in
            [(GZIP, gzip(&lines), "gzip"), (ZSTD, zstd(&lines), "zstd")]
        {
            let cut = node.post(headers, &packed[..packed.len() - 3]).await;
            cut.assert_refused(400, &[format, "ends after"]);
            let trailing = node.post(headers, &[&packed[..], b"{}"].concat()).await;
            trailing.assert_refused(400, &[format, "2 bytes follow"]);
            let plain = node.post(headers, &lines).await;
            plain.assert_refused(400, &[format, "corrupt"]);
        }
        let mut corrupt = gzip(&lines);
        let checksum = corrupt.len() - 8;
        corrupt[checksum] ^= 1;
        node.post(GZIP, &corrupt)
            .await
            .assert_refused(400, &["corrupt"]);
        assert_eq!(node.refused(RefusalReason::Unreadable), 7);
        let reply = node.post("Content-Encoding: br\r\n", b"{}").await;
        reply.assert_refused(415, &["\"br\"", "gzip, zstd or identity"]);
        let reply = node.post("Content-Encoding: gzip, gzip\r\n", b"{}").await;
        reply.assert_refused(415, &["gzip, gzip"]);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_bomb_of_one_to_a_thousand_is_refused() {
    let mut generous = settings();
    generous.decompressed_bytes_max = 128 << 20;
    with_node(generous, |node| async move {
        let bomb = vec![b' '; 32 << 20];
        for (headers, packed) in [(GZIP, gzip(&bomb)), (ZSTD, zstd(&bomb))] {
            assert!(packed.len() * 900 < bomb.len());
            let reply = node.post(headers, &packed).await;
            reply.assert_refused(413, &["200 times", "expansion_max"]);
        }
        assert_eq!(node.refused(RefusalReason::Expansion), 2);
        node.assert_untouched().await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn limits_hold_to_the_byte() {
    let mut small = settings();
    small.body_bytes_max = 1_000;
    small.decompressed_bytes_max = 1_200;
    small.input.line_bytes_max = 10_000;
    with_node(small, |node| async move {
        let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8)).into_bytes();
        node.post("", &body(1_000)).await.assert_accepted(1, 0);
        let reply = node.post("", &body(1_001)).await;
        reply.assert_refused(413, &["1001", "limit of 1000", "body_bytes_max"]);
        assert!(!reply.closes(), "a small body is read to its end");
        for (headers, pack) in [(GZIP, gzip as fn(&[u8]) -> Vec<u8>), (ZSTD, zstd)] {
            node.post(headers, &pack(&body(1_200)))
                .await
                .assert_accepted(1, 0);
            let reply = node.post(headers, &pack(&body(1_201))).await;
            reply.assert_refused(413, &["1200", "decompressed_bytes_max"]);
        }
        assert_eq!(node.stored.borrow().counts.stored, 3);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_of_many_blocks_arrives_whole_and_in_order() {
    with_node(settings(), |node| async move {
        let mut body = String::new();
        for number in 0..30_000 {
            body.push_str(&format!(
                "{{\"n\":{number},\"text\":\"some words to fill it\"}}\n"
            ));
        }
        node.post("", body.as_bytes())
            .await
            .assert_accepted(30_000, 0);
        assert!(
            node.stored_text() == body,
            "the same bytes in the same order"
        );
        node.post(GZIP, &gzip(body.as_bytes()))
            .await
            .assert_accepted(30_000, 0);
        assert_eq!(node.stored.borrow().counts.stored, 60_000);
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn labels_come_from_query_header_and_configuration_and_are_shared() {
    with_node(settings(), |node| async move {
        let mut client = node.connect().await;
        for _ in 0..2 {
            client
                .send(
                    "POST /v1/events?subsystem=pay%20ments&level=warn HTTP/1.1\r\nHost: x\r\n\
                     X-Weir-Host: edge-1\r\nX-Weir-Level: info\r\nContent-Length: 2\r\n\r\n{}",
                )
                .await;
            client.reply().await.assert_accepted(1, 0);
        }
        let runs = node.stored.borrow().runs.clone();
        let labels = &runs[0].labels;
        assert_eq!(labels.application.as_deref(), Some("default"));
        assert_eq!(labels.subsystem.as_deref(), Some("pay ments"));
        assert_eq!(labels.level.as_deref(), Some("warn"));
        assert_eq!(labels.host.as_deref(), Some("edge-1"));
        let peer = client.stream.local_addr().expect("connected").to_string();
        assert_eq!(labels.peer.as_deref(), Some(peer.as_str()));
        assert_eq!(runs[0].received, Timestamp(77));
        assert!(Arc::ptr_eq(labels, &runs[1].labels));
        let reply = node.post("X-Weir-Env: a\tb\r\n", b"{}").await;
        reply.assert_refused(400, &["x-weir-env", "U+0009"]);
        assert_eq!(node.refused(RefusalReason::Labels), 1);
    })
    .await;
}
