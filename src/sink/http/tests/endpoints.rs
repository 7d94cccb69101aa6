//! Several URLs: who gets a parcel when one of them fails.

use super::*;

/// A sink for these receivers, the first of them preferred.
fn sink_for(receivers: &[&Receiver]) -> HttpSink {
    let url = |receiver: &&Receiver| receiver.settings().urls.remove(0);
    let mut settings = receivers[0].settings();
    settings.urls = receivers.iter().map(url).collect();
    open(&settings)
}

/// A receiver that answers its first requests so, and the others with 200.
async fn failing_first(answers: usize, answer: &'static str) -> Receiver {
    Receiver::start(move |mut peer| async move {
        while peer.read_request().await.is_some() {
            let requests = peer.requests.lock().unwrap().len();
            peer.send(if requests <= answers { answer } else { OK })
                .await;
        }
    })
    .await
}

const UNAVAILABLE: &str = "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn what_an_endpoint_fails_to_take_goes_to_the_next_under_the_same_identity() {
    // It answers 503, hangs up, does not listen at all.
    let unavailable = Receiver::answering(UNAVAILABLE).await;
    let rude = Receiver::start(|mut peer| async move {
        peer.read_head().await;
    })
    .await;
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Receiver {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        }
    };
    for first in [unavailable, rude, gone] {
        let second = Receiver::answering(OK).await;
        let mut sink = sink_for(&[&first, &second]);
        let parcel = small(0);
        assert_eq!(deliver(&mut sink, &parcel).await, Outcome::Delivered);
        let key = parcel.id.to_string();
        let taken = second.requests().remove(0);
        assert_eq!(taken.header("idempotency-key"), Some(key.as_str()));
        assert_eq!(taken.header("host"), Some(&*second.address.to_string()));
    }
}

#[tokio::test]
async fn what_an_endpoint_refuses_is_not_offered_to_the_next() {
    let refusing = Receiver::answering("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n").await;
    let second = Receiver::answering(OK).await;
    let mut sink = sink_for(&[&refusing, &second]);
    for first in [0, 10] {
        let outcome = deliver(&mut sink, &small(first)).await;
        assert_eq!(verdict(&outcome), ("refused", "http_4xx"));
    }
    assert_eq!((refusing.requests().len(), second.connections()), (2, 0));
}

#[tokio::test]
async fn the_preferred_endpoint_is_used_again_once_it_is_back() {
    let first = failing_first(1, UNAVAILABLE).await;
    let second = Receiver::answering(OK).await;
    let mut sink = sink_for(&[&first, &second]);
    let mut number = 0;
    // Its circuit is due within a second.
    while first.requests().len() < 3 {
        assert_eq!(deliver(&mut sink, &small(number)).await, Outcome::Delivered);
        number += 10;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let by_second = second.requests().len();
    assert!(by_second > 0);
    assert_eq!(deliver(&mut sink, &small(number)).await, Outcome::Delivered);
    assert_eq!(second.requests().len(), by_second, "it is preferred again");
}

#[tokio::test]
async fn when_all_fail_the_parcel_waits_with_the_last_failure() {
    let first = Receiver::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let second =
        Receiver::answering("HTTP/1.1 503 Later\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")
            .await;
    let mut sink = sink_for(&[&first, &second]);
    for _ in 0..3 {
        let outcome = deliver(&mut sink, &small(0)).await;
        assert_eq!(verdict(&outcome), ("retry", "http_5xx"));
        let Outcome::Retry { after, .. } = outcome else {
            panic!("it is a retry");
        };
        assert!(after.is_none_or(|after| after <= Duration::from_secs(1) * 4));
    }
    assert_eq!(second.requests().len(), 1, "it asked for half a minute");
}

#[tokio::test]
async fn interim_answers_are_read_past_but_not_for_ever() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let some = Receiver::answering(format!("{}{OK}", early.repeat(16))).await;
    let outcome = deliver(&mut some.sink(), &small(0)).await;
    assert_eq!(outcome, Outcome::Delivered);
    let endless = Receiver::start(move |mut peer| async move {
        peer.read_request().await;
        while peer.socket.write_all(early.as_bytes()).await.is_ok() {}
    })
    .await;
    let outcome = deliver(&mut endless.sink(), &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "protocol_error"));
    assert!(detail(&outcome).contains("interim"), "{}", detail(&outcome));
}
