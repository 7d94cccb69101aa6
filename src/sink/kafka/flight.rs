//! A delivery under way: messages given to the client, and its reports taken, until all are in or
//! it is clear that they never will be.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};

use super::client::{self, Producer, Tally, Trouble};
use super::message::{self, Composer};
use super::settings::{KafkaSettings, Topic};
use super::words::{Side, judge};
use crate::batch::{Body, Parcel};
use crate::sink::Failure;

/// A delivery under way. Dropped before it landed, it takes the client along.
pub(super) struct Flight<'a> {
    producer: Option<Producer>,
    ending: &'a mut Ending,
    timeout: Duration,
    /// Messages given to the client, less those it refused.
    sent: usize,
    /// Of those, taken by the brokers at the last look.
    taken: usize,
    /// When that was last more than before, at first the beginning.
    progress_at: Instant,
    /// Since when it is known that the delivery failed.
    failed_at: Option<Instant>,
}

/// What a flight came to that did not land.
pub(super) struct Failed {
    pub(super) why: Failure,
    pub(super) side: Side,
    pub(super) tally: Tally,
}

impl<'a> Flight<'a> {
    pub(super) fn begin(
        producer: Producer,
        parcel: &Parcel,
        timeout: Duration,
        ending: &'a mut Ending,
    ) -> Self {
        let messages = match &parcel.body {
            Body::Records(records) => records.len(),
            Body::Whole(_) | Body::Streamed(_) => 1,
        };
        producer.context().tally().begin(messages);
        Self {
            producer: Some(producer),
            ending,
            timeout,
            sent: 0,
            taken: 0,
            progress_at: Instant::now(),
            failed_at: None,
        }
    }

    fn producer(&self) -> &Producer {
        self.producer
            .as_ref()
            .expect("a flight has its client until it ends")
    }

