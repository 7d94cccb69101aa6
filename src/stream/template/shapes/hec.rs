//! Splunk HTTP Event Collector, event endpoint:
//!
//! ```text
//! {"time":1735787045.670,"host","source","sourcetype":"_json","index","event":<the event>,"fields":{…}}
//! ```
//!
//! `time` is the event's (label, else `eventTime`, else receive time) in seconds. `host` is the label, else the peer's
//! address. `source` is configured, else the label application, else the file or topic. `fields` holds the labels
//! subsystem, level, env, sender and tags; Splunk indexes them. What is unknown is left out.

use std::io::Write as _;

use crate::stream::template::event_at::EventAt;
use crate::stream::template::settings::ShapeOptions;
use crate::stream::template::time;

use super::object::Object;

/// The shape with its settings.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Hec {
    index: Option<String>,
    source: Option<String>,
    sourcetype: String,
}

impl Hec {
    pub(in crate::stream::template) fn new(options: &ShapeOptions) -> Self {
        let sourcetype = options.sourcetype.clone();
        Self {
            index: options.index.clone(),
            source: options.source.clone(),
            sourcetype: sourcetype.unwrap_or_else(|| "_json".to_owned()),
        }
    }

    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let labels = event.labels;
        let mut record = Object::begin(out);
        // Splunk knows no time before 1970.
        let millis = time::millis(event.time()).max(0);
        let (seconds, fraction) = (millis / 1000, millis % 1000);
        write!(record.member("time"), "{seconds}.{fraction:03}").expect("a vector takes all");
        record.text_if("host", event.host().as_deref());
        let source = self.source.as_deref().or(labels.application.as_deref());
        record.text_if("source", source.or_else(|| event.peer_place()));
        record.text("sourcetype", &self.sourcetype);
        record.text_if("index", self.index.as_deref());
        record.raw("event", event.line);
        let known = [
            ("subsystem", &labels.subsystem),
            ("level", &labels.level),
            ("env", &labels.env),
            ("sender", &labels.sender),
        ];
        let has_tags = event.has_tags();
        if has_tags || known.iter().any(|(_, label)| label.is_some()) {
            let mut fields = Object::begin(record.member("fields"));
            for (name, label) in known {
                fields.text_if(name, label.as_deref());
            }
            if has_tags {
                event.push_tags(fields.member("tags"));
            }
            fields.end();
        }
        record.end();
    }
}
