//! `[stream.NAME.kafka]`.

use std::time::Duration;

use super::kafka_properties;
use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::{Given, shown};
use crate::config::streams::StreamReader;
use crate::filter::path;
use crate::filter::tree::Path;
use crate::sink::settings::{
    EventMessage, KAFKA_IS_BUILT, KafkaCodec, KafkaSettings, KafkaTls, Message, Oversize, Password,
    PasswordMechanism, Sasl, Topic,
};
use crate::stream::settings::BatchLimits;

/// Batches that are one message each, unless said otherwise: a broker takes 1 MB, and events take an
/// eighth of their size or less in gzip.
pub(in crate::config) const BATCH: BatchLimits = BatchLimits {
    bytes_max: 4 << 20,
    age_max: Duration::from_secs(1),
    records_max: None,
};

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_kafka(&self, stream: &Section<'_, '_>) -> Option<KafkaSettings> {
        let section = stream.section("kafka", &keys::kafka::KAFKA);
        if !KAFKA_IS_BUILT {
            let rule =
                "is not for this build, which is without Kafka; use one with the feature kafka";
            self.report.say(&section.place(), rule);
        }
        let brokers = section.brokers("brokers");
        let topic = self.read_topic(&section);
        let message = self.read_message(&section);
        let headers = self.check_kafka_headers(section.named_texts("headers"));
        let identity_headers = section.flag("identity_headers");
        let message_bytes_max = section.size_in_memory("message_bytes_max");
        let delivery_timeout = section.span("delivery_timeout");
        let tls = self.read_kafka_tls(&section);
        let sasl = self.read_sasl(&section, tls.is_some());
        let properties = section.named_texts("properties");
        let properties = kafka_properties::checked(self.report, properties);
        section.finish();
        Some(KafkaSettings {
            brokers: brokers?.value,
            topic: topic?,
            message: message?,
            headers,
            identity_headers: identity_headers?.value,
            message_bytes_max: message_bytes_max?.value,
            delivery_timeout: delivery_timeout?.value,
            tls,
            sasl: sasl?,
            properties,
        })
    }

    fn read_topic(&self, section: &Section<'_, '_>) -> Option<Topic> {
        let topic = section.text("topic");
        let field = section.text("topic_field");
        let topics = section.texts("topics");
        if let Some(topic) = &topic {
            self.check_topic(topic, &topic.value);
        }
        for name in topics.iter().flat_map(|topics| &topics.value) {
            self.check_topic(topics.as_ref()?, name);
        }
        match (topic, field, topics) {
            (Some(topic), None, None) => Some(Topic::Fixed(topic.value)),
            (None, Some(field), Some(topics)) if !topics.value.is_empty() => Some(Topic::Field {
                path: self.path_of(&field)?,
                topics: topics.value,
            }),
            (None, Some(field), _) => {
                let rule = "needs topics, the list of those it may name; add it";
                self.report.refuse(&field, rule);
                None
            }
            (Some(topic), _, _) => {
                let rule = "and topic_field with topics exclude one another; remove one of them";
                self.report.refuse(&topic, rule);
                None
            }
            (None, None, _) => {
                if !section.has("topic") && !section.has("topic_field") {
                    self.report.missing(
                        &section.place(),
                        "has no topic; write for example topic = \"events\"",
                    );
                }
                None
            }
        }
    }

    /// The legal names are those of Kafka's own `Topic.validate`.
    fn check_topic<T>(&self, given: &Given<T>, name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let legal = (1..=249).contains(&name.len()) && name.chars().all(plain);
        if !legal || name == "." || name == ".." {
            let rule = "has a name no topic can have; write 1 to 249 of a-z A-Z 0-9 . _ -";
            self.report.refuse(given, rule);
        }
    }

    fn read_message(&self, section: &Section<'_, '_>) -> Option<Message> {
        let message = section.one_of("message");
        let compression = section.one_of("compression");
        let event = self.read_event_message(section);
        let compression = compression?;
        if message?.value == "event" {
            if compression.value == "gzip" {
                self.report.refuse(
                    &compression,
                    "is ten times slower than any other where each event is a message; write \"lz4\", \
                     or message = \"batch\"",
                );
            }
            let codec = match compression.value {
                "lz4" => KafkaCodec::Lz4,
                "zstd" => KafkaCodec::Zstd,
                "snappy" => KafkaCodec::Snappy,
                _ => KafkaCodec::None,
            };
            return Some(Message::Event(EventMessage { codec, ..event? }));
        }
        let of_events = [
            "topic_field",
            "key_field",
            "crn_field",
            "header_fields",
            "oversize",
        ];
        for name in of_events.iter().filter(|name| section.has(name)) {
            let rule = "is for single events; remove it, or message = \"batch\"";
            self.report.say(&section.section_place(name), rule);
        }
        if !matches!(compression.value, "gzip" | "none") {
            let rule = "is for single events; write \"gzip\" or \"none\" with message = \"batch\"";
            self.report.refuse(&compression, rule);
        }
        Some(Message::Batch(super::compression_of(compression.value)))
    }

    /// How events become messages, but for the codec.
    fn read_event_message(&self, section: &Section<'_, '_>) -> Option<EventMessage> {
        let key = section.text("key_field");
        let crn = section.text("crn_field");
        let fields = section.named_texts("header_fields");
        let oversize = section.one_of("oversize");
        let fields = self.check_kafka_headers(fields);
        let read = |given: Option<Given<String>>| given.and_then(|given| self.path_of(&given));
        let header_fields = fields
            .iter()
            .map(|(name, path)| self.path_of_text(section, name, path))
            .collect::<Vec<_>>();
        Some(EventMessage {
            key: read(key),
            header_fields: header_fields.into_iter().collect::<Option<_>>()?,
            crn: read(crn),
            codec: KafkaCodec::None,
            oversize: match oversize?.value {
                "truncate" => Oversize::Truncate,
                _ => Oversize::Reject,
            },
        })
    }

    fn check_kafka_headers(&self, given: Vec<(Given<String>, String)>) -> Vec<(String, String)> {
        if let Some((beyond, _)) = given.get(HEADERS_MAX) {
            let rule = format!("is one too many; {HEADERS_MAX} are the limit, remove some");
            self.report.say(&beyond.place, rule);
        }
        for (name, _) in &given {
            if OWN_HEADERS.contains(&name.value.as_str()) {
                let rule = "is a header that Weir sets itself; choose another name";
                self.report.say(&name.place, rule);
            }
        }
        given
            .into_iter()
            .take(HEADERS_MAX)
            .map(|(name, value)| (name.value, value))
            .collect()
    }

    fn path_of(&self, given: &Given<String>) -> Option<Path> {
        path::parse(&given.value)
            .map_err(|why| {
                self.report
                    .refuse(given, format!("is no path: {why}; correct it"))
            })
            .ok()
    }

    fn path_of_text(
        &self,
        section: &Section<'_, '_>,
        name: &str,
        text: &str,
    ) -> Option<(String, Path)> {
        match path::parse(text) {
            Ok(path) => Some((name.to_owned(), path)),
            Err(why) => {
                let name = shown(name);
                let rule = format!("has for \"{name}\" no path: {why}; correct it");
                self.report
                    .say(&section.section_place("header_fields"), rule);
                None
            }
        }
    }

    fn read_kafka_tls(&self, section: &Section<'_, '_>) -> Option<KafkaTls> {
        let tls = section.flag("tls");
        let ca_file = section.path("ca_file");
        let cert_file = section.path("client_cert_file");
        let key_file = section.path("client_key_file");
        let is_on = tls.is_none_or(|tls| tls.value);
        for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
            self.check_file(file);
            if !is_on {
                let rule = "is of no use with tls = false; remove one of them";
                self.report.refuse(file, rule);
            }
        }
        let client = match (cert_file, key_file) {
            (Some(certificate), Some(key)) => Some((certificate.value, key.value)),
            (Some(alone), None) if !section.has("client_key_file") => {
                let rule = "is of no use alone; add client_key_file";
                self.report.refuse(&alone, rule);
                None
            }
            (None, Some(alone)) if !section.has("client_cert_file") => {
                let rule = "is of no use alone; add client_cert_file";
                self.report.refuse(&alone, rule);
                None
            }
            _ => None,
        };
        is_on.then(|| KafkaTls {
            ca_file: ca_file.map(|file| file.value),
            client,
        })
    }

    fn read_sasl(&self, section: &Section<'_, '_>, encrypted: bool) -> Option<Option<Sasl>> {
        let sasl = section.one_of("sasl");
        let username = section.text("username");
        let password = section.secret("password");
        let password_file = section.path("password_file");
        let token_file = section.path("token_file");
        for file in [&password_file, &token_file].into_iter().flatten() {
            self.check_file(file);
        }
        let sasl = sasl?;
        let word = sasl.value;
        if !encrypted && matches!(word, "plain" | "oauthbearer") {
            let rule =
                "would show the secret to the network; write tls = true or a scram mechanism";
            self.report.refuse(&sasl, rule);
        }
        let mechanism = match word {
            "plain" => PasswordMechanism::Plain,
            "scram-sha-256" => PasswordMechanism::ScramSha256,
            "scram-sha-512" => PasswordMechanism::ScramSha512,
            _ => {
                self.refuse_keys(section, &["username", "password", "password_file"], word);
                if word == "none" {
                    self.refuse_keys(section, &["token_file"], word);
                    return Some(None);
                }
                if token_file.is_none() && !section.has("token_file") {
                    self.report.refuse(&sasl, "needs token_file; add it");
                }
                return Some(Some(Sasl::TokenFile(token_file?.value)));
            }
        };
        self.refuse_keys(section, &["token_file"], word);
        if username.is_none() && !section.has("username") {
            self.report.refuse(&sasl, "needs username; add it");
        }
        let password = match (password, password_file) {
            (Some(password), None) => Some(Password::Given(password.value)),
            (None, Some(file)) => Some(Password::File(file.value)),
            (Some(password), Some(_)) => {
                let rule = "and password_file exclude one another; remove one of them";
                self.report.refuse(&password, rule);
                None
            }
            (None, None) => {
                if !section.has("password") && !section.has("password_file") {
                    self.report
                        .refuse(&sasl, "needs password or password_file; add one");
                }
                None
            }
        };
        Some(Some(Sasl::Password {
            mechanism,
            username: username?.value,
            password: password?,
        }))
    }

    fn refuse_keys(&self, section: &Section<'_, '_>, names: &[&str], word: &str) {
        for name in names.iter().filter(|name| section.has(name)) {
            let rule = format!("is of no use with sasl = \"{word}\"; remove one of them");
            self.report.say(&section.section_place(name), rule);
        }
    }
}

/// Headers one destination may be given.
const HEADERS_MAX: usize = 64;

/// Headers the sink sets itself.
const OWN_HEADERS: [&str; 5] = [
    "weir-batch",
    "weir-event",
    "truncated",
    "content-type",
    "content-encoding",
];
