//! A node of one shard for the tests: the input on a loopback socket, and a shard's loop
//! that takes every block and settles it, or does not, as the test says.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use crate::budget::Budget;
use crate::event::{InputId, LabelRun, Labels};
use crate::ingest::door::Door;
use crate::ingest::exclusion::NodeExclusion;
use crate::ingest::fate::Waiter;
use crate::ingest::gather::{CloseAfter, Gather};
use crate::ingest::http::{HttpCounters, HttpInput, Now, RefusalReason, serve_connection};
use crate::ingest::settings::{HttpSettings, InputSettings, Validation};
use crate::metrics::ledger::InputCounts;
use crate::position::Timestamp;

/// What the shard does with a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Syncs,
    /// Takes blocks and never says a word, until told otherwise.
    Hangs,
    Fails,
}

/// What became durable.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) raw: Vec<u8>,
    pub(super) counts: InputCounts,
    pub(super) runs: Vec<LabelRun>,
    pub(super) rejects: Vec<Value>,
}

pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) input: Rc<HttpInput>,
    pub(super) door: Door,
    pub(super) budget: Budget,
    pub(super) disk: Rc<Cell<Disk>>,
    pub(super) stored: Rc<RefCell<Stored>>,
    /// Told when a block was taken.
    pub(super) taken: Rc<Notify>,
    waiting: Rc<RefCell<Vec<Waiter>>>,
}

/// Settings with small limits and timeouts no test runs into by chance.
pub(super) fn settings() -> HttpSettings {
    HttpSettings {
        input: InputSettings {
            id: InputId(2),
            name: "web".to_owned(),
            validation: Validation::Full,
            line_bytes_max: 1_000,
            labels: Labels {
                application: Some("default".into()),
                ..Labels::of_input(InputId(2))
            },
        },
        listen: "127.0.0.1:0".parse().expect("an address"),
        connections_max: 100,
        body_bytes_max: 2 << 20,
        decompressed_bytes_max: 4 << 20,
        expansion_max: 200,
        header_timeout: Duration::from_secs(600),
        body_timeout: Duration::from_secs(600),
        keep_alive_timeout: Duration::from_secs(600),
        relay: Vec::new(),
    }
}

/// Runs a test against a node with `settings` and a budget of 64 MiB.
pub(super) async fn with_node<F>(settings: HttpSettings, test: impl FnOnce(Rc<Node>) -> F)
where
    F: Future<Output = ()>,
{
    let local = LocalSet::new();
    local
        .run_until(async move {
            let node = Rc::new(Node::start(settings).await);
            test(node).await;
        })
        .await;
}

impl Node {
    async fn start(settings: HttpSettings) -> Self {
        let listener = TcpListener::bind(settings.listen).await.expect("a port");
        let budget = Budget::new(64 << 20);
        let after = CloseAfter {
            awaited: Duration::ZERO,
            idle: Duration::ZERO,
        };
        let door = Door::new(Gather::new(after), budget.clone(), NodeExclusion::none());
        let now: Now = Rc::new(|| (Duration::from_secs(5), Timestamp(77)));
        let counters = Arc::new(HttpCounters::default());
        let node = Self {
            address: listener.local_addr().expect("bound"),
            input: HttpInput::new(settings, door.clone(), now, counters, Arc::default()),
            door,
            budget,
            disk: Rc::new(Cell::new(Disk::Syncs)),
            stored: Rc::default(),
            taken: Rc::default(),
            waiting: Rc::default(),
        };
        spawn_local(accept(listener, Rc::clone(&node.input)));
        spawn_local(shard(
            node.door.clone(),
            Rc::clone(&node.disk),
            Rc::clone(&node.stored),
            Rc::clone(&node.taken),
            Rc::clone(&node.waiting),
        ));
        node
    }

    /// Ends a hang: what was taken is settled.
    pub(super) fn settle(&self) {
        self.disk.set(Disk::Syncs);
        for waiter in self.waiting.borrow_mut().drain(..) {
            waiter.fate.settle(waiter.line);
        }
    }

