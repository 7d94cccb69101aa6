//! One delivery after another through one client, and what becomes of a parcel.

use std::fmt;
use std::sync::Arc;

use rdkafka::producer::Producer as _;

use super::client::{Maker, Producer};
use super::flight::{Ending, Failed, Flight, number};
use super::message::{self, Composer};
use super::settings::{KafkaSettings, Message};
use super::words::{Side, judge};
use crate::batch::{Body, Parcel};
use crate::sink::{Failure, Outcome, Sink, WallClock};

/// Delivers to Kafka.
pub struct KafkaSink {
    maker: Maker,
    /// For settings with one event a message.
    composer: Option<Composer>,
    /// A client whose last delivery ended well; gone while one is under way.
    kept: Option<Producer>,
    /// A broker found a batch of messages too large: from then on each is sent by itself, so that
    /// the one at fault is known.
    one_by_one: bool,
    ending: Ending,
}

impl KafkaSink {
    /// Makes a sink; the client is made when something is delivered.
    #[must_use]
    pub fn open(settings: &KafkaSettings, stream: Arc<str>, clock: WallClock) -> Self {
        let composer = match &settings.message {
            Message::Event(event) => Some(Composer::new(settings, event)),
            Message::Batch(_) => None,
        };
        Self {
            maker: Maker {
                settings: settings.clone(),
                stream,
                clock,
            },
            composer,
            kept: None,
            one_by_one: false,
            ending: Ending::default(),
        }
    }

    /// Keeps a client for the next delivery, unless it ended with the last message.
    fn keep(&mut self, producer: Producer) {
        let fatal = producer.context().tally().fatal;
        if fatal {
            self.ending.add(producer);
        } else {
            self.kept = Some(producer);
        }
    }

    /// What became of the records that were not sent, and of those that the flight failed on.
    fn failed(
        &mut self,
        failed: Failed,
        mut reject: Vec<(u32, Failure)>,
        parcel: &Parcel,
    ) -> Outcome {
        let Failed { why, side, tally } = failed;
        match side {
            Side::Refusal => Outcome::Refused { why },
            Side::Passing | Side::Consequence => Outcome::Retry { why, after: None },
            Side::TooLarge if matches!(parcel.body, Body::Whole(_)) => Outcome::Split { why },
            Side::TooLarge if !self.one_by_one => {
                tracing::warn!(
                    stream = %self.maker.stream, detail = %why.detail,
                    "a broker takes smaller batches than message_bytes_max; messages are sent one by one"
                );
                self.one_by_one = true;
                Outcome::Retry { why, after: None }
            }
            Side::TooLarge => {
                for (message, code) in tally.failed {
                    if judge(code).1 == Side::TooLarge {
                        reject.push((number(message), why.clone()));
                    }
                }
                reject.sort_by_key(|(record, _)| *record);
                let taken = tally.taken.iter().enumerate();
                let left = taken
                    .filter(|(_, taken)| !**taken)
                    .map(|(record, _)| number(record));
                let is_rejected = |record: &u32| {
                    let found = reject.binary_search_by_key(record, |(rejected, _)| *rejected);
                    found.is_ok()
                };
                Outcome::Partial {
                    retry: left.filter(|record| !is_rejected(record)).collect(),
                    reject,
                    why,
                    after: None,
                }
            }
        }
    }
}

impl Sink for KafkaSink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let settings = &self.maker.settings;
        if matches!(parcel.body, Body::Whole(_)) {
            let headers = message::of_batch(settings, parcel).bytes();
            let bytes = parcel.body_bytes() + headers as u64;
            if bytes > settings.message_bytes_max as u64 {
                let max = settings.message_bytes_max;
                let detail = format!("{bytes} bytes, and message_bytes_max is {max}");
                let reason = "message_size_too_large";
                return Outcome::Split {
                    why: Failure { reason, detail },
                };
            }
        }
        let kept = self.kept.take();
        let producer = match kept.map_or_else(|| self.maker.make(self.one_by_one), Ok) {
            Ok(producer) => producer,
            Err(why) => return Outcome::Refused { why },
        };
        let mut flight = Flight::begin(
            producer,
            parcel,
            settings.delivery_timeout,
            &mut self.ending,
        );
        let mut reject = Vec::new();
        let sent = match &mut self.composer {
            Some(composer) => {
                flight
                    .send_events(composer, settings, parcel, &mut reject)
                    .await
            }
            None => flight.send_batch(settings, parcel).await,
        };
        let landed = match sent {
            Ok(()) => flight.land().await,
            Err(failed) => {
                drop(flight);
                Err(failed)
            }
        };
        match landed {
            Ok(producer) => {
                self.keep(producer);
                match reject.first() {
                    None => Outcome::Delivered,
                    Some((_, why)) => Outcome::Partial {
                        retry: Vec::new(),
                        why: why.clone(),
                        reject,
                        after: None,
                    },
                }
            }
            Err(failed) => self.failed(*failed, reject, parcel),
        }
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink")
            .field("brokers", &self.maker.settings.brokers)
            .field("connected", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}
