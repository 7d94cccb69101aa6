//! The least a relay can be: lines in, bodies out, nothing judged, nothing kept.
//!
//! Two uses. The tests of `loadgen run` need a relay and must not need the real one; and its figures
//! are the ceiling that generator and endpoint leave on a machine, to be read beside a relay's.
//! Promises order per connection and no loss while it lives; acknowledges what is only in memory.
//! `NULL_RELAY_DROP_EVERY=N` and `NULL_RELAY_REPEAT_EVERY=N` make it lose or repeat every N-th body.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The few values read from the configuration.
#[derive(Debug, Clone, Default)]
struct Settings {
    admin: String,
    tcp: Option<String>,
    ack: bool,
    http: Option<String>,
    url: String,
    gzip: bool,
}

fn main() -> Result<()> {
    let path = std::env::args()
        .nth(3)
        .ok_or("usage: null_relay run --config FILE")?;
    let settings = read_settings(&std::fs::read_to_string(path)?);
    let pending = Arc::new(AtomicU64::new(0));
    let (queue, lines) = sync_channel(16);
    if let Some(address) = &settings.tcp {
        let (queue, ack, pending) = (queue.clone(), settings.ack, Arc::clone(&pending));
        listen(address, move |stream| {
            take_tcp(stream, &queue, ack, &pending)
        })?;
    }
    if let Some(address) = &settings.http {
        let (queue, pending) = (queue.clone(), Arc::clone(&pending));
        listen(address, move |stream| take_http(stream, &queue, &pending))?;
    }
    let (delivering, left) = (settings.clone(), Arc::clone(&pending));
    start("deliver", move || deliver(&delivering, &lines, &left))?;
    listen(&settings.admin, |mut stream| {
        stream.read_burst(&mut Vec::new())?;
        Ok(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?)
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let kind = tokio::signal::unix::SignalKind::terminate();
        tokio::signal::unix::signal(kind)?.recv().await;
        Ok::<_, std::io::Error>(())
    })?;
    while pending.load(Ordering::SeqCst) > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Understands just the configurations `loadgen run` writes.
fn read_settings(text: &str) -> Settings {
    let mut settings = Settings::default();
    let mut section = "";
    for line in text.lines() {
        let Some((key, value)) = line.split_once(" = ") else {
            section = line;
            continue;
        };
        let value = value.trim_matches('"').to_owned();
        match (section, key) {
            ("[admin]", "listen") => settings.admin = value,
            ("[input.load.tcp]", "listen") => settings.tcp = Some(value),
            ("[input.load.tcp]", "ack") => settings.ack = value == "true",
            ("[input.web.http]", "listen") => settings.http = Some(value),
            ("[stream.siem.http]", "url") => settings.url = value,
            ("[stream.siem.http]", "compression") => settings.gzip = value == "gzip",
            _ => {}
        }
    }
    settings
}

fn start(name: &str, body: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let reported = move || {
        if let Err(error) = body() {
            eprintln!("null_relay: {error}");
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(128 << 10)
        .spawn(reported)?;
    Ok(())
}

fn listen(
    address: &str,
    serve: impl Fn(TcpStream) -> Result<()> + Clone + Send + 'static,
) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    start("listen", move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream?, serve.clone());
            stream.set_nodelay(true)?;
            start("serve", move || serve(stream))?;
        }
        Ok(())
    })
}

fn take_tcp(
    mut stream: TcpStream,
    queue: &SyncSender<Vec<u8>>,
    ack: bool,
    pending: &AtomicU64,
) -> Result<()> {
    let (mut carry, mut count) = (Vec::new(), 0);
    loop {
        let mut lines = Vec::with_capacity(256 << 10);
        lines.append(&mut carry);
        if stream.read_burst(&mut lines)? == 0 {
            return Ok(());
        }
        let end = memchr::memrchr(b'\n', &lines).map_or(0, |at| at + 1);
        carry.extend_from_slice(&lines[end..]);
        lines.truncate(end);
        if ack {
            count += memchr::memchr_iter(b'\n', &lines).count();
        }
        if end > 0 {
            pending.fetch_add(1, Ordering::SeqCst);
            queue.send(lines)?;
        }
        if ack {
            stream.write_all(format!("{{\"ack\":{count}}}\n").as_bytes())?;
        }
    }
}

/// One read, appended; the number of bytes is 0 at the end.
trait ReadBurst {
    fn read_burst(&mut self, out: &mut Vec<u8>) -> Result<usize>;
}

impl<R: Read> ReadBurst for R {
    fn read_burst(&mut self, out: &mut Vec<u8>) -> Result<usize> {
        let before = out.len();
        out.resize(before + (192 << 10), 0);
        let count = self.read(&mut out[before..])?;
        out.truncate(before + count);
        Ok(count)
    }
}

fn take_http(stream: TcpStream, queue: &SyncSender<Vec<u8>>, pending: &AtomicU64) -> Result<()> {
    let mut reader = BufReader::with_capacity(16 << 10, &stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let accepted = memchr::memchr_iter(b'\n', &body).count();
        pending.fetch_add(1, Ordering::SeqCst);
        queue.send(body)?;
        let answer = format!("{{\"accepted\":{accepted},\"rejected\":[],\"rejected_total\":0}}");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        (&stream).write_all((head + &answer).as_bytes())?;
    }
}

fn deliver(settings: &Settings, lines: &Receiver<Vec<u8>>, pending: &AtomicU64) -> Result<()> {
    let host = settings
        .url
        .trim_start_matches("http://")
        .trim_end_matches("/ingest");
    let mut stream = TcpStream::connect(host)?;
    stream.set_nodelay(true)?;
    let [drop_every, repeat_every] =
        ["NULL_RELAY_DROP_EVERY", "NULL_RELAY_REPEAT_EVERY"].map(|name| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        });
    let encoding = if settings.gzip {
        "Content-Encoding: gzip\r\n"
    } else {
        ""
    };
    let mut number = 0;
    while let Ok(mut raw) = lines.recv() {
        let mut pieces = 1;
        while raw.len() < 1 << 20
            && let Ok(more) = lines.try_recv()
        {
            raw.extend_from_slice(&more);
            pieces += 1;
        }
        number += 1;
        let body = if settings.gzip { gzip(&raw)? } else { raw };
        let due = |every: Option<u64>| every.is_some_and(|every| number % every == 0);
        let times = if due(drop_every) {
            0
        } else {
            1 + u64::from(due(repeat_every))
        };
        for _ in 0..times {
            let length = body.len();
            let head = format!(
                "POST /ingest HTTP/1.1\r\nHost: {host}\r\nIdempotency-Key: null/{number}\r\n\
                 {encoding}Content-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)?;
            read_answer(&mut stream)?;
        }
        pending.fetch_sub(pieces, Ordering::SeqCst);
    }
    Ok(())
}

fn gzip(raw: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(raw.len() / 4), Compression::new(1));
    encoder.write_all(raw)?;
    Ok(encoder.finish()?)
}

fn read_answer(stream: &mut TcpStream) -> Result<()> {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n{}") {
        if stream.read_burst(&mut answer)? == 0 {
            return Err("the endpoint closed the connection".into());
        }
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err("refused".into())
    }
}
