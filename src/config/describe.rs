//! A plan in words: what `weir check` prints.

use std::fmt::Write as _;

use super::plan::{ExclusionPlan, InputPlan, Plan, StreamPlan};
use super::units::{ByteSize, Span};
use crate::event::Labels;
use crate::ingest::settings::{InputSettings, Validation};
use crate::journal::settings::{HoldPolicy, LettersSettings, RoomLimit, WhenFull, WhenLettersFull};
use crate::position::Timestamp;
use crate::sink::settings::{
    Compression, Framing, HttpSettings, KafkaSettings, KeyLayout, Message, ReplyForm, S3KeySource,
    S3Settings, Sasl, SinkSettings, SyslogSettings, TokenSource, Topic,
};
use crate::stream::settings::{AuditChoice, StartAt};

/// A short summary of the plan for people: node, memory, journal, inputs, streams. Header
/// values and the query of URLs are left out.
#[must_use]
pub fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    describe_node(plan, &mut text).expect("writing to a String does not fail");
    for input in &plan.inputs {
        text.push_str(&input_line(input));
    }
    for rule in &plan.exclusions {
        text.push_str(&exclusion_line(rule));
    }
    for stream in &plan.streams {
        text.push_str(&stream_line(stream));
    }
    if plan.streams.is_empty() {
        text.push_str("no stream: events are kept in the journal and delivered nowhere\n");
    }
    text
}

fn describe_node(plan: &Plan, text: &mut String) -> std::fmt::Result {
    let Plan { shard, journal, .. } = plan;
    let pinned = if shard.pin { ", pinned" } else { "" };
    let writer = if shard.io_uring {
        "io_uring"
    } else {
        "a writer thread"
    };
    writeln!(
        text,
        "node: data in {}, {} {}{pinned}, {} {} (of a new data directory), writing through {writer}",
        plan.data_dir.display(),
        shard.count,
        if shard.count == 1 { "shard" } else { "shards" },
        plan.journals,
        if plan.journals == 1 {
            "journal"
        } else {
            "journals"
        },
    )?;
    let (tail, pending) = (journal.tail_bytes_max, journal.pending_bytes_max);
    let journals_bytes = tail.saturating_add(pending).saturating_mul(plan.journals);
    writeln!(
        text,
        "memory: at most {}, of which journals may take {}",
        ByteSize(plan.memory_bytes_max),
        bytes(journals_bytes)
    )?;
    let room = match plan.room.bytes_max {
        RoomLimit::Bytes(bytes) => ByteSize(bytes).to_string(),
        RoomLimit::Percent(percent) => format!("{percent}% of the file system"),
    };
    let keep = plan.room.keep.map_or("forever".to_owned(), |keep| {
        format!("{} after delivery", Span(keep))
    });
    writeln!(
        text,
        "journal: at most {room}, {} stay free, events kept {keep}, segments of {}, synced within \
         {} of the first waiting line",
        ByteSize(plan.room.free_bytes_min),
        ByteSize(journal.segment_bytes),
        Span(shard.commit_interval),
    )?;
    writeln!(text, "admin: listens on {}", plan.admin_listen)
}

fn input_line(input: &InputPlan) -> String {
    match input {
        InputPlan::Tcp(tcp) => {
            let ack = if tcp.ack { ", answers with acks" } else { "" };
            let listen = tcp.listen;
            format!(
                "input \"{}\": tcp on {listen}{ack}{}\n",
                tcp.input.name,
                judged(&tcp.input)
            )
        }
        InputPlan::Http(http) => format!(
            "input \"{}\": http on {}{}, bodies up to {}{}\n",
            http.input.name,
            http.listen,
            match http.relay.len() {
                0 => String::new(),
                1 => ", relayed events of 1 sender too".to_owned(),
                count => format!(", relayed events of {count} senders too"),
            },
            bytes(http.body_bytes_max),
            judged(&http.input)
        ),
    }
}

fn judged(input: &InputSettings) -> String {
    let mut text = format!(", lines up to {}", bytes(input.line_bytes_max));
    if input.validation == Validation::None {
        text.push_str(", not validated");
    }
    let Labels {
        application,
        subsystem,
        host,
        level,
        env,
        ..
    } = &input.labels;
    let labels = [
        ("application", application),
        ("subsystem", subsystem),
        ("host", host),
        ("level", level),
        ("env", env),
    ];
    for (name, label) in labels {
        if let Some(label) = label {
            text.push_str(&format!(", {name} \"{label}\""));
        }
    }
    text
}

