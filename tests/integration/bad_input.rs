//! Senders who send nonsense, too much, too little or too slowly over TCP. Each is told
//! what of theirs was refused, the books name it, and nobody else notices.

use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::eventually;
use crate::peers::Sender;
use crate::scene::{Counts, Scene};

/// Lines that are no event, with a word of what their sender is told.
pub(crate) fn malformed_lines() -> Vec<(Vec<u8>, &'static str)> {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
    let text: Vec<(&[u8], &str)> = vec![
        (b"{\"a\":\"\xff\"}", "UTF-8"),
        (b"{\"a\":\"\xc3(\"}", "UTF-8"),
        (b"{\"surrogate\":\"\xed\xa0\x80\"}", "UTF-8"),
        (b"hello", "byte 0"),
        (b"42", "byte 0"),
        (b"\"text\"", "byte 0"),
        (b"\xef\xbb\xbf{\"bom\":1}", "byte 0"),
        (b"{\"a\":1", "byte 6"),
        (b"{\"a\":1} x", "byte 8"),
        (b"{\"a\":1}}", "byte 7"),
        (b"{'a':1}", "byte 1"),
        (b"{\"a\":01}", "begin with 0"),
        (b"{\"a\":NaN}", "byte 5"),
        (b"{\"a\":\"\t\"}", "byte 6"),
        (b"{\"a\":\"\\x\"}", "byte 7"),
        (b"{\"a\":1,}", "byte 7"),
        (b"\0\0\0\0", "byte 0"),
        (deep.as_bytes(), "nested more than 128 deep"),
    ];
    text.into_iter()
        .map(|(line, word)| (line.to_vec(), word))
        .collect()
}

