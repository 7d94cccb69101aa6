//! What comes back over plain connections: statuses, silence, halves and endings.

use super::*;

/// Delivers one small parcel to a receiver that gives this answer and closes.
async fn outcome_of(answer: &str) -> Outcome {
    let answer = answer.to_owned();
    let receiver = Receiver::start(move |mut peer| {
        let answer = answer.clone();
        async move {
            peer.read_request().await;
            peer.send(&answer).await;
        }
    })
    .await;
    let outcome = deliver(&mut receiver.sink(), &small(0)).await;
    assert_eq!(
        receiver.connections(),
        1,
        "a first connection is not tried again"
    );
    outcome
}

#[tokio::test]
async fn each_answer_has_its_outcome() {
    let cases = [
        (OK, ("delivered", "")),
        ("HTTP/1.1 204 No Content\r\n\r\n", ("delivered", "")),
        (
            "HTTP/1.1 202 Accepted\r\n\r\nuntil the end",
            ("delivered", ""),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nold", ("delivered", "")),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
            ("delivered", ""),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ("delivered", ""),
        ),
        (
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            ("retry", "http_5xx"),
        ),
        (
            "HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
            ("retry", "http_4xx"),
        ),
        (
            "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n",
            ("split", "http_4xx"),
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n",
            ("refused", "http_3xx"),
        ),
        (
            "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            ("refused", "http_4xx"),
        ),
        // Of a refusal the head suffices.
        (
            "HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\nhalf",
            ("refused", "http_4xx"),
        ),
        ("", ("retry", "connection_closed")),
        (
            "HTTP/1.1 200 OK\r\nContent-Le",
            ("retry", "connection_closed"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf",
            ("retry", "connection_closed"),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
            ("retry", "connection_closed"),
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n", ("retry", "protocol_error")),
        ("HTTP/1.1 2x0 OK\r\n\r\n", ("retry", "protocol_error")),
    ];
    for (answer, expected) in cases {
        assert_eq!(verdict(&outcome_of(answer).await), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn retry_after_is_passed_on_as_seconds_and_as_date() {
    let cases = [
        ("Retry-After: 7\r\n", Some(7)),
        ("Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n", Some(60)),
        ("Retry-After: 100000\r\n", Some(3600)),
        ("Retry-After: later\r\n", None),
        ("", None),
    ];
    for (header, seconds) in cases {
        let answer = format!("HTTP/1.1 429 Slow\r\n{header}Content-Length: 0\r\n\r\n");
        let Outcome::Retry { after, .. } = outcome_of(&answer).await else {
            panic!("429 is a retry");
        };
        assert_eq!(after, seconds.map(Duration::from_secs), "{header:?}");
    }
}

#[tokio::test]
async fn detail_names_status_and_cause_and_no_secret() {
    let echo = "HTTP/1.1 403 Forbidden\r\nContent-Length: 26\r\n\r\nno such token: tok-123456\n";
    let outcome = outcome_of(echo).await;
    assert_eq!(detail(&outcome), "403 Forbidden: no such token: [secret]");
    let moved =
        "HTTP/1.1 302 Found\r\nLocation: https://x/login?next=in\r\nContent-Length: 0\r\n\r\n";
    let outcome = outcome_of(moved).await;
    assert_eq!(detail(&outcome), "302 Found, Location https://x/login");
    let sink = Receiver::answering(OK).await.sink();
    assert!(!format!("{sink:?}").contains("tok-"));
}

#[tokio::test]
async fn silence_ends_with_the_request_timeout_and_the_connection() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_request().await;
        if peer.number == 0 {
            peer.read_head().await;
        }
        peer.send(OK).await;
        peer.read_request().await;
    })
    .await;
    let mut settings = receiver.settings();
    settings.request_timeout = SHORT;
    let mut sink = open(&settings);
    let outcome = deliver(&mut sink, &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "timed_out"));
    assert!(detail(&outcome).contains("100ms"), "{}", detail(&outcome));
    // A late answer to the first request is never taken for the second's.
    sink.settings.request_timeout = LONG;
    assert_eq!(deliver(&mut sink, &small(10)).await, Outcome::Delivered);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_reply_that_never_ends_times_out() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
        peer.read_head().await;
    })
    .await;
    let mut settings = receiver.settings();
    settings.request_timeout = SHORT;
    let outcome = deliver(&mut open(&settings), &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "timed_out"));
}

#[tokio::test]
async fn a_receiver_that_stops_reading_times_out() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut settings = receiver.settings();
    settings.request_timeout = SHORT;
    let outcome = deliver(&mut open(&settings), &large(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "timed_out"));
}

#[tokio::test]
async fn closing_at_once_or_amid_the_body_is_a_closed_connection() {
    for head_only in [false, true] {
        let receiver = Receiver::start(move |mut peer| async move {
            if head_only {
                peer.read_head().await;
            }
        })
        .await;
        let outcome = deliver(&mut receiver.sink(), &large(0)).await;
        assert_eq!(verdict(&outcome), ("retry", "connection_closed"));
        assert!(!detail(&outcome).is_empty());
    }
}

#[tokio::test]
async fn an_answer_given_before_the_body_was_read_is_seen() {
    // Many times, since answer and reset race with our writing.
    for _ in 0..30 {
        let receiver = Receiver::start(|mut peer| async move {
            peer.read_head().await;
            peer.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?")
                .await;
        })
        .await;
        let outcome = deliver(&mut receiver.sink(), &large(0)).await;
        assert_eq!(verdict(&outcome), ("refused", "http_4xx"), "{outcome:?}");
        assert!(detail(&outcome).starts_with("401 Unauthorized"));
    }
}

#[tokio::test]
async fn an_early_200_counts_only_when_the_body_is_taken_all_the_same() {
    for takes_body in [true, false] {
        let receiver = Receiver::start(move |mut peer| async move {
            let head = peer.read_head().await.unwrap();
            peer.send(OK).await;
            let received = Received {
                head,
                body: Vec::new(),
            };
            let length: usize = received.header("content-length").unwrap().parse().unwrap();
            if takes_body {
                let mut body = vec![0; length];
                peer.socket.read_exact(&mut body).await.unwrap();
                peer.read_head().await;
            }
        })
        .await;
        let outcome = deliver(&mut receiver.sink(), &large(0)).await;
        let expected = if takes_body {
            ("delivered", "")
        } else {
            ("retry", "connection_closed")
        };
        assert_eq!(verdict(&outcome), expected);
    }
}

#[tokio::test]
async fn a_reply_longer_than_a_mebibyte_is_not_read_to_its_end() {
    let receiver = Receiver::start(|mut peer| async move {
        peer.read_request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            .await;
        let piece = "y".repeat(64 * 1024);
        while peer.socket.write_all(piece.as_bytes()).await.is_ok() {}
    })
    .await;
    let mut sink = receiver.sink();
    assert_eq!(deliver(&mut sink, &small(0)).await, Outcome::Delivered);
    assert_eq!(deliver(&mut sink, &small(10)).await, Outcome::Delivered);
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = deliver(
        &mut open(&settings(&format!("http://{address}/"))),
        &small(0),
    )
    .await;
    assert_eq!(verdict(&outcome), ("retry", "connect_refused"));
    assert!(detail(&outcome).contains(&address.to_string()));
    let outcome = deliver(
        &mut open(&settings("http://no-such-host.invalid/")),
        &small(0),
    )
    .await;
    assert_eq!(verdict(&outcome), ("retry", "dns_failure"));
}
