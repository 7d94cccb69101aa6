//! Clients who send nonsense, too much or too slowly over HTTP. Each is answered with what
//! is wrong, a refused body is admitted in no part, and nobody else notices.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::bad_input::malformed_lines;
use crate::peers::{Answer, Client, request};
use crate::scene::{Counts, Scene};

const GZIP: &str = "Content-Encoding: gzip\r\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A sample of the refusals by reason.
fn refused(reason: &str) -> String {
    format!("weir_http_refused_total{{input=\"web\",reason=\"{reason}\"}}")
}

/// The counts of an input that took so many lines and nothing else.
fn stored(stored: u64) -> Counts {
    Counts {
        stored,
        ..Counts::default()
    }
}

#[test]
fn lines_of_a_body_that_are_no_event_are_named_and_the_others_are_taken() {
    let mut scene = Scene::new();
    let bad = malformed_lines();
    let count = bad.len() as u64;
    let mut body = Vec::new();
    for (number, (line, _)) in bad.iter().enumerate() {
        body.extend_from_slice(format!("{{\"good\":{number}}}\r\n").as_bytes());
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    let long = format!("{{\"long\":\"{}\"}}\n", "a".repeat(1024 * 1024));
    body.extend_from_slice(long.as_bytes());
    body.extend_from_slice(b"{\"last\":\"without its end\"}");
    let mut client = Client::connect(scene.http());
    let answer = client.post("", &body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["accepted"], count + 1);
    assert_eq!(answer.body["rejected_total"], count + 1);
    let mut named: Vec<u64> = (1..=count).map(|pair| 2 * pair).collect();
    named.push(2 * count + 1);
    assert_eq!(answer.rejected(), named);
    let told = answer.body["rejected"].as_array().unwrap();
    for (told, (line, word)) in told.iter().zip(&bad) {
        let line = String::from_utf8_lossy(line);
        let error = told["error"].as_str().unwrap();
        assert!(error.contains(word), "{line}: {error:?} lacks {word:?}");
    }
    scene.untouched();
    scene.counted("apps", Counts::default());
    scene.counted(
        "web",
        Counts {
            stored: count + 1,
            malformed: count,
            too_long: 1,
            skipped: 0,
        },
    );
    assert_eq!(
        scene.metric("weir_internal_records_total{kind=\"reject\"}"),
        count + 1
    );
    let mut good: Vec<String> = (0..count).map(|n| format!("{{\"good\":{n}}}")).collect();
    good.push("{\"last\":\"without its end\"}".to_owned());
    assert_eq!(scene.delivered(), good);
}

#[test]
fn broken_gzip_is_refused_whole_and_the_connection_beside_it_goes_on() {
    let mut scene = Scene::new();
    let lines = "{\"zipped\":1}\n{\"zipped\":2}\n";
    let whole = gzip(lines.as_bytes());
    let mut corrupt = whole.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    let mut wrong_sum = whole.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let cases = [
        ("truncated", whole[..whole.len() - 9].to_vec()),
        ("cut within its trailer", whole[..whole.len() - 3].to_vec()),
        ("corrupt", corrupt),
        ("wrong checksum", wrong_sum),
        ("bytes behind", [whole.as_slice(), b"behind"].concat()),
        ("no gzip at all", lines.as_bytes().to_vec()),
    ];
    let count = cases.len() as u64;
    for (what, body) in cases {
        let mut client = Client::connect(scene.http());
        let answer = client.post(GZIP, &body);
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(answer.error().contains("gzip"), "{what}: {answer:?}");
        scene.untouched();
    }
    assert_eq!(scene.metric(&refused("unreadable")), count);
    scene.counted("web", Counts::default());
    // The same body unharmed, in one member and in two.
    let mut client = Client::connect(scene.http());
    assert_eq!(client.post(GZIP, &whole).body["accepted"], 2);
    let twice = [whole.as_slice(), &whole].concat();
    assert_eq!(client.post(GZIP, &twice).body["accepted"], 4);
    scene.counted("web", stored(6));
    assert_eq!(
        scene.delivered().concat(),
        lines.repeat(3).replace('\n', "")
    );
}

#[test]
fn a_bomb_of_1_to_1000_is_refused_and_costs_no_memory() {
    let mut scene = Scene::new();
    let zeros = vec![0; 64 * 1024 * 1024];
    let bomb = gzip(&zeros);
    assert!(bomb.len() * 1_000 < zeros.len(), "a bomb of 1:1000");
    let line = format!("{{\"bomb\":\"{}\"}}\n", "b".repeat(100_000));
    let of_events = gzip(line.repeat(20).as_bytes());
    assert!(of_events.len() * 200 < 20 * line.len());
    for body in [bomb, of_events] {
        let mut client = Client::connect(scene.http());
        let answer = client.post(GZIP, &body);
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.error().contains("expansion_max"), "{answer:?}");
        scene.untouched();
    }
    assert_eq!(scene.metric(&refused("expansion")), 2);
    scene.counted("web", Counts::default());
    scene.memory_stayed_in_bounds();
}