#[test]
fn lines_that_are_no_event_are_named_and_the_lines_beside_them_are_taken() {
    let mut scene = Scene::new();
    let bad = malformed_lines();
    let count = bad.len() as u64;
    let mut sender = Sender::connect(scene.tcp());
    let mut body = Vec::new();
    for (number, (line, _)) in bad.iter().enumerate() {
        body.extend_from_slice(format!("{{\"good\":{number}}}\n").as_bytes());
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    sender.send(&body);
    let told = sender.acked(2 * count);
    assert_eq!(told.rejected_total, count);
    let every_second: Vec<u64> = (1..=count).map(|pair| 2 * pair).collect();
    assert_eq!(told.rejected, every_second);
    for (error, (line, word)) in told.errors.iter().zip(&bad) {
        let line = String::from_utf8_lossy(line);
        assert!(error.contains(word), "{line}: {error:?} lacks {word:?}");
    }
    scene.untouched();
    scene.counted(
        "apps",
        Counts {
            stored: count,
            malformed: count,
            ..Counts::default()
        },
    );
    scene.counted("web", Counts::default());
    // Each is kept with its reason.
    assert_eq!(
        scene.metric("weir_internal_records_total{kind=\"reject\"}"),
        count
    );
    let good: Vec<String> = (0..count).map(|n| format!("{{\"good\":{n}}}")).collect();
    assert_eq!(scene.delivered(), good);
}

#[test]
fn a_line_of_100_mb_is_rejected_once_and_the_next_line_is_taken() {
    let mut scene = Scene::new();
    let mut sender = Sender::connect(scene.tcp());
    sender.send("{\"endless\":\"");
    let piece = vec![b'a'; 1_000_000];
    for _ in 0..50 {
        sender.send(&piece);
    }
    scene.untouched();
    for _ in 0..50 {
        sender.send(&piece);
    }
    sender.send("\"}\n{\"behind\":1}\n");
    let told = sender.acked(2);
    assert_eq!((told.rejected, told.rejected_total), (vec![1], 1));
    assert!(told.errors[0].contains("1048576"), "{:?}", told.errors);
    scene.counted(
        "apps",
        Counts {
            stored: 1,
            too_long: 1,
            ..Counts::default()
        },
    );
    scene.memory_stayed_in_bounds();
    assert_eq!(scene.delivered(), ["{\"behind\":1}"]);
}

#[test]
fn a_last_line_without_its_end_is_taken_when_it_is_whole_and_named_when_it_is_cut() {
    let mut scene = Scene::new();
    let mut whole = Sender::connect(scene.tcp());
    whole.send("{\"whole\":1}\n{\"whole\":2}");
    let told = whole.finish();
    assert_eq!((told.acked, told.rejected_total), (2, 0));
    let mut cut = Sender::connect(scene.tcp());
    cut.send("{\"whole\":3}\n{\"cut\":\"in the mid");
    let told = cut.finish();
    assert_eq!((told.acked, told.rejected), (2, vec![2]));
    scene.untouched();
    scene.counted(
        "apps",
        Counts {
            stored: 3,
            malformed: 1,
            ..Counts::default()
        },
    );
    let mut delivered = scene.delivered();
    delivered.sort();
    assert_eq!(
        delivered,
        ["{\"whole\":1}", "{\"whole\":2}", "{\"whole\":3}"]
    );
}

#[test]
fn a_reset_connection_keeps_its_acknowledged_lines_and_its_cut_line_is_no_event() {
    let mut scene = Scene::new();
    let mut sender = Sender::connect(scene.tcp());
    sender.send("{\"kept\":1}\n");
    sender.acked(1);
    sender.send("{\"cut\":\"in the mid");
    set_socket_linger(sender.stream(), Some(Duration::ZERO)).unwrap();
    drop(sender);
    scene.metric_becomes("weir_tcp_failed_connections_total{input=\"apps\"}", 1);
    scene.metric_falls_to("weir_input_open_connections{input=\"apps\"}", 1);
    scene.untouched();
    scene.counted(
        "apps",
        Counts {
            stored: 1,
            ..Counts::default()
        },
    );
    assert_eq!(scene.delivered(), ["{\"kept\":1}"]);
}

#[test]
fn carriage_returns_and_empty_lines_are_not_a_part_of_events() {
    let mut scene = Scene::new();
    let mut sender = Sender::connect(scene.tcp());
    sender.send("{\"a\": 1 }\r\n\r\n  \t\r\n\n{\"b\":\"\\r\"}\n{\"c\":3}\r\n");
    let told = sender.acked(6);
    assert_eq!((told.acked, told.rejected_total), (6, 0));
    scene.untouched();
    scene.counted(
        "apps",
        Counts {
            stored: 3,
            skipped: 3,
            ..Counts::default()
        },
    );
    assert_eq!(
        scene.delivered(),
        ["{\"a\": 1 }", "{\"b\":\"\\r\"}", "{\"c\":3}"]
    );
}

#[test]
fn a_line_that_comes_byte_by_byte_is_taken() {
    let mut scene = Scene::new();
    let mut slow = Sender::connect(scene.tcp());
    for byte in b"{\"drop\":\"by drop\"}\n" {
        slow.send([*byte]);
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.untouched();
    let told = slow.acked(1);
    assert_eq!((told.acked, told.rejected_total), (1, 0));
    scene.counted(
        "apps",
        Counts {
            stored: 1,
            ..Counts::default()
        },
    );
    assert_eq!(scene.delivered(), ["{\"drop\":\"by drop\"}"]);
}

#[test]
fn a_sender_who_falls_silent_is_let_go_with_what_it_sent_settled() {
    let scene = Scene::with("idle_timeout = \"3s\"", "");
    let mut silent = Sender::connect(scene.tcp());
    silent.send("{\"before\":\"the silence\"}\n{\"cut\":");
    // The relay closes; the sender never does.
    let told = silent.acked_until_closed();
    assert_eq!((told.acked, told.rejected_total), (1, 0));
    eventually("silent connections are closed", || {
        scene.metric("weir_input_open_connections{input=\"apps\"}") == 0
    });
    // The bystander was as silent.
    scene.metric_becomes("weir_tcp_idle_closed_connections_total{input=\"apps\"}", 2);
    scene.counted(
        "apps",
        Counts {
            stored: 1,
            ..Counts::default()
        },
    );
    assert_eq!(scene.delivered(), ["{\"before\":\"the silence\"}"]);
}

#[test]
fn five_thousand_idle_connections_leave_room_for_one_that_sends() {
    const IDLE: u64 = 5_000;
    raise_open_files(IDLE + 500);
    let mut scene = Scene::new();
    let address = scene.tcp();
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut connection = Sender::connect(address);
        // Some are idle in the middle of a line.
        if number % 4 == 0 {
            connection.send("{\"begun\":\"");
        }
        idle.push(connection);
    }
    scene.metric_becomes("weir_input_open_connections{input=\"apps\"}", IDLE + 1);
    let mut sender = Sender::connect(address);
    let lines: Vec<String> = (0..5_000).map(|n| format!("{{\"line\":{n}}}")).collect();
    for part in lines.chunks(500) {
        sender.send(part.join("\n") + "\n");
        scene.untouched();
    }
    let told = sender.acked(5_000);
    assert_eq!((told.acked, told.rejected_total), (5_000, 0));
    // Those who were idle are still served.
    let last = idle.last_mut().expect("there are some");
    last.send("{\"awake\":1}\n");
    last.acked(1);
    scene.memory_stayed_in_bounds();
    drop(idle);
    scene.metric_falls_to("weir_input_open_connections{input=\"apps\"}", 2);
    scene.counted(
        "apps",
        Counts {
            stored: 5_001,
            malformed: IDLE / 4,
            ..Counts::default()
        },
    );
    let mut delivered = scene.delivered();
    delivered.retain(|line| line != "{\"awake\":1}");
    assert_eq!(delivered, lines);
}

#[test]
fn a_connection_above_the_limit_is_closed_at_once_and_counted() {
    let mut scene = Scene::with("connections_max = 2", "");
    let mut second = Sender::connect(scene.tcp());
    second.send("{\"second\":1}\n");
    second.acked(1);
    let third = Sender::connect(scene.tcp());
    assert!(closed(third.stream()), "a third is one too many");
    scene.metric_becomes("weir_input_refused_connections_total{input=\"apps\"}", 1);
    scene.untouched();
    second.send("{\"second\":2}\n");
    second.acked(2);
    assert_eq!(scene.delivered(), ["{\"second\":1}", "{\"second\":2}"]);
}

/// True when the peer closes without a word.
fn closed(mut stream: &TcpStream) -> bool {
    use std::io::Read as _;
    matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
}

/// Lets this process, and the relay it starts later, open so many files.
fn raise_open_files(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .expect("this test needs 5,500 open files: raise the hard limit (ulimit -Hn)");
}
