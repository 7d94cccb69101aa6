//! Through a proxy: tunnels, whole URLs, and proxies that say no.

use tokio::io::copy_bidirectional;

use super::*;
use crate::sink::settings::ProxySettings;

fn through(proxy: &Receiver, mut settings: HttpSettings) -> HttpSink {
    let mut authorization = HeaderValue::from_static("Basic cHJveHk6c2VzYW1l");
    authorization.set_sensitive(true);
    settings.proxy = Some(ProxySettings {
        host: proxy.address.ip().to_string(),
        port: proxy.address.port(),
        authorization: Some(authorization),
    });
    open(&settings)
}

/// A proxy that opens tunnels and notes the heads by which it was asked to.
async fn tunnelling() -> Receiver {
    Receiver::start(|mut peer| async move {
        let head = peer.read_head().await.unwrap();
        let place = head.split(' ').nth(1).unwrap().to_owned();
        let body = Vec::new();
        peer.requests.lock().unwrap().push(Received { head, body });
        let mut upstream = TcpStream::connect(place).await.unwrap();
        peer.send("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            .await;
        copy_bidirectional(&mut peer.socket, &mut upstream)
            .await
            .ok();
    })
    .await
}

#[tokio::test]
async fn plain_requests_name_their_whole_url_to_the_proxy() {
    let proxy = Receiver::answering(OK).await;
    let mut sink = through(&proxy, settings("http://siem.example:8088/in?source=weir"));
    for first in [0, 10] {
        assert_eq!(deliver(&mut sink, &small(first)).await, Outcome::Delivered);
    }
    assert_eq!(proxy.connections(), 1);
    for request in proxy.requests() {
        let line = "POST http://siem.example:8088/in?source=weir HTTP/1.1";
        assert_eq!(request.head.lines().next(), Some(line));
        assert_eq!(request.header("host"), Some("siem.example:8088"));
        let authorization = request.header("proxy-authorization");
        assert_eq!(authorization, Some("Basic cHJveHk6c2VzYW1l"));
    }
}

#[tokio::test]
async fn encrypted_requests_go_through_a_tunnel_that_the_destination_sees_nothing_of() {
    let (destination, settings, _files) = tls::trusted_receiver().await;
    let proxy = tunnelling().await;
    let mut sink = through(&proxy, settings);
    for first in [0, 10] {
        assert_eq!(deliver(&mut sink, &small(first)).await, Outcome::Delivered);
    }
    let asked = proxy.requests();
    assert_eq!(asked.len(), 1);
    let line = format!("CONNECT localhost:{} HTTP/1.1", destination.address.port());
    assert_eq!(asked[0].head.lines().next(), Some(line.as_str()));
    let authorization = asked[0].header("proxy-authorization");
    assert_eq!(authorization, Some("Basic cHJveHk6c2VzYW1l"));
    for request in destination.requests() {
        assert_eq!(request.header("proxy-authorization"), None);
        let line = request.head.lines().next().unwrap();
        assert_eq!(line, "POST /in HTTP/1.1");
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_help_is_told_from_a_destination_that_does_not() {
    let cases = [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            ("refused", "proxy_refused"),
        ),
        (
            "HTTP/1.0 403 Forbidden\r\n\r\n",
            ("refused", "proxy_refused"),
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
            ("retry", "connect_failed"),
        ),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", ("retry", "protocol_error")),
        (
            "HTTP/1.1 200 OK\r\n\r\nand more",
            ("retry", "protocol_error"),
        ),
        ("HTTP/1.1 200 OK\r\n", ("retry", "connection_closed")),
        ("", ("retry", "connection_closed")),
    ];
    for (answer, expected) in cases {
        let proxy = Receiver::start(move |mut peer| async move {
            peer.read_head().await;
            peer.send(answer).await;
        })
        .await;
        let (_, settings, _files) = tls::trusted_receiver().await;
        let outcome = deliver(&mut through(&proxy, settings), &small(0)).await;
        assert_eq!(verdict(&outcome), expected, "{answer:?}");
        assert!(!detail(&outcome).contains("cHJveHk6c2VzYW1l"));
    }
}
