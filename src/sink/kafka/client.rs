//! The librdkafka client: its properties, what it reports, and its end.
//!
//! Passwords and certificates are read when a client is made, a token whenever librdkafka asks
//! for one. Nothing librdkafka says about itself is logged above debug: what counts for an
//! operator comes as an outcome.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};

use super::settings::{KafkaSettings, Message, Password, Sasl};
use super::words::{Side, judge};
use crate::sink::{Failure, WallClock};

/// A producer whose reports are counted.
pub(super) type Producer = BaseProducer<Reports>;

/// Who makes a client, and how.
pub(super) struct Maker {
    pub(super) settings: KafkaSettings,
    /// Name of the stream: the client's name at the brokers is `weir-STREAM`.
    pub(super) stream: Arc<str>,
    pub(super) clock: WallClock,
}

impl Maker {
    /// Makes a client; it connects by itself once there is something to send. With `one_by_one`
    /// it sends each message in a batch of its own.
    ///
    /// # Errors
    /// When a file cannot be read, or librdkafka refuses the properties.
    pub(super) fn make(&self, one_by_one: bool) -> Result<Producer, Failure> {
        let mut config = self.config()?;
        if one_by_one {
            config.set("batch.num.messages", "1");
        }
        let token_file = match &self.settings.sasl {
            Some(Sasl::TokenFile(file)) => Some(file.clone()),
            Some(Sasl::Password { .. }) | None => None,
        };
        let reports = Reports {
            tally: Mutex::default(),
            token_file,
            stream: Arc::clone(&self.stream),
            clock: Arc::clone(&self.clock),
        };
        config
            .create_with_context(reports)
            .map_err(|error| unmade(words_of(&error)))
    }

    fn config(&self) -> Result<ClientConfig, Failure> {
        let settings = &self.settings;
        let mut config = ClientConfig::new();
        config.set("client.id", format!("weir-{}", self.stream));
        for (name, value) in DEFAULTS {
            config.set(name, value);
        }
        if let Message::Batch(_) = settings.message {
            // It is one message: nothing comes to fill a batch with.
            config.set("linger.ms", "0");
        }
        for (name, value) in &settings.properties {
            config.set(name, value);
        }
        for (name, value) in FIXED {
            config.set(name, value);
        }
        config.set("bootstrap.servers", settings.brokers.join(","));
        let message_bytes_max = settings.message_bytes_max + MESSAGE_BYTES_BESIDE;
        config.set("message.max.bytes", message_bytes_max.to_string());
        config.set(
            "compression.codec",
            match &settings.message {
                Message::Event(event) => event.codec.name(),
                Message::Batch(_) => "none",
            },
        );
        self.set_security(&mut config)?;
        Ok(config)
    }

    fn set_security(&self, config: &mut ClientConfig) -> Result<(), Failure> {
        let KafkaSettings { tls, sasl, .. } = &self.settings;
        config.set(
            "security.protocol",
            match (tls, sasl) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some(tls) = tls {
            config.set("enable.ssl.certificate.verification", "true");
            config.set("ssl.endpoint.identification.algorithm", "https");
            if let Some(file) = &tls.ca_file {
                config.set("ssl.ca.location", text_of(file)?);
            }
            if let Some((certificate, key)) = &tls.client {
                config.set("ssl.certificate.location", text_of(certificate)?);
                config.set("ssl.key.location", text_of(key)?);
            }
        }
        match sasl {
            None => {}
            Some(Sasl::TokenFile(_)) => {
                config.set("sasl.mechanisms", "OAUTHBEARER");
            }
            Some(Sasl::Password {
                mechanism,
                username,
                password,
            }) => {
                config.set("sasl.mechanisms", mechanism.name());
                config.set("sasl.username", username);
                let password = match password {
                    Password::Given(password) => password.clone(),
                    Password::File(file) => first_line(file).map_err(unmade)?,
                };
                config.set("sasl.password", password);
            }
        }
        Ok(())
    }
}

/// What an operator's own properties may change.
const DEFAULTS: [(&str, &str); 7] = [
    // Time for a batch to fill; a parcel's last messages wait for it.
    ("linger.ms", "5"),
    // A client holds at most this of a parcel beside the parcel itself, in KiB.
    ("queue.buffering.max.kbytes", "32768"),
    ("queue.buffering.max.messages", "100000"),
    // The last bytes of a request do not wait for the answer to those before.
    ("socket.nagle.disable", "true"),
    // How long a missing topic may be one that is just being made.
    ("topic.metadata.propagation.max.ms", "5000"),
    ("reconnect.backoff.max.ms", "2000"),
    // A broker may ask clients for their metrics; ours are on our own page.
    ("enable.metrics.push", "false"),
];

/// What nobody may change: the promises rest on them.
const FIXED: [(&str, &str); 5] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // A message that fails for good ends the client, so that none behind it is taken before it.
    ("enable.gapless.guarantee", "true"),
    // A message never fails by its age; the delivery as a whole has a limit.
    ("message.timeout.ms", "0"),
    ("delivery.report.only.error", "false"),
];

