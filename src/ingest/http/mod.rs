//! The `http` input: `POST /v1/events`, durable before it is answered.
//!
//! Owns the life of a connection: hyper reads and writes HTTP/1.1, a `Watch` says
//! when a client was waited for long enough, and what is refused without being read is
//! closed gently, so that the client can still read why. Requests are in `request`, and
//! the pieces of one in the other files. Leaves accepting sockets (with `TCP_NODELAY` set)
//! and their number to the caller, and the journal to the shard behind the [`Door`].

mod answer;
mod body;
mod counters;
mod decode;
mod judge;
mod labels;
mod relay;
mod request;
mod watch;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::ingest::door::Door;
use crate::ingest::settings::HttpSettings;
use crate::position::Timestamp;
use request::Session;
use watch::{Lapse, Patience, Watch, Watched};

pub use counters::{HttpCounters, RefusalReason};
pub use judge::fuzz_body;
pub use relay::RelayLedger;

/// The clocks of a shard: monotonic time and the time of day.
pub type Now = Rc<dyn Fn() -> (Duration, Timestamp)>;

/// An `http` input on one shard; its connections share it.
pub struct HttpInput {
    settings: HttpSettings,
    door: Door,
    now: Now,
    counters: Arc<HttpCounters>,
    relay: Arc<RelayLedger>,
    stopped: Cell<bool>,
    stop: Notify,
}

/// Longest time a connection stays open for a client to read an answer that came before it
/// had sent all.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// Bytes hyper holds of a connection at most, which is also the longest request head. It
/// grows to this only while a client sends as fast, and 1,000 such clients take 64 MiB.
const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Bytes read and dropped in a row while lingering.
const LINGER_READ_BYTES: usize = 16 * 1024;

impl HttpInput {
    /// An input that hands lines to `door`. Other shards with the same input share `counters`, and the
    /// whole node shares `relay`.
    #[must_use]
    pub fn new(
        settings: HttpSettings,
        door: Door,
        now: Now,
        counters: Arc<HttpCounters>,
        relay: Arc<RelayLedger>,
    ) -> Rc<Self> {
        Rc::new(Self {
            settings,
            door,
            now,
            counters,
            relay,
            stopped: Cell::new(false),
            stop: Notify::new(),
        })
    }

    /// Ends keep-alive: idle connections close now, the others behind the request they are
    /// at. Call it when the door goes to `Stopping`; there is no way back.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.stop.notify_waiters();
    }

    /// What the input counts.
    #[must_use]
    pub fn counters(&self) -> &HttpCounters {
        &self.counters
    }

    fn settings(&self) -> &HttpSettings {
        &self.settings
    }

    fn relay(&self) -> &Arc<RelayLedger> {
        &self.relay
    }

    fn door(&self) -> &Door {
        &self.door
    }

    fn now(&self) -> (Duration, Timestamp) {
        (self.now)()
    }
}

/// Serves a connection until it ends. Dropping the future closes the connection; lines that
/// were admitted stay admitted.
pub async fn serve_connection<S>(stream: S, peer: SocketAddr, input: Rc<HttpInput>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    counters::raise(&input.counters.connections, 1);
    let settings = &input.settings;
    let watch = Rc::new(Watch::new(Patience {
        idle: settings.keep_alive_timeout,
        head: settings.header_timeout,
        answer: settings.body_timeout,
    }));
    let session = Rc::new(Session::new(Rc::clone(&input), Rc::clone(&watch), peer));
    let service = service_fn(move |request| {
        let session = Rc::clone(&session);
        async move { Ok::<_, Infallible>(session.respond(request).await) }
    });
    let mut connection = http1::Builder::new()
        // The watch has finer clocks than hyper, which knows no idle time.
        .header_read_timeout(None)
        // A client may close its side behind its request and still read the answer.
        .half_close(true)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(
            TokioIo::new(Watched::new(stream, Rc::clone(&watch))),
            service,
        );
    let finish_soon = http1::Connection::graceful_shutdown;
    let end = run(&mut connection, finish_soon, &watch, &input).await;
    let stream = connection.into_parts().io.into_inner().into_stream();
    close(stream, end, &watch, &input).await;
}

