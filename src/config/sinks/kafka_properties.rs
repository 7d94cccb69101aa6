//! Which librdkafka properties an operator may set, and which the API will.
//!
//! The operator's file may set all but those below: the promises rest on some, some have keys of
//! their own, and some run programs or load code. The API, which more people may reach, will get
//! [`API_ALLOWED`] and nothing else.

use crate::config::reader::report::{Given, Report};
use crate::sink::settings::check_kafka_property;

/// Properties that somebody who may only use the API can set: none names a file, a host or a
/// secret, or weakens a promise.
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the API that asks this list is not built yet")
)]
pub(crate) const API_ALLOWED: [&str; 20] = [
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "linger.ms",
    "metadata.max.age.ms",
    "partitioner",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "sticky.partitioning.linger.ms",
];

/// Properties that are refused: their names, or with a last dot what their names begin with, and
/// why.
const REFUSED: [(&str, &str); 48] = [
    ("plugin.library.paths", LOADS_CODE),
    ("ssl.engine.", LOADS_CODE),
    ("ssl_engine_callback_data", LOADS_CODE),
    ("ssl.providers", LOADS_CODE),
    ("interceptors", LOADS_CODE),
    ("sasl.kerberos.", "this build is without Kerberos"),
    ("sasl.oauthbearer.", "tokens come from token_file"),
    (
        "enable.sasl.oauthbearer.unsecure.jwt",
        "tokens come from token_file",
    ),
    ("bootstrap.servers", "it has a key of its own, brokers"),
    ("metadata.broker.list", "it has a key of its own, brokers"),
    ("security.protocol", "it follows from tls and sasl"),
    ("sasl.mechanism", "it has a key of its own, sasl"),
    ("sasl.mechanisms", "it has a key of its own, sasl"),
    ("sasl.username", "it has a key of its own, username"),
    ("sasl.password", "it has a key of its own, password"),
    ("ssl.ca.location", "it has a key of its own, ca_file"),
    ("ssl.ca.pem", "it has a key of its own, ca_file"),
    ("ssl_ca", "it has a key of its own, ca_file"),
    (
        "ssl.certificate.location",
        "it has a key of its own, client_cert_file",
    ),
    (
        "ssl.certificate.pem",
        "it has a key of its own, client_cert_file",
    ),
    (
        "ssl_certificate",
        "it has a key of its own, client_cert_file",
    ),
    (
        "ssl.key.location",
        "it has a key of its own, client_key_file",
    ),
    ("ssl.key.pem", "it has a key of its own, client_key_file"),
    ("ssl_key", "it has a key of its own, client_key_file"),
    ("ssl.certificate.verify_cb", CHECKED),
    ("enable.ssl.certificate.verification", CHECKED),
    ("ssl.endpoint.identification.algorithm", CHECKED),
    ("acks", NOTHING_LOST),
    ("request.required.acks", NOTHING_LOST),
    ("enable.idempotence", NOTHING_LOST),
    ("enable.gapless.guarantee", NOTHING_LOST),
    ("transactional.id", NOTHING_LOST),
    ("delivery.report.only.error", NOTHING_LOST),
    ("queuing.strategy", NOTHING_LOST),
    (
        "message.timeout.ms",
        "the key delivery_timeout bounds each delivery",
    ),
    (
        "delivery.timeout.ms",
        "the key delivery_timeout bounds each delivery",
    ),
    (
        "message.send.max.retries",
        "messages are tried until the delivery ends",
    ),
    ("retries", "messages are tried until the delivery ends"),
    (
        "message.max.bytes",
        "it has a key of its own, message_bytes_max",
    ),
    ("compression.codec", "it has a key of its own, compression"),
    ("compression.type", "it has a key of its own, compression"),
    ("log.queue", "Weir takes librdkafka's log"),
    ("log_level", "Weir takes librdkafka's log"),
    ("log.thread.name", "Weir takes librdkafka's log"),
    ("enabled_events", "Weir asks for the reports it needs"),
    ("statistics.interval.ms", "nobody would read the statistics"),
    ("opaque", "it is not for configurations"),
    ("test.", "it is for librdkafka's own tests"),
];

const LOADS_CODE: &str = "it would load code into Weir";
const CHECKED: &str = "certificates and the names in them are always checked";
const NOTHING_LOST: &str = "that nothing is lost and order holds rests on it";

/// Properties one stream may be given.
const PROPERTIES_MAX: usize = 64;

/// The properties that hold; what is wrong with the others is reported.
pub(super) fn checked(
    report: &Report<'_>,
    given: Vec<(Given<String>, String)>,
) -> Vec<(String, String)> {
    if let Some((beyond, _)) = given.get(PROPERTIES_MAX) {
        let rule = format!("is one too many; {PROPERTIES_MAX} are the limit, remove some");
        report.say(&beyond.place, rule);
    }
    let mut properties = Vec::new();
    for (name, value) in given.into_iter().take(PROPERTIES_MAX) {
        if let Some(reason) = refusal(&name.value) {
            let rule = format!("is not yours to set: {reason}; remove it");
            report.say(&name.place, rule);
        } else if let Err(why) = check_kafka_property(&name.value, &value) {
            // Its words hold the value, which may be a secret.
            let why = why.replace(&value, "…");
            let rule = format!("is refused by librdkafka: {why}; correct it or remove it");
            report.say(&name.place, rule);
        } else {
            properties.push((name.value, value));
        }
    }
    properties
}

/// Why a property is not for operators, if so.
fn refusal(name: &str) -> Option<&'static str> {
    // librdkafka takes a topic's property with or without this word before it.
    let name = name.strip_prefix("topic.").unwrap_or(name);
    let found = REFUSED
        .iter()
        .find(|(refused, _)| match refused.strip_suffix('.') {
            Some(_) => name.starts_with(refused),
            None => name == *refused,
        });
    found.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_code_or_breaks_a_promise_is_refused() {
        let check = |name: &str, refused: bool| {
            assert_eq!(refusal(name).is_some(), refused, "{name}");
        };
        for name in [
            "plugin.library.paths",
            "sasl.kerberos.kinit.cmd",
            "ssl.engine.location",
            "ssl.engine.id",
            "ssl.providers",
            "sasl.oauthbearer.token.endpoint.url",
            "acks",
            "enable.ssl.certificate.verification",
            "test.mock.num.brokers",
        ] {
            check(name, true);
        }
        for name in [
            "linger.ms",
            "ssl.cipher.suites",
            "topic.metadata.refresh.sparse",
        ] {
            check(name, false);
        }
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn every_name_of_the_lists_is_one_librdkafka_knows() {
        let is_unknown = |name: &str| {
            let why = check_kafka_property(name, "").err();
            why.is_some_and(|why| why.contains("No such configuration property"))
        };
        assert!(is_unknown("no.such.thing"));
        let whole = REFUSED.iter().map(|(name, _)| *name);
        for name in API_ALLOWED
            .into_iter()
            .chain(whole.filter(|name| !name.ends_with('.')))
        {
            assert!(!is_unknown(name), "{name}");
        }
    }

    #[test]
    fn what_the_api_may_set_is_nothing_the_file_may_not() {
        for name in API_ALLOWED {
            assert_eq!(refusal(name), None, "{name}");
        }
    }
}