#[test]
fn bodies_above_a_limit_are_refused_with_the_limit_by_name() {
    let mut scene = Scene::with(
        "",
        "body_bytes_max = \"64 KiB\"\ndecompressed_bytes_max = \"128 KiB\"\nline_bytes_max = \"16 KiB\"",
    );
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(1_000));
    let body = line.repeat(200);
    let mut client = Client::connect(scene.http());
    let plain = client.post("", body.as_bytes());
    assert_eq!(plain.status, 413);
    assert!(plain.error().contains("body_bytes_max"), "{plain:?}");
    let zipped = client.post(GZIP, &gzip(body.as_bytes()));
    assert_eq!(zipped.status, 413);
    assert!(
        zipped.error().contains("decompressed_bytes_max"),
        "{zipped:?}"
    );
    // A chunked body is measured as it comes.
    client.send("POST /v1/events HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..200 {
        client.send(format!("{:x}\r\n{line}\r\n", line.len()));
    }
    client.send("0\r\n\r\n");
    let chunked = client.answer().unwrap();
    assert_eq!(chunked.status, 413, "{chunked:?}");
    assert_eq!(scene.metric(&refused("body_too_large")), 2);
    assert_eq!(scene.metric(&refused("decompressed_too_large")), 1);
    // These were small enough to be read to their end: the connection lives on.
    assert_eq!(client.post("", line.as_bytes()).status, 200);
    scene.untouched();
    scene.counted("web", stored(1));
}

#[test]
fn a_content_length_that_is_wrong_harms_its_own_connection_only() {
    let mut scene = Scene::new();
    // More announced than sent.
    let mut short = Client::connect(scene.http());
    short
        .send("POST /v1/events HTTP/1.1\r\nHost: weir\r\nContent-Length: 100\r\n\r\n{\"cut\":1}\n");
    short.stream().shutdown(Shutdown::Write).unwrap();
    let answer = short.answer().unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.error().contains("after 10 bytes"), "{answer:?}");
    assert_eq!(scene.metric(&refused("aborted")), 1);
    scene.untouched();
    // Less announced than sent: what is left over is no request.
    let mut long = Client::connect(scene.http());
    long.send("POST /v1/events HTTP/1.1\r\nHost: weir\r\nContent-Length: 10\r\n\r\n{\"fits\":1}{\"over\":1}\r\n\r\n");
    let answer = long.answer().unwrap();
    assert_eq!((answer.status, &answer.body["accepted"]), (200, &1.into()));
    let rest = long.answer().unwrap();
    assert_eq!(rest.status, 400, "{rest:?}");
    assert!(long.answer().is_none(), "closed behind it");
    // What is no length at all.
    let heads = [
        "Content-Length: many\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 9\r\nContent-Length: 10\r\n",
        "Content-Length: 99999999999999999999999\r\n",
    ];
    for head in heads {
        let mut client = Client::connect(scene.http());
        client.send(format!(
            "POST /v1/events HTTP/1.1\r\nHost: weir\r\n{head}\r\n{{\"a\":123}}\n"
        ));
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 400, "{head}: {answer:?}");
        assert!(client.answer().is_none(), "{head}: closed behind it");
        scene.untouched();
    }
    scene.metric_becomes("weir_http_malformed_heads_total{input=\"web\"}", 5);
    scene.counted("web", stored(1));
    assert_eq!(scene.delivered(), ["{\"fits\":1}"]);
}