/// How serving a connection ended.
#[derive(Debug)]
enum End {
    /// HTTP says it is done.
    Done,
    /// What came is no HTTP; hyper has answered 400 or so.
    Malformed,
    /// The connection broke.
    Broken,
    /// The client was waited for long enough.
    Lapsed(Lapse),
}

/// Drives a connection to its end, against its clock and the input's stop.
async fn run<C>(
    connection: &mut C,
    finish_soon: impl Fn(Pin<&mut C>),
    watch: &Watch,
    input: &HttpInput,
) -> End
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let mut stop = pin!(input.stop.notified());
    let mut stopping = false;
    let mut alarm = pin!(sleep(Duration::ZERO));
    poll_fn(|context| {
        if !stopping && (stop.as_mut().poll(context).is_ready() || input.stopped.get()) {
            stopping = true;
            finish_soon(Pin::new(connection));
        }
        match Pin::new(&mut *connection).poll(context) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Done),
            Poll::Ready(Err(error)) if error.is_parse() => return Poll::Ready(End::Malformed),
            Poll::Ready(Err(_)) => return Poll::Ready(End::Broken),
            Poll::Pending => {}
        }
        loop {
            if let Some(lapse) = watch.lapse(Instant::now()) {
                return Poll::Ready(End::Lapsed(lapse));
            }
            if !rang(alarm.as_mut(), watch.deadline(), context) {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Sets `alarm` so that it wakes the task at `deadline` or before; true when it rang before
/// and must be set again.
fn rang(
    mut alarm: Pin<&mut Sleep>,
    deadline: Option<Instant>,
    context: &mut std::task::Context<'_>,
) -> bool {
    let Some(deadline) = deadline else {
        return false;
    };
    // An alarm that is early is left alone: setting it for every request would cost more.
    if alarm.is_elapsed() || deadline < alarm.deadline() {
        alarm.as_mut().reset(deadline);
    }
    alarm.poll(context).is_ready()
}

/// Closes a connection in the way its end asks for.
async fn close<S>(mut stream: S, end: End, watch: &Watch, input: &HttpInput)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let counters = &input.counters;
    let unread = match end {
        End::Done => watch.closes_early(),
        End::Malformed => {
            counters::raise(&counters.malformed_heads, 1);
            true
        }
        End::Lapsed(Lapse::Head) => {
            counters::raise(&counters.head_timeouts, 1);
            let answer = answer::slow_head_answer(input.settings.header_timeout.as_secs_f64());
            let sent = timeout(LINGER_MAX, stream.write_all(&answer)).await;
            matches!(sent, Ok(Ok(())))
        }
        End::Lapsed(Lapse::Answer) => {
            counters::raise(&counters.answer_timeouts, 1);
            return;
        }
        End::Lapsed(Lapse::Idle) => {
            counters::raise(&counters.idle_timeouts, 1);
            false
        }
        End::Broken => return,
    };
    let bytes_max = if unread && !watch.ended() {
        input.settings.body_bytes_max
    } else {
        0
    };
    // A client that is gone, or not gone in time, needs no further word.
    let _gone = timeout(LINGER_MAX, linger(&mut stream, bytes_max)).await;
}

/// Says "no more from us" and drops what still comes, at most `bytes_max`: closing over
/// unread bytes would reset the connection and take the answer from the client.
async fn linger<S>(stream: &mut S, bytes_max: usize) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    if bytes_max == 0 {
        return Ok(());
    }
    let mut dropped = vec![0; LINGER_READ_BYTES];
    let mut left = bytes_max;
    loop {
        let bytes = stream.read(&mut dropped).await?;
        if bytes == 0 || bytes > left {
            return Ok(());
        }
        left -= bytes;
    }
}
