//! What goes out: the request, keep-alive, and what a sink refuses to be opened with.

use super::*;
use crate::sink::OpenError;

#[tokio::test]
async fn request_is_the_parcel_byte_by_byte_with_size_encoding_and_identity() {
    let receiver = Receiver::answering(OK).await;
    let mut sink = receiver.sink();
    let chunks: Vec<Bytes> = (0..100_u8)
        .map(|number| Bytes::from(vec![number; usize::from(number) * 700]))
        .collect();
    let parcel = parcel(5, chunks);
    assert_eq!(deliver(&mut sink, &parcel).await, Outcome::Delivered);
    let request = receiver.requests().remove(0);
    assert_eq!(
        request.head.lines().next(),
        Some("POST /in?source=weir HTTP/1.1")
    );
    let expected = [
        ("host", receiver.address.to_string()),
        ("content-type", "application/x-ndjson".to_owned()),
        ("content-encoding", "gzip".to_owned()),
        ("content-length", parcel.body_bytes().to_string()),
        ("idempotency-key", parcel.id.to_string()),
        ("user-agent", format!("weir/{}", env!("CARGO_PKG_VERSION"))),
        ("authorization", "Bearer tok-123456".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(request.header(name), Some(value.as_str()), "{name}");
    }
    assert_eq!(request.header("transfer-encoding"), None);
    assert!(request.body == parcel.chunks().concat(), "the body differs");
}

#[tokio::test]
async fn plain_bodies_and_configured_headers_replace_the_defaults() {
    let receiver = Receiver::answering(OK).await;
    let mut settings = receiver.settings();
    settings.headers = vec![
        (
            HeaderName::from_static("user-agent"),
            HeaderValue::from_static("ours"),
        ),
        (
            HeaderName::from_static("x-twice"),
            HeaderValue::from_static("one"),
        ),
        (
            HeaderName::from_static("x-twice"),
            HeaderValue::from_static("two"),
        ),
    ];
    let mut parcel = small(0);
    parcel.content_encoding = Compression::Identity;
    assert_eq!(
        deliver(&mut open(&settings), &parcel).await,
        Outcome::Delivered
    );
    let request = receiver.requests().remove(0);
    assert_eq!(request.header("content-encoding"), None);
    assert_eq!(request.header("user-agent"), Some("ours"));
    assert_eq!(request.head.matches("x-twice: ").count(), 2);
    assert_eq!(
        request.head.to_lowercase().matches("user-agent: ").count(),
        1
    );
}

#[tokio::test]
async fn an_empty_body_is_sent_with_length_zero() {
    let receiver = Receiver::answering(OK).await;
    let mut sink = receiver.sink();
    assert_eq!(
        deliver(&mut sink, &parcel(0, vec![Bytes::new()])).await,
        Outcome::Delivered
    );
    assert_eq!(deliver(&mut sink, &small(10)).await, Outcome::Delivered);
    assert_eq!(receiver.requests()[0].header("content-length"), Some("0"));
}

#[tokio::test]
async fn one_connection_carries_all_parcels_also_after_a_refusal() {
    let receiver = Receiver::start(|mut peer| async move {
        let answers = [
            OK,
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad",
            OK,
            OK,
        ];
        for answer in answers {
            peer.read_request().await;
            peer.send(answer).await;
        }
    })
    .await;
    let mut sink = receiver.sink();
    let mut verdicts = Vec::new();
    for first in [0, 10, 20] {
        verdicts.push(verdict(&deliver(&mut sink, &small(first)).await).0);
    }
    verdicts.push(verdict(&deliver(&mut sink, &large(30)).await).0);
    assert_eq!(verdicts, ["delivered", "refused", "delivered", "delivered"]);
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced_without_a_failure() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_request().await;
        peer.send(OK).await;
    })
    .await;
    let mut sink = receiver.sink();
    for first in 0..5 {
        assert_eq!(deliver(&mut sink, &small(first)).await, Outcome::Delivered);
        tokio::task::yield_now().await;
    }
    assert_eq!(receiver.connections(), 5);
}