fn exclusion_line(plan: &ExclusionPlan) -> String {
    let (name, rule) = (&plan.name, &plan.rule);
    let list = |name: &str, values: &[String]| {
        (!values.is_empty()).then(|| format!("{name} {}", values.join(" or ")))
    };
    let query = rule
        .query
        .as_deref()
        .filter(|query| !query.trim().is_empty());
    let parts = [
        list("host", &rule.hosts),
        list("app", &rule.apps),
        query.map(|query| format!("query {}", query.trim())),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let what = if plan.active {
        "drops"
    } else {
        "inactive, would drop"
    };
    format!("exclude \"{name}\": {what} {}\n", parts.join(", and "))
}

/// What a stream takes; nothing for everything.
fn take_words(plan: &StreamPlan) -> String {
    let mut words = String::new();
    if let Some(selection) = &plan.selection {
        words.push_str(match (&selection.deliver, selection.exclusions.len()) {
            (Some(_), 0) => "; what its rule matches",
            (Some(_), _) => "; what its rule matches and no exclusion rule drops",
            (None, _) => "; what no exclusion rule of its own drops",
        });
    }
    if let Some(sampling) = plan.stream.take.sampling {
        words.push_str(&format!("; {} % of it", sampling.percent));
    }
    if let Some(template) = &plan.stream.template {
        words.push_str(match (&template.text, template.shape.name()) {
            (Some(_), _) => "; as a text of its own",
            (None, "raw") => "; rewritten",
            (None, _) => "; as ",
        });
        if template.text.is_none() && template.shape.name() != "raw" {
            words.push_str(template.shape.name());
        }
    }
    words
}

fn stream_line(plan: &StreamPlan) -> String {
    let StreamPlan {
        stream,
        sink,
        hold,
        letters,
        ..
    } = plan;
    let destination = match sink {
        SinkSettings::Http(http) => http_words(http),
        SinkSettings::Kafka(kafka) => kafka_words(kafka),
        SinkSettings::File(file) => format!(
            "file {}{}, a new one at {} or {}",
            file.path.display(),
            compression_words(file.compression),
            ByteSize(file.rotate_bytes),
            Span(file.rotate_age)
        ),
        SinkSettings::Relay(relay) => format!("another Weir at {}", http_words(&relay.http)),
        SinkSettings::Syslog(syslog) => syslog_words(syslog),
        SinkSettings::S3(s3) => s3_words(s3),
    };
    let batch = &stream.batch;
    let records = batch
        .records_max
        .map_or(String::new(), |records| format!(" or {records} events"));
    let (size, age) = (ByteSize(batch.bytes_max), Span(batch.age_max));
    let from = match stream.from {
        StartAt::End => "the end".to_owned(),
        StartAt::Start => "the oldest event".to_owned(),
        StartAt::Time(Timestamp(micros)) => jiff::Timestamp::from_microsecond(micros)
            .map_or("a time".to_owned(), |time| time.to_string()),
    };
    let audit = match stream.audit {
        AuditChoice::None => "",
        AuditChoice::With => "; audit events too",
        AuditChoice::Only => "; audit events only",
    };
    format!(
        "stream \"{}\": to {destination}; batches of {size} or {age}{records}; starts at {from}{}{audit}{}{}\n",
        stream.name,
        take_words(plan),
        hold_words(hold),
        letters_words(*letters)
    )
}

/// How many dead letters the stream keeps; nothing for the defaults.
fn letters_words(letters: LettersSettings) -> String {
    let (default, bytes_max) = (LettersSettings::default(), ByteSize(letters.bytes_max));
    let mut words = String::new();
    if letters.bytes_max != default.bytes_max {
        words.push_str(&format!("; keeps {bytes_max} of dead letters"));
    }
    if letters.when_full == WhenLettersFull::Evict {
        words.push_str("; removes its oldest dead letters when they are full");
    }
    words
}

/// What the stream may lose; nothing for the defaults.
fn hold_words(hold: &HoldPolicy) -> String {
    let mut words = String::new();
    if hold.when_full == WhenFull::DiscardOldest {
        words.push_str("; discards its oldest events when the journals are full");
    }
    if *hold != HoldPolicy::default() {
        let hold_max = hold.hold_max.map_or("for ever".to_owned(), |hold_max| {
            format!("for {} at most", Span(hold_max))
        });
        words.push_str(&format!(
            "; holds events {hold_max} while its destination fails"
        ));
    }
    if let Some(backlog) = hold.backlog_bytes_max {
        words.push_str(&format!(", and {} of segments", ByteSize(backlog)));
    }
    words
}

fn http_words(http: &HttpSettings) -> String {
    let urls = http.urls.iter().map(|url| {
        let scheme = url.scheme_str().unwrap_or_default();
        let authority = url.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{}", url.path())
    });
    let urls = urls.collect::<Vec<_>>().join(" or ");
    let token = match &http.token {
        None => String::new(),
        Some(token) => match &token.source {
            TokenSource::Text(_) => ", a token".to_owned(),
            TokenSource::File(path) => format!(", the token in {}", path.display()),
        },
    };
    let proxy = http.proxy.as_ref().map_or(String::new(), |proxy| {
        format!(", through the proxy {}:{}", proxy.host, proxy.port)
    });
    let acknowledged = match http.replies {
        ReplyForm::SplunkHec {
            acknowledgement: Some(_),
        } => ", acknowledged by an indexer",
        _ => "",
    };
    let headers = match http.headers.len() {
        0 => String::new(),
        1 => ", 1 header".to_owned(),
        count => format!(", {count} headers"),
    };
    format!(
        "{urls}{}{headers}{token}{proxy}{acknowledged}",
        compression_words(http.compression)
    )
}

fn syslog_words(syslog: &SyslogSettings) -> String {
    let over = if syslog.tls.is_some() { "TLS" } else { "TCP" };
    let framing = match syslog.framing {
        Framing::OctetCounting => "",
        Framing::Newline => ", a line each",
    };
    let (host, port) = (&syslog.host, syslog.port);
    format!("syslog over {over} at {host} port {port}{framing}")
}

fn s3_words(s3: &S3Settings) -> String {
    let layout = match s3.key_layout {
        KeyLayout::Flat => "flat",
        KeyLayout::Dated => "dated",
    };
    let keys = match &s3.keys {
        S3KeySource::Given { access_key, .. } => format!("with the key {access_key}"),
        S3KeySource::Environment => "with keys of the environment".to_owned(),
        S3KeySource::File(path) => format!("with keys of {}", path.display()),
    };
    let host = s3
        .host
        .authority()
        .map_or("", |authority| authority.as_str());
    format!(
        "bucket {} at {host}, {layout} keys behind \"{}\", {}, {keys}",
        s3.bucket, s3.prefix, s3.content_type
    )
}

fn kafka_words(kafka: &KafkaSettings) -> String {
    let topic = match &kafka.topic {
        Topic::Fixed(topic) => format!("topic {topic}"),
        Topic::Field { topics, .. } => format!("one of {} topics", topics.len()),
    };
    let message = match &kafka.message {
        Message::Event(event) => match event.codec.name() {
            "none" => "one event a message".to_owned(),
            codec => format!("one event a message, {codec}"),
        },
        Message::Batch(compression) => {
            format!("one batch a message{}", compression_words(*compression))
        }
    };
    let tls = if kafka.tls.is_some() { ", TLS" } else { "" };
    let sasl = match &kafka.sasl {
        None => String::new(),
        Some(Sasl::TokenFile(_)) => ", OAUTHBEARER".to_owned(),
        Some(Sasl::Password {
            mechanism,
            username,
            ..
        }) => format!(", {} as {username}", mechanism.name()),
    };
    let brokers = kafka.brokers.join(",");
    format!("kafka {topic} at {brokers}, {message}{tls}{sasl}")
}

fn compression_words(compression: Compression) -> &'static str {
    match compression {
        Compression::Identity => "",
        Compression::Gzip => ", gzip",
    }
}

fn bytes(count: usize) -> ByteSize {
    ByteSize(u64::try_from(count).expect("usize is at most 64 bits"))
}
