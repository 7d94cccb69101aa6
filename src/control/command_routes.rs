//! The endpoints that change something: commands to a stream.
//!
//! | `POST` | body | asks the stream to |
//! | --- | --- | --- |
//! | `/v1/streams/STREAM/resume` | `{}` | deliver again |
//! | `/v1/streams/STREAM/dead-letters/redrive` | which letters | send them again |
//! | `/v1/streams/STREAM/dead-letters/drop` | which letters | remove them |
//!
//! Which letters: `{"all":true}`, `{"ids":["0-12345"]}` or `{"reason":"http_4xx"}`. Answers are
//! JSON: 200 `{"letters":N}`, else `{"error":"…"}` with 400 for a body that says nothing, 404 for
//! no such stream, 409 when the stream cannot, 504 when it has not answered in time.
//!
//! The listener does not know who asks. So commands are taken from this host alone, as JSON, and
//! from no page of a browser: a page cannot send that content type to another origin without
//! asking first, and browsers name the origin of whatever they post.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use serde_json::json;

use crate::control::admin::{JSON, answer};
use crate::control::commands::{CommandAnswer, CommandError, StreamCommand, StreamCommands};
use crate::journal::letters::Which;

/// Bytes of a body: some 50,000 ids of letters.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Address of whoever is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What a request says besides its body.
type Asked = (
    State<Arc<StreamCommands>>,
    Path<String>,
    Extension<Peer>,
    HeaderMap,
);

/// The endpoints; a [`Peer`] must be among the extensions of each request.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(commands: Arc<StreamCommands>) -> Router<S> {
    Router::new()
        .route("/v1/streams/{stream}/resume", post(resume))
        .route("/v1/streams/{stream}/dead-letters/redrive", post(redrive))
        .route("/v1/streams/{stream}/dead-letters/drop", post(drop_letters))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(commands)
}

async fn resume(asked: Asked) -> Response {
    ask(asked, |answer| StreamCommand::Resume { answer }).await
}

async fn redrive(asked: Asked, body: Bytes) -> Response {
    ask_of_letters(asked, &body, |which, answer| StreamCommand::Redrive {
        which,
        answer,
    })
    .await
}

async fn drop_letters(asked: Asked, body: Bytes) -> Response {
    ask_of_letters(asked, &body, |which, answer| StreamCommand::Drop {
        which,
        answer,
    })
    .await
}

async fn ask_of_letters(
    asked: Asked,
    body: &[u8],
    command: impl FnOnce(Which, CommandAnswer) -> StreamCommand,
) -> Response {
    match serde_json::from_slice(body) {
        Ok(which) => ask(asked, |answer| command(which, answer)).await,
        // Who may not ask is told that first.
        Err(error) => refusal(&asked).unwrap_or_else(|| {
            let why = format!("the body does not say which letters: {error}");
            told(StatusCode::BAD_REQUEST, &why)
        }),
    }
}

async fn ask(asked: Asked, command: impl FnOnce(CommandAnswer) -> StreamCommand) -> Response {
    if let Some(refused) = refusal(&asked) {
        return refused;
    }
    let (State(commands), Path(stream), ..) = asked;
    match commands.ask(&stream, command).await {
        Ok(letters) => answer(
            StatusCode::OK,
            JSON,
            json!({ "letters": letters }).to_string(),
        ),
        Err(error) => {
            let status = match error {
                CommandError::UnknownStream(_) => StatusCode::NOT_FOUND,
                CommandError::Refused(_) => StatusCode::CONFLICT,
                CommandError::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            };
            told(status, &error.to_string())
        }
    }
}

