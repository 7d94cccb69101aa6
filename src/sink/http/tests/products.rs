//! Tokens, and products whose replies say more than their status.

use super::*;
use crate::sink::settings::{TokenScheme, TokenSettings, TokenSource};

/// A sink without headers of its own, with a token and this reading of replies.
fn sink_of(receiver: &Receiver, path: &str, replies: ReplyForm, token: TokenSettings) -> HttpSink {
    let mut settings = settings(&format!("http://{}{path}", receiver.address));
    settings.headers.clear();
    settings.replies = replies;
    settings.token = Some(token);
    open(&settings)
}

fn token(scheme: TokenScheme) -> TokenSettings {
    TokenSettings {
        source: TokenSource::Text("tok-123456".to_owned()),
        scheme,
    }
}

fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}")
}

const EVENTS: &str = "/services/collector/event";

/// A collector that takes everything under the number 7, and says so with these words when asked,
/// one after the other and the last for ever.
async fn collector(acks: &'static [&'static str]) -> Receiver {
    Receiver::start(move |mut peer| async move {
        let mut asked = 0;
        while let Some(request) = peer.read_request().await {
            let answer = if request.head.starts_with("POST /services/collector/ack") {
                asked += 1;
                acks[asked.min(acks.len()) - 1]
            } else {
                r#"{"text":"Success","code":0,"ackId":7}"#
            };
            peer.send(&json("200 OK", answer)).await;
        }
    })
    .await
}

fn acknowledged_within(limit: Duration) -> ReplyForm {
    ReplyForm::SplunkHec {
        acknowledgement: Some(limit),
    }
}

#[tokio::test]
async fn with_acknowledgement_a_batch_is_delivered_when_the_indexer_has_it() {
    let receiver = collector(&[r#"{"acks":{"7":false}}"#, r#"{"acks":{"7":true}}"#]).await;
    let replies = acknowledged_within(LONG);
    let mut sink = sink_of(&receiver, EVENTS, replies, token(TokenScheme::Splunk));
    let parcel = small(0);
    assert_eq!(deliver(&mut sink, &parcel).await, Outcome::Delivered);
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    let channel = parcel.channel().to_string();
    for request in &requests {
        let found = request.header("x-splunk-request-channel");
        assert_eq!(found, Some(channel.as_str()));
        assert_eq!(request.header("authorization"), Some("Splunk tok-123456"));
    }
    let line = format!("POST /services/collector/ack?channel={channel} HTTP/1.1");
    for request in &requests[1..] {
        assert_eq!(request.head.lines().next(), Some(line.as_str()));
        assert_eq!(request.body, b"{\"acks\":[7]}");
        assert_eq!(request.header("content-encoding"), None);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_batch_that_no_indexer_acknowledges_is_tried_again() {
    let receiver = collector(&[r#"{"acks":{"7":false}}"#]).await;
    let replies = acknowledged_within(Duration::from_millis(700));
    let mut sink = sink_of(&receiver, EVENTS, replies, token(TokenScheme::Splunk));
    let outcome = deliver(&mut sink, &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "hec_ack"));
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn a_refused_token_is_read_again_from_its_file() {
    let receiver = Receiver::start(|mut peer| async move {
        while let Some(request) = peer.read_request().await {
            let found = request.header("authorization").unwrap();
            let refusal = format!("no such token: {found}");
            let is_known = found == "Bearer tok-rotated";
            let status = if is_known { "200 OK" } else { "401 No" };
            peer.send(&json(status, &refusal)).await;
        }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "tok-old-one\n").unwrap();
    let settings = TokenSettings {
        source: TokenSource::File(path.clone()),
        scheme: TokenScheme::Bearer,
    };
    let mut sink = sink_of(&receiver, "/in", ReplyForm::Status, settings);
    let outcome = deliver(&mut sink, &small(0)).await;
    assert_eq!(verdict(&outcome), ("refused", "http_4xx"));
    assert_eq!(
        detail(&outcome),
        "401 Unauthorized: no such token: [secret]"
    );
    std::fs::write(&path, "tok-rotated\n").unwrap();
    // The file is looked at again after a few seconds.
    while deliver(&mut sink, &small(0)).await != Outcome::Delivered {
        tokio::time::sleep(SHORT).await;
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(deliver(&mut sink, &small(10)).await, Outcome::Delivered);
}

#[tokio::test]
async fn without_its_token_nothing_is_sent() {
    let receiver = Receiver::answering(OK).await;
    let settings = TokenSettings {
        source: TokenSource::File("/nowhere/token".into()),
        scheme: TokenScheme::Bearer,
    };
    let mut sink = sink_of(&receiver, "/in", ReplyForm::Status, settings);
    let outcome = deliver(&mut sink, &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "token_unreadable"));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_bulk_reply_of_megabytes_is_read_to_its_last_item() {
    let item = r#"{"create":{"_index":"audit","_id":"0a0b0c0d-0000-5000-8000-000000000000","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0},"_seq_no":7,"_primary_term":1,"status":201}}"#;
    let poison = r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed to parse"}}}"#;
    let items = format!("{}{poison}", format!("{item},").repeat(9_999));
    let body = format!(r#"{{"took":1,"errors":true,"items":[{items}]}}"#);
    assert!(body.len() > 1 << 20);
    let receiver = Receiver::answering(json("200 OK", &body)).await;
    let form = ReplyForm::ElasticBulk;
    let mut sink = sink_of(&receiver, "/_bulk", form, token(TokenScheme::ApiKey));
    let mut parcel = small(0);
    parcel.events = 10_000;
    let Outcome::Partial { retry, reject, .. } = deliver(&mut sink, &parcel).await else {
        panic!("one document is refused");
    };
    assert!(retry.is_empty(), "{retry:?}");
    assert_eq!((reject.len(), reject[0].0), (1, 9_999));
    assert_eq!(reject[0].1.reason, "elastic_mapping");
}

#[tokio::test]
async fn a_batch_that_is_too_long_is_split_unsent_unless_it_is_one_event() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = receiver.settings();
    settings.body_bytes_max = Some(99);
    let mut sink = open(&settings);
    let mut parcel = small(0);
    let outcome = deliver(&mut sink, &parcel).await;
    assert_eq!(verdict(&outcome), ("split", "body_too_large"));
    assert_eq!(receiver.connections(), 0);
    // The destination has the last word.
    parcel.events = 1;
    assert_eq!(deliver(&mut sink, &parcel).await, Outcome::Delivered);
}