    /// Sends every event that can be a message; the others are named in `reject`.
    pub(super) async fn send_events(
        &mut self,
        composer: &mut Composer,
        settings: &KafkaSettings,
        parcel: &Parcel,
        reject: &mut Vec<(u32, Failure)>,
    ) -> Result<(), Box<Failed>> {
        let shared = message::of_parcel(settings, parcel);
        for (index, record) in parcel.records().iter().enumerate() {
            if self.failed_at.is_some() {
                break;
            }
            let composed = match composer.compose(record, &shared, parcel.purpose) {
                Ok(composed) => composed,
                Err(why) => {
                    reject.push((number(index), why));
                    continue;
                }
            };
            let mut message =
                BaseRecord::with_opaque_to(composed.topic, index).payload(composed.body);
            message.key = composed.key.as_deref();
            message.headers = composed.headers.into_list();
            if let Some(why) = self.send(message).await? {
                reject.push((number(index), why));
            }
            if index % MESSAGES_A_TURN == MESSAGES_A_TURN - 1 {
                self.look()?;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Sends the parcel as one message.
    pub(super) async fn send_batch(
        &mut self,
        settings: &KafkaSettings,
        parcel: &Parcel,
    ) -> Result<(), Box<Failed>> {
        let Topic::Fixed(topic) = &settings.topic else {
            unreachable!("a batch has no field that names a topic");
        };
        let chunks = parcel.chunks();
        let joined;
        let body: &[u8] = match chunks {
            [one] => one,
            _ => {
                joined = chunks.concat();
                &joined
            }
        };
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, 0).payload(body);
        message.headers = message::of_batch(settings, parcel).into_list();
        match self.send(message).await? {
            None => Ok(()),
            Some(why) => Err(self.fail(why, Side::TooLarge)),
        }
    }

    /// Gives a message to the client, once it has room. Says why when the message is too large.
    async fn send(
        &mut self,
        mut message: BaseRecord<'_, [u8], [u8], usize>,
    ) -> Result<Option<Failure>, Box<Failed>> {
        loop {
            let (error, back) = match self.producer().send(message) {
                Ok(()) => {
                    self.sent += 1;
                    return Ok(None);
                }
                Err(refused) => refused,
            };
            let code = error.rdkafka_error_code();
            let code = code.unwrap_or(RDKafkaErrorCode::InvalidArgument);
            match (code, judge(code)) {
                (RDKafkaErrorCode::QueueFull, _) => {
                    message = back;
                    self.turn().await?;
                }
                (_, (reason, Side::TooLarge)) => {
                    let detail = told(&error, back.topic);
                    return Ok(Some(Failure { reason, detail }));
                }
                // The reports say why the client sends no more.
                (_, (_, Side::Consequence)) => {
                    self.give_up();
                    return Ok(None);
                }
                (_, (reason, side)) => {
                    let detail = told(&error, back.topic);
                    return Err(self.fail(Failure { reason, detail }, side));
                }
            }
        }
    }

    /// Waits until the brokers have taken every message, and gives the client back.
    pub(super) async fn land(mut self) -> Result<Producer, Box<Failed>> {
        while self.taken < self.sent || self.failed_at.is_some() {
            self.turn().await?;
        }
        Ok(self
            .producer
            .take()
            .expect("a flight has its client until it ends"))
    }

    /// Takes reports and gives way to the thread's other work; sleeps a moment when there are none.
    async fn turn(&mut self) -> Result<(), Box<Failed>> {
        if self.look()? {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Ok(())
    }

    /// Takes the reports that have come; true when messages were taken since the last look.
    fn look(&mut self) -> Result<bool, Box<Failed>> {
        let mut reported = self.reported();
        for _ in 0..REPORTS_A_LOOK {
            self.producer().poll(Duration::ZERO);
            let now = self.reported();
            if now == reported {
                break;
            }
            reported = now;
        }
        let mut tally = self.producer().context().tally();
        let moved = tally.taken_count > self.taken;
        if moved {
            tally.trouble = None;
        }
        let taken = tally.taken_count;
        let (has_failed, fatal) = (!tally.failed.is_empty(), tally.fatal);
        let stuck = self.stuck_on(&tally);
        drop(tally);
        if moved {
            self.taken = taken;
            self.progress_at = Instant::now();
        }
        if has_failed || (fatal && self.taken < self.sent) {
            self.give_up();
        }
        if let Some(failed_at) = self.failed_at {
            // What is under way may still be taken, or tell the cause.
            if self.reported() >= self.sent || failed_at.elapsed() >= SETTLE {
                return Err(self.failed());
            }
        } else if let Some((why, side)) = stuck {
            return Err(self.fail(why, side));
        }
        Ok(moved)
    }

    /// Messages of which is known what became of them.
    fn reported(&self) -> usize {
        let tally = self.producer().context().tally();
        tally.taken_count + tally.failed.len()
    }

    /// From here on nothing more is to be sent.
    fn give_up(&mut self) {
        if self.failed_at.is_none() {
            self.failed_at = Some(Instant::now());
            self.producer().purge(PurgeConfig::default().queue());
        }
    }

    /// Why there is no use in waiting longer, if so.
    fn stuck_on(&self, tally: &Tally) -> Option<(Failure, Side)> {
        let timed_out = self.progress_at.elapsed() >= self.timeout;
        if let Some(trouble) = &tally.trouble {
            let Trouble {
                code,
                text,
                since,
                all_down,
            } = trouble;
            let (reason, side) = judge(*code);
            let hopeless = side == Side::Refusal || (*all_down && !tally.proven);
            if timed_out || (hopeless && since.elapsed() >= PATIENCE) {
                let detail = text.clone();
                return Some((Failure { reason, detail }, side));
            }
        }
        timed_out.then(|| {
            let detail = format!("no message was acknowledged for {:?}", self.timeout);
            let reason = "message_timed_out";
            (Failure { reason, detail }, Side::Passing)
        })
    }

    fn fail(&self, why: Failure, side: Side) -> Box<Failed> {
        let tally = std::mem::take(&mut *self.producer().context().tally());
        Box::new(Failed { why, side, tally })
    }

    /// What the failed messages, the end of the client, or its last trouble say, in this order.
    fn failed(&self) -> Box<Failed> {
        let tally = std::mem::take(&mut *self.producer().context().tally());
        let causes = tally.failed.iter().map(|(_, code)| *code);
        let cause = causes
            .clone()
            .find(|code| judge(*code).1 != Side::Consequence);
        let fatal = self.producer().client().fatal_error();
        let (code, text) = match (cause, fatal, &tally.trouble) {
            (Some(code), _, _) => (code, code.to_string()),
            (None, Some((code, text)), _) => (code, text),
            (None, None, Some(trouble)) => (trouble.code, trouble.text.clone()),
            (None, None, None) => (RDKafkaErrorCode::Fatal, "the client ended".to_owned()),
        };
        let (reason, side) = judge(code);
        let failed = tally.failed.len();
        let detail = format!("{text}; {failed} of {} messages failed", self.sent);
        let why = Failure { reason, detail };
        Box::new(Failed { why, side, tally })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            producer.purge(PurgeConfig::default().queue().inflight());
            self.ending.add(producer);
        }
    }
}

/// Clients that are ending, each in a thread of its own.
#[derive(Default)]
pub(super) struct Ending {
    threads: Vec<JoinHandle<()>>,
}

impl Ending {
    pub(super) fn add(&mut self, producer: Producer) {
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.extend(client::end(producer));
    }
}

impl Drop for Ending {
    /// A process that ends under the feet of librdkafka's threads can crash; one that waits for
    /// ever for the resolver is no better.
    fn drop(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < END_WAIT && self.threads.iter().any(|thread| !thread.is_finished())
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Messages given to the client before the stream's thread turns to something else.
const MESSAGES_A_TURN: usize = 256;

/// Reports, of a batch of messages each, that are taken at once.
const REPORTS_A_LOOK: usize = 32;

/// The pause between two looks for reports, when there were none.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// How long a refusal, or the absence of all brokers, has to last before it is believed: one of
/// several brokers may be at fault, or a password just being changed.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a delivery that failed waits for the reports of what is under way.
const SETTLE: Duration = Duration::from_secs(2);

/// How long the end of a sink waits for the ends of its clients.
const END_WAIT: Duration = Duration::from_secs(2);

/// What librdkafka said of a message.
fn told(error: &KafkaError, topic: &str) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("{code}, topic {topic}"),
        None => error.to_string(),
    }
}

/// The number of a record, as outcomes name it.
pub(super) fn number(message: usize) -> u32 {
    u32::try_from(message).expect("a parcel has fewer records than a segment events")
}
