//! Indexer acknowledgement of Splunk's HTTP Event Collector.
//!
//! With it, a 200 says only that Splunk has the events in memory. It carries a number, and
//! `POST /services/collector/ack?channel=UUID` with `{"acks":[7]}` says under that number whether an
//! indexer has written them. The channel is the same for all batches of a stream and journal. A
//! number that was true once is forgotten by Splunk, so an answer that is lost on its way is a
//! batch sent twice.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use tokio::time::{sleep, timeout};

use super::answer::{Acknowledged, ReplyLimits, acknowledged};
use super::connection::failure;
use super::endpoint::Outgoing;
use super::{HttpSink, is_unauthorized};
use crate::batch::Parcel;
use crate::sink::Outcome;
use crate::sink::settings::ReplyForm;

/// The header that names the channel.
pub(super) const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// Time to the first question, and the bound it doubles to.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl HttpSink {
    /// Asks until the indexer has the batch, refuses to say, or the time is over.
    pub(super) async fn acknowledgement(
        &mut self,
        endpoint: usize,
        parcel: &Parcel,
        id: u64,
    ) -> Outcome {
        let ReplyForm::SplunkHec {
            acknowledgement: Some(limit),
        } = self.settings.replies
        else {
            return Outcome::Delivered;
        };
        let mut trouble = None;
        let asking = self.ask(endpoint, parcel, id, &mut trouble);
        timeout(limit, asking).await.unwrap_or_else(|_| {
            let last = trouble.map_or(String::new(), |detail| format!("; last: {detail}"));
            let detail = format!("no indexer acknowledged the batch within {limit:?}{last}");
            Outcome::Retry {
                why: failure("hec_ack", detail),
                after: None,
            }
        })
    }

    async fn ask(
        &mut self,
        endpoint: usize,
        parcel: &Parcel,
        id: u64,
        trouble: &mut Option<String>,
    ) -> Outcome {
        let path = ack_path(
            self.endpoints[endpoint].path(),
            &parcel.channel().to_string(),
        );
        let body = [Bytes::from(format!("{{\"acks\":[{id}]}}"))];
        let limits = self.limits(ReplyLimits::of(self.settings.replies));
        let mut pause = PAUSE_MIN;
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let mut headers = self.common_headers(parcel);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body[0].len()));
            let request = Outgoing {
                path: Some(&path),
                headers: &headers,
                chunks: &body,
            };
            let reply = match self.endpoints[endpoint].send(request, limits).await {
                Ok(reply) => reply,
                // The batch is there already; a connection that fails is no reason to send it again.
                Err(why) => {
                    *trouble = Some(why.detail);
                    continue;
                }
            };
            if is_unauthorized(reply.status) && self.token_changed().unwrap_or(false) {
                continue;
            }
            match acknowledged(&reply, id, &self.secrets) {
                Acknowledged::Indexed => return Outcome::Delivered,
                Acknowledged::Refused(why) => return Outcome::Refused { why },
                Acknowledged::Pending => *trouble = None,
            }
        }
    }
}

/// Where to ask, from the path events are posted to: what stands before `/services/collector` stays.
fn ack_path(events: &str, channel: &str) -> PathAndQuery {
    const COLLECTOR: &str = "/services/collector";
    let front = events.find(COLLECTOR).map_or("", |at| &events[..at]);
    let path = format!("{front}{COLLECTOR}/ack?channel={channel}");
    PathAndQuery::try_from(path).expect("a part of a path and a UUID make a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ask_is_that_of_the_events() {
        for (events, expected) in [
            (
                "/services/collector/event",
                "/services/collector/ack?channel=c",
            ),
            ("/services/collector", "/services/collector/ack?channel=c"),
            (
                "/a/services/collector/event/1.0",
                "/a/services/collector/ack?channel=c",
            ),
            ("/hec", "/services/collector/ack?channel=c"),
        ] {
            assert_eq!(ack_path(events, "c").as_str(), expected);
        }
    }
}