#[test]
fn chunks_with_trailers_are_a_body_and_broken_chunks_are_not() {
    const CHUNKED: &str =
        "POST /v1/events HTTP/1.1\r\nHost: weir\r\nTransfer-Encoding: chunked\r\n";
    let mut scene = Scene::new();
    let mut client = Client::connect(scene.http());
    client.send(format!(
        "{CHUNKED}Trailer: X-Weir-Application\r\n\r\n\
         8;note=\"x\"\r\n{{\"piece\"\r\n5\r\n:1}}\n{{\r\n9\r\n\"piece\":2\r\n2\r\n}}\n\r\n\
         0\r\nX-Weir-Application: trailing\r\nX-Sum: 12\r\n\r\n"
    ));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, &answer.body["accepted"]), (200, &2.into()));
    // The connection goes on, in step.
    assert_eq!(client.post("", b"{\"piece\":3}").status, 200);
    client.send(format!(
        "{CHUNKED}\r\nnot a size\r\n{{\"lost\":1}}\n\r\n0\r\n\r\n"
    ));
    let broken = client.answer().unwrap();
    assert_eq!(broken.status, 400, "{broken:?}");
    assert_eq!(scene.metric(&refused("unreadable")), 1);
    scene.untouched();
    let mut cut = Client::connect(scene.http());
    cut.send(format!("{CHUNKED}\r\nd\r\n{{\"lost\":2}}\n\r\n"));
    cut.stream().shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.answer().unwrap().status, 400);
    assert_eq!(scene.metric(&refused("aborted")), 1);
    scene.untouched();
    scene.counted("web", stored(3));
    let pieces = ["{\"piece\":1}", "{\"piece\":2}", "{\"piece\":3}"];
    assert_eq!(scene.delivered(), pieces);
}

#[test]
fn a_client_that_sends_a_byte_a_second_is_answered_and_let_go() {
    let mut scene = Scene::with("", "header_timeout = \"1s\"\nbody_timeout = \"1s\"");
    let head = "POST /v1/events HTTP/1.1\r\nHost: weir\r\nContent-Length: 5000\r\n\r\n";
    // The head comes by bytes; the body; and the body in pieces that only look brisk.
    let slow_head = drip(&scene, "", Duration::from_secs(1));
    let slow_body = drip(&scene, head, Duration::from_secs(2));
    let slow_pace = drip(&scene, head, Duration::from_millis(100));
    for (what, answered) in [
        ("head", slow_head),
        ("pause", slow_body),
        ("pace", slow_pace),
    ] {
        // The bystanders are served in the meantime.
        scene.untouched();
        let answer = answered.recv().unwrap();
        assert_eq!(answer.status, 408, "{what}: {answer:?}");
    }
    scene.metric_becomes("weir_http_timeouts_total{input=\"web\",phase=\"head\"}", 1);
    scene.metric_becomes(&refused("too_slow"), 2);
    scene.untouched();
    scene.counted("web", Counts::default());
}

/// Sends `head`, then a byte and a pause again and again, until there is an answer.
fn drip(scene: &Scene, head: &str, pause: Duration) -> mpsc::Receiver<Answer> {
    let mut client = Client::connect(scene.http());
    client.send(head);
    let mut sending = client.stream().try_clone().expect("a second handle");
    let (answered, answer) = mpsc::channel();
    let thread = std::thread::Builder::new();
    thread
        .spawn(move || {
            // Ends with the connection.
            while sending.write_all(b"P").is_ok() {
                std::thread::sleep(pause);
            }
        })
        .expect("a thread");
    std::thread::Builder::new()
        .spawn(move || {
            let said = client.answer().expect("an answer before the end");
            client.stream().shutdown(Shutdown::Both).ok();
            answered.send(said).ok();
        })
        .expect("a thread");
    answer
}

#[test]
fn requests_of_another_kind_are_refused_by_name() {
    let mut scene = Scene::new();
    let line = b"{\"a\":1}\n".as_slice();
    let ask = |scene: &Scene, bytes: Vec<u8>| {
        let mut client = Client::connect(scene.http());
        client.send(bytes);
        client.answer().unwrap()
    };
    let path = ask(&scene, {
        let text = String::from_utf8(request("", line)).unwrap();
        text.replace("/v1/events", "/v1/event").into_bytes()
    });
    assert_eq!(
        (path.status, path.error().contains("/v1/event")),
        (404, true)
    );
    let method = ask(
        &scene,
        b"GET /v1/events HTTP/1.1\r\nHost: weir\r\n\r\n".to_vec(),
    );
    assert_eq!((method.status, method.error().contains("GET")), (405, true));
    let coding = ask(&scene, request("Content-Encoding: br\r\n", line));
    assert_eq!((coding.status, coding.error().contains("br")), (415, true));
    let label = ask(&scene, {
        let text = String::from_utf8(request("", line)).unwrap();
        text.replace("/v1/events", "/v1/events?aplication=x")
            .into_bytes()
    });
    assert_eq!(
        (label.status, label.error().contains("aplication")),
        (400, true)
    );
    let no_http = ask(
        &scene,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
    );
    assert_eq!(no_http.status, 400);
    for reason in ["path", "method", "encoding", "labels"] {
        assert_eq!(scene.metric(&refused(reason)), 1, "{reason}");
    }
    scene.metric_becomes("weir_http_malformed_heads_total{input=\"web\"}", 1);
    scene.untouched();
    scene.counted("web", Counts::default());
}