/// Why whoever asks may not; `None` when they may.
fn refusal((_, _, Extension(Peer(address)), headers): &Asked) -> Option<Response> {
    if !address.to_canonical().is_loopback() {
        let why = "commands are taken from the host that Weir runs on, because the admin \
                   listener does not know who asks; run weir there";
        return Some(told(StatusCode::FORBIDDEN, why));
    }
    if headers.contains_key(header::ORIGIN) {
        let why = "commands are not taken from pages in a browser (there is an Origin header)";
        return Some(told(StatusCode::FORBIDDEN, why));
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_none_or(|value| value != JSON) {
        let why = "commands are taken with Content-Type: application/json alone";
        return Some(told(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    None
}

fn told(status: StatusCode, error: &str) -> Response {
    answer(status, JSON, json!({ "error": error }).to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use tokio::sync::mpsc;

    use super::*;

    const REDRIVE: &str = "/v1/streams/siem/dead-letters/redrive";
    const DROP: &str = "/v1/streams/siem/dead-letters/drop";
    const RESUME: &str = "/v1/streams/siem/resume";

    /// A stream that tells its commands: redrives 3 letters, cannot drop, takes a resume and
    /// ends, and does not answer a redrive of all.
    fn stream() -> (StreamCommands, mpsc::UnboundedReceiver<String>) {
        let (sender, mut commands) = mpsc::channel(4);
        let (told, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Some(command) = commands.recv().await {
                let words = match command {
                    StreamCommand::Redrive {
                        which: Which::All,
                        answer,
                    } => {
                        kept.push(answer);
                        "all".to_owned()
                    }
                    StreamCommand::Redrive { which, answer } => {
                        answer.send(Ok(3)).unwrap();
                        format!("redrive {which:?}")
                    }
                    StreamCommand::Drop { which, answer } => {
                        answer.send(Err("the disk is full".to_owned())).unwrap();
                        format!("drop {which:?}")
                    }
                    StreamCommand::Resume { answer } => {
                        answer.send(Ok(0)).unwrap();
                        commands.close();
                        "resume".to_owned()
                    }
                };
                told.send(words).unwrap();
            }
        });
        let mut streams = StreamCommands::default();
        streams.add("siem".into(), sender);
        (streams, seen)
    }

    struct Client {
        commands: StreamCommands,
        peer: IpAddr,
    }

    impl Client {
        async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
            let routes = routes::<()>(Arc::new(self.commands.clone()));
            let service = TowerToHyperService::new(routes.layer(Extension(Peer(self.peer))));
            let mut request = Request::post(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let response = service.call(request).await.unwrap();
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    const AS_JSON: (&str, &str) = ("content-type", "application/json");

    #[tokio::test]
    async fn a_command_reaches_its_stream_and_the_answer_comes_back() {
        let (commands, mut seen) = stream();
        let peer = "127.0.0.1".parse().unwrap();
        let client = Client { commands, peer };
        let cases = [
            (REDRIVE, "{\"ids\":[\"0-7\"]}", 200, "{\"letters\":3}"),
            (
                DROP,
                "{\"reason\":\"http_4xx\"}",
                409,
                "{\"error\":\"the disk is full\"}",
            ),
            (RESUME, "{}", 200, "{\"letters\":0}"),
            (RESUME, "{}", 409, "{\"error\":\"the stream is ending\"}"),
        ];
        for (path, body, status, answer) in cases {
            let answered = client.post(path, &[AS_JSON], body).await;
            assert_eq!(answered, (status, answer.to_owned()), "{path}");
        }
        let id = "LetterId { journal: JournalId(0), offset: Offset(7) }";
        assert_eq!(seen.recv().await.unwrap(), format!("redrive Ids({{{id}}})"));
        assert_eq!(seen.recv().await.unwrap(), "drop Reason(\"http_4xx\")");
        assert_eq!(seen.recv().await.unwrap(), "resume");
        assert_eq!(seen.recv().await, None);
    }

    #[tokio::test]
    async fn a_command_that_cannot_be_asked_says_why() {
        let (commands, mut seen) = stream();
        let peer = "::ffff:127.0.0.1".parse().unwrap();
        let client = Client { commands, peer };
        let cases = [
            (
                "/v1/streams/other/resume",
                "{}",
                404,
                "there is no stream \\\"other\\\"",
            ),
            (DROP, "", 400, "which letters"),
            (DROP, "{\"all\":false}", 400, "which letters"),
            (DROP, "{\"ids\":[\"7\"]}", 400, "looks like 0-12345"),
        ];
        for (path, body, status, part) in cases {
            let (got, error) = client.post(path, &[AS_JSON], body).await;
            assert_eq!(got, status, "{error}");
            assert!(error.contains(part), "{error}");
        }
        assert!(seen.try_recv().is_err(), "the stream was not asked");
    }

    #[tokio::test]
    async fn a_stream_that_does_not_answer_is_not_waited_for_without_end() {
        let (commands, mut seen) = stream();
        let commands = commands.answered_within(Duration::from_millis(1));
        let peer = "::1".parse().unwrap();
        let client = Client { commands, peer };
        let (status, error) = client.post(REDRIVE, &[AS_JSON], "{\"all\":true}").await;
        assert_eq!(status, 504, "{error}");
        assert_eq!(seen.recv().await.unwrap(), "all");
    }

    #[tokio::test]
    async fn commands_from_elsewhere_and_from_browsers_are_refused() {
        let plain = ("content-type", "text/plain");
        let origin = ("origin", "http://weir.example");
        let cases = [
            (
                "192.0.2.1",
                vec![AS_JSON],
                403,
                "the host that Weir runs on",
            ),
            (
                "2001:db8::1",
                vec![AS_JSON],
                403,
                "the host that Weir runs on",
            ),
            ("127.0.0.1", vec![AS_JSON, origin], 403, "browser"),
            ("127.0.0.1", vec![plain], 415, "application/json"),
            ("127.0.0.1", vec![], 415, "application/json"),
        ];
        for (peer, headers, status, part) in cases {
            let (commands, mut seen) = stream();
            let peer = peer.parse().unwrap();
            let client = Client { commands, peer };
            for (path, body) in [(RESUME, "{}"), (DROP, "{\"all\":true}"), (DROP, "?")] {
                let (got, error) = client.post(path, &headers, body).await;
                assert_eq!(got, status, "{peer} {path}: {error}");
                assert!(error.contains(part), "{error}");
            }
            assert!(seen.try_recv().is_err(), "the stream was not asked");
        }
    }
}