    pub(super) async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.address).await.expect("listens"),
            read: Vec::new(),
        }
    }

    /// Posts a body on a connection of its own.
    pub(super) async fn post(&self, headers: &str, body: &[u8]) -> Reply {
        let mut client = self.connect().await;
        client.post(headers, body).await;
        client.reply().await
    }

    pub(super) fn stored_text(&self) -> String {
        String::from_utf8(self.stored.borrow().raw.clone()).expect("UTF-8")
    }

    /// Asserts that nothing of any request was admitted and no memory is still held.
    pub(super) async fn assert_untouched(&self) {
        assert_eq!(self.stored_text(), "");
        assert_eq!(self.stored.borrow().counts, InputCounts::default());
        assert!(self.door.gather().due().is_none());
        while self.budget.bytes_taken() > 0 {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn refused(&self, reason: RefusalReason) -> u64 {
        self.input.counters().refusals(reason)
    }

    /// Waits until a counter is raised; the test hangs when it never is.
    pub(super) async fn until_counted(
        &self,
        counter: impl Fn(&HttpCounters) -> &std::sync::atomic::AtomicU64,
    ) {
        while counter(self.input.counters()).load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn accept(listener: TcpListener, input: Rc<HttpInput>) {
    loop {
        let (stream, peer) = listener.accept().await.expect("accepts");
        spawn_local(serve_connection(stream, peer, Rc::clone(&input)));
    }
}

async fn shard(
    door: Door,
    disk: Rc<Cell<Disk>>,
    stored: Rc<RefCell<Stored>>,
    taken: Rc<Notify>,
    waiting: Rc<RefCell<Vec<Waiter>>>,
) {
    loop {
        door.filled().await;
        door.gather().close();
        while let Some(block) = { door.gather().take_closed() } {
            let mut stored = stored.borrow_mut();
            stored.raw.extend_from_slice(&block.raw[..block.raw_len]);
            for (input, counts) in block.counts {
                assert_eq!(input, InputId(2));
                stored.counts += counts;
            }
            stored.runs.extend(block.runs);
            let (lines, _) = block.rejects.into_lines();
            for line in lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                stored
                    .rejects
                    .push(serde_json::from_slice(line).expect("JSON"));
            }
            for waiter in block.waiters {
                match disk.get() {
                    Disk::Syncs => waiter.fate.settle(waiter.line),
                    Disk::Hangs => waiting.borrow_mut().push(waiter),
                    Disk::Fails => waiter.fate.lose(),
                }
            }
            taken.notify_one();
        }
    }
}

/// A client that writes what it likes.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Head in lower case.
    pub(super) head: String,
    pub(super) body: Value,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("sends");
    }

    /// Sends as much as the other side takes; it may close in between.
    pub(super) async fn send_in_vain(&mut self, bytes: &[u8]) {
        let _refused = self.stream.write_all(bytes).await.is_err();
    }

    pub(super) async fn post(&mut self, headers: &str, body: &[u8]) {
        self.send(post_of(headers, body)).await;
    }

    /// The next answer.
    pub(super) async fn reply(&mut self) -> Reply {
        self.try_reply().await.expect("an answer before the end")
    }

    /// The next answer; `None` when the connection ends without.
    pub(super) async fn try_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some((reply, length)) = parsed(&self.read) {
                self.read.drain(..length);
                return Some(reply);
            }
            let read = self.stream.read_buf(&mut self.read).await;
            if read.ok().filter(|bytes| *bytes > 0).is_none() {
                assert!(self.read.is_empty(), "half an answer");
                return None;
            }
        }
    }

    /// All that comes until the connection ends.
    pub(super) async fn rest(mut self) -> Vec<u8> {
        let rest = self.stream.read_to_end(&mut self.read).await;
        rest.expect("a gentle close");
        self.read
    }

    /// True when nothing came so far.
    pub(super) fn heard_nothing(&mut self) -> bool {
        let mut byte = [0];
        let outcome = self.stream.try_read(&mut byte);
        self.read.is_empty()
            && outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Asserts that the connection ends with nothing more.
    pub(super) async fn assert_closed(&mut self) {
        assert!(self.try_reply().await.is_none());
    }
}

pub(super) fn post_of(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn parsed(read: &[u8]) -> Option<(Reply, usize)> {
    let end = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let head = String::from_utf8(read[..end].to_vec())
        .expect("text")
        .to_lowercase();
    let status = head.get(9..12)?.parse().expect("a status");
    if status == 100 {
        return Some((
            Reply {
                status,
                head,
                body: Value::Null,
            },
            end,
        ));
    }
    let length = head.split("content-length: ").nth(1).expect("a length");
    let length: usize = length.lines().next()?.parse().expect("a number");
    let body = read.get(end..end + length)?;
    let reply = Reply {
        status,
        head,
        body: serde_json::from_slice(body).expect("a JSON answer"),
    };
    Some((reply, end + length))
}

impl Reply {
    pub(super) fn error(&self) -> &str {
        self.body["error"].as_str().expect("an error")
    }

    pub(super) fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }

    /// Asserts a refusal whose text holds each of `words`.
    pub(super) fn assert_refused(&self, status: u16, words: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        for word in words {
            assert!(self.error().contains(word), "{word:?} in {self:?}");
        }
    }

    /// Asserts 200 with these numbers.
    pub(super) fn assert_accepted(&self, accepted: u64, rejected_total: u64) {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.body["accepted"], accepted, "{self:?}");
        assert_eq!(self.body["rejected_total"], rejected_total, "{self:?}");
    }
}
