//! The admin listener: health, metrics, status and commands over HTTP.
//!
//! | `GET` | answers |
//! | --- | --- |
//! | `/` | what there is, as text |
//! | `/healthz` | 200 while the loop of every shard turns, else 503 with the shards that hang |
//! | `/readyz` | 200 while events are taken, else 503 with the reasons |
//! | `/metrics` | the Prometheus text format |
//! | `/v1/status` | inputs, journals and streams as JSON |
//!
//! Whoever reaches it can read it; it listens on loopback unless the operator says otherwise.
//! What changes something is in [`command_routes`], and taken from this host alone.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::MissedTickBehavior;

use crate::control::command_routes::{self, Peer};
use crate::control::commands::StreamCommands;
use crate::control::health;
use crate::control::observed::Observed;
use crate::control::prometheus::{CONTENT_TYPE, Metrics};
use crate::control::status;
use crate::control::watchdog::{Stuck, Watchdog};

/// Connections served at a time; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 64;

/// How long a client may take for a request head, idling before it included. Off the usual
/// intervals of scrapers (15, 30, 60 s), so that none asks just when its connection closes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may last; a scraper connects again.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(10);

/// How often the turns of the shards are looked at, asked or not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long accepting pauses after an error, as when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Media type of plain answers.
const TEXT: &str = "text/plain; charset=utf-8";

/// Media type of JSON answers.
pub(super) const JSON: &str = "application/json";

/// Starts the control thread, which serves `listener` and passes commands on until `stop` says
/// true or its sender is gone.
///
/// # Errors
/// When the socket cannot be made non-blocking or the thread cannot be started; through the
/// handle, when the thread's runtime cannot be built.
pub fn spawn(
    listener: TcpListener,
    observed: Arc<Observed>,
    commands: StreamCommands,
    stop: watch::Receiver<bool>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    listener.set_nonblocking(true)?;
    std::thread::Builder::new()
        .name("weir-control".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let control = Control::new(observed);
            let app = router(Arc::clone(&control), Arc::new(commands));
            runtime.block_on(serve(listener, &control, &app, stop))
        })
}

/// What the endpoints share.
#[derive(Debug)]
struct Control {
    observed: Arc<Observed>,
    metrics: Metrics,
    watchdog: Mutex<Watchdog>,
}

impl Control {
    fn new(observed: Arc<Observed>) -> Arc<Self> {
        let started = observed.clock.now().wall;
        Arc::new(Self {
            metrics: Metrics::new(Arc::clone(&observed), started),
            observed,
            watchdog: Mutex::default(),
        })
    }

    fn live(&self) -> Result<(), Stuck> {
        // The watchdog changes by whole values, so a panic leaves it sound.
        let mut watchdog = self.watchdog.lock().unwrap_or_else(PoisonError::into_inner);
        health::live(&mut watchdog, &self.observed)
    }
}

async fn serve(
    listener: TcpListener,
    control: &Control,
    app: &Router,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_live = true;
    loop {
        let accepted = tokio::select! {
            biased;
            // The sender is gone when the node is: that is a stop too.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            _ = looks.tick() => {
                was_live = look(control, was_live);
                continue;
            }
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let app = app.clone().layer(Extension(peer));
                drop(tokio::spawn(converse(stream, app, place)));
            }
            Err(error) => {
                // Both a connection that failed before it was taken and a lack of
                // descriptors pass.
                tracing::warn!(%error, "accept a connection of the admin listener");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes a connection once there is a place for it.
async fn accept(
    listener: &tokio::net::TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (stream, address) = listener.accept().await?;
    Ok((stream, Peer(address.ip()), place))
}

/// Serves one connection to its end.
async fn converse(stream: TcpStream, app: Router, place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match tokio::time::timeout(CONNECTION_AGE_MAX, connection).await {
        // Its age is up.
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => tracing::debug!(%error, "serve a connection of the admin listener"),
    }
    drop(place);
}

/// Looks at the shards and logs when that changed; returns whether all are live.
fn look(control: &Control, was_live: bool) -> bool {
    match control.live() {
        Ok(()) if was_live => true,
        Ok(()) => {
            tracing::warn!("every shard turns its loop again");
            true
        }
        Err(stuck) => {
            if was_live {
                tracing::error!(%stuck, "a shard hangs");
            }
            false
        }
    }
}

fn router(control: Arc<Control>, commands: Arc<StreamCommands>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status_page))
        .merge(command_routes::routes(commands))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(control)
}

async fn index() -> Response {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "Weir {version}\n\n\
         /healthz    does every thread turn its loop?\n\
         /readyz     are events taken?\n\
         /metrics    counters, lag and latencies, in the Prometheus text format\n\
         /v1/status  inputs, journals and streams, in JSON\n\n\
         From this host, as application/json:\n\
         POST /v1/streams/STREAM/resume                deliver again\n\
         POST /v1/streams/STREAM/dead-letters/redrive  send dead letters again\n\
         POST /v1/streams/STREAM/dead-letters/drop     remove dead letters\n"
    );
    answer(StatusCode::OK, TEXT, text)
}

async fn healthz(State(control): State<Arc<Control>>) -> Response {
    match control.live() {
        Ok(()) => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(stuck) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{stuck}\n")),
    }
}

async fn readyz(State(control): State<Arc<Control>>) -> Response {
    let reasons = health::unready(&control.observed);
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer(status, JSON, body.to_string())
}

async fn metrics(State(control): State<Arc<Control>>) -> Response {
    answer(StatusCode::OK, CONTENT_TYPE, control.metrics.page())
}

async fn status_page(State(control): State<Arc<Control>>) -> Response {
    answer(StatusCode::OK, JSON, status::page(&control.observed))
}

async fn not_found(uri: Uri) -> Response {
    let error = format!("there is no {}; / lists what there is", uri.path());
    answer(
        StatusCode::NOT_FOUND,
        JSON,
        json!({ "error": error }).to_string(),
    )
}

async fn method_not_allowed() -> Response {
    let body = json!({ "error": "this is not answered to that method; / lists what there is" });
    answer(StatusCode::METHOD_NOT_ALLOWED, JSON, body.to_string())
}

pub(super) fn answer(status: StatusCode, media_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        // Every answer is of its moment.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}