/// What librdkafka counts to a message besides body, key and headers: lengths, sequence numbers,
/// and the head of a batch.
const MESSAGE_BYTES_BESIDE: usize = 512;

/// As [`super::settings::check_property`].
pub(super) fn check_property(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(error) => Err(words_of(&error)),
    }
}

/// Takes and counts what a client reports. The callbacks run in the thread that polls.
pub(super) struct Reports {
    tally: Mutex<Tally>,
    token_file: Option<PathBuf>,
    stream: Arc<str>,
    clock: WallClock,
}

impl Reports {
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was reported of the messages of one parcel.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By the message's number: the brokers have it.
    pub(super) taken: Vec<bool>,
    /// How many of `taken` are true.
    pub(super) taken_count: usize,
    /// Messages that failed, and why; in the order of the reports.
    pub(super) failed: Vec<(usize, RDKafkaErrorCode)>,
    /// The most telling error of the client since a message was taken.
    pub(super) trouble: Option<Trouble>,
    /// The client will never send again.
    pub(super) fatal: bool,
    /// The brokers have taken a message from this client, at any time.
    pub(super) proven: bool,
}

impl Tally {
    /// For a parcel of so many messages.
    pub(super) fn begin(&mut self, messages: usize) {
        self.taken.clear();
        self.taken.resize(messages, false);
        self.taken_count = 0;
        self.failed.clear();
        self.trouble = None;
    }

    /// A refusal says more than a passing trouble, and any trouble more than that all brokers
    /// are down, which follows from each.
    fn note(&mut self, code: RDKafkaErrorCode, text: &str) {
        if code == RDKafkaErrorCode::Fatal {
            self.fatal = true;
            return;
        }
        let rank = |code| match (code, judge(code).1) {
            (_, Side::Refusal) => 2,
            (RDKafkaErrorCode::AllBrokersDown, _) => 0,
            _ => 1,
        };
        let all_down = code == RDKafkaErrorCode::AllBrokersDown;
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            code,
            text: text.to_owned(),
            since: Instant::now(),
            all_down,
        });
        trouble.all_down |= all_down;
        if rank(code) >= rank(trouble.code) {
            trouble.code = code;
            text.clone_into(&mut trouble.text);
        }
    }
}

/// An error of the client that is none of a message, such as a refused connection.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) code: RDKafkaErrorCode,
    pub(super) text: String,
    /// When the first came.
    pub(super) since: Instant,
    /// No broker could be reached since.
    pub(super) all_down: bool,
}

impl ClientContext for Reports {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(stream = %self.stream, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.tally().note(code, reason);
        }
    }

    fn generate_oauth_token(
        &self,
        _config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let file = self.token_file.as_ref().ok_or("no token file is set")?;
        let token = first_line(file)?;
        let now_ms = (self.clock)().0 / 1000;
        Ok(OAuthToken {
            token,
            // Not sent; librdkafka wants one for its log.
            principal_name: "weir".to_owned(),
            lifetime_ms: now_ms + TOKEN_READ_AGAIN_MS,
        })
    }
}

/// A token counts as old after this long, whatever it says itself: the file is read again, by
/// librdkafka's rule at four fifths of it.
const TOKEN_READ_AGAIN_MS: i64 = 60_000;

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, message: usize) {
        let mut tally = self.tally();
        match result {
            Ok(_) => {
                if let Some(taken) = tally.taken.get_mut(message) {
                    *taken = true;
                }
                tally.taken_count += 1;
                tally.proven = true;
            }
            Err((error, _)) => {
                let code = error.rdkafka_error_code();
                let code = code.unwrap_or(RDKafkaErrorCode::Unknown);
                tally.failed.push((message, code));
            }
        }
    }
}

/// Ends a client without keeping the caller: what it holds is purged, its threads are awaited
/// in a thread of their own.
pub(super) fn end(producer: Producer) -> Option<JoinHandle<()>> {
    let ending = std::thread::Builder::new().name("weir-kafka-end".to_owned());
    // If no thread is to be had, the closure is dropped here, and the client with it.
    ending.spawn(move || drop(producer)).ok()
}

fn unmade(detail: String) -> Failure {
    Failure {
        reason: "kafka_configuration",
        detail,
    }
}

/// librdkafka's words. Values of properties are in them only where an operator wrote the value
/// under `properties`.
fn words_of(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, words, _, _) => words.clone(),
        KafkaError::ClientCreation(words) => words.clone(),
        other => other.to_string(),
    }
}

fn first_line(file: &Path) -> Result<String, String> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))?;
    match text.lines().next().map(str::trim_end) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{} has nothing on its first line", file.display())),
    }
}

fn text_of(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| unmade(format!("{} is not UTF-8", path.display())))
}