#[tokio::test]
async fn a_kept_connection_that_ends_unanswered_is_tried_once_more_under_the_same_identity() {
    for body in [small(10), large(10)] {
        let receiver = Receiver::start(|mut peer| async move {
            peer.read_request().await;
            peer.send(OK).await;
            if peer.number == 0 {
                // Takes the second request, or half of it, and closes without a word.
                peer.read_head().await;
            } else {
                peer.read_request().await;
            }
        })
        .await;
        let mut sink = receiver.sink();
        assert_eq!(deliver(&mut sink, &small(0)).await, Outcome::Delivered);
        assert_eq!(deliver(&mut sink, &body).await, Outcome::Delivered);
        assert_eq!(receiver.connections(), 2);
        let requests = receiver.requests();
        let key = body.id.to_string();
        assert_eq!(requests[1].header("idempotency-key"), Some(key.as_str()));
    }
}

#[tokio::test]
async fn the_silent_second_try_is_the_only_one() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_request().await;
        if peer.number == 0 {
            peer.send(OK).await;
            peer.read_request().await;
        }
    })
    .await;
    let mut sink = receiver.sink();
    assert_eq!(deliver(&mut sink, &small(0)).await, Outcome::Delivered);
    let outcome = deliver(&mut sink, &small(10)).await;
    assert_eq!(verdict(&outcome), ("retry", "connection_closed"));
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn dropping_a_delivery_closes_its_connection() {
    let (gone, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.read_request().await;
            gone.send("request").unwrap();
            // Ends when the other side closes.
            assert!(peer.read_head().await.is_none());
            gone.send("closed").unwrap();
        }
    })
    .await;
    let mut sink = receiver.sink();
    let parcel = small(0);
    tokio::select! {
        outcome = sink.deliver(&parcel) => panic!("{outcome:?} without an answer"),
        event = seen.recv() => assert_eq!(event, Some("request")),
    }
    let closed = tokio::time::timeout(LONG, seen.recv()).await;
    assert_eq!(closed.unwrap(), Some("closed"));
}

#[tokio::test]
async fn after_a_dropped_delivery_the_next_parcel_goes_whole_on_a_new_connection() {
    // The second request of the first connection is never answered.
    let (asked, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let receiver = Receiver::start(move |mut peer| {
        let asked = asked.clone();
        async move {
            while peer.read_request().await.is_some() {
                asked.send(()).unwrap();
                let requests = peer.requests.lock().unwrap().len();
                if requests != 2 {
                    peer.send(OK).await;
                }
            }
        }
    })
    .await;
    let mut sink = receiver.sink();
    assert_eq!(deliver(&mut sink, &small(0)).await, Outcome::Delivered);
    seen.recv().await.unwrap();
    let parcel = small(10);
    tokio::select! {
        outcome = sink.deliver(&parcel) => panic!("{outcome:?} without an answer"),
        event = seen.recv() => event.unwrap(),
    }
    // What it left behind is neither taken for an answer nor sent on.
    assert_eq!(deliver(&mut sink, &small(15)).await, Outcome::Delivered);
    assert_eq!(deliver(&mut sink, &small(25)).await, Outcome::Delivered);
    assert_eq!(receiver.connections(), 2);
    let keys: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| request.header("idempotency-key").unwrap().to_owned())
        .collect();
    let expected = [0, 10, 15, 25].map(|first| small(first).id.to_string());
    assert_eq!(keys, expected);
}

#[test]
fn what_cannot_work_is_refused_at_open() {
    let refusal = |url: &str, header: Option<&'static str>| {
        let mut settings = settings(url);
        if let Some(name) = header {
            let value = HeaderValue::from_static("x");
            settings
                .headers
                .push((HeaderName::from_static(name), value));
        }
        HttpSink::open(&settings, Arc::new(|| NOW)).err()
    };
    assert!(matches!(refusal("ftp://h/", None), Some(OpenError::Url(_))));
    assert!(matches!(refusal("/in", None), Some(OpenError::Url(_))));
    assert!(matches!(
        refusal("http://u:p@h/", None),
        Some(OpenError::Url(_))
    ));
    for own in [
        "host",
        "content-length",
        "connection",
        "idempotency-key",
        "expect",
    ] {
        let refused = refusal("http://h/", Some(own));
        assert!(matches!(refused, Some(OpenError::Header(_))), "{own}");
    }
    assert!(refusal("http://[::1]:8080", Some("x-own")).is_none());
}
