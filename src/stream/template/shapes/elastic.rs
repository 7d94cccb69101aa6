//! Elasticsearch and OpenSearch bulk requests: two lines an event.
//!
//! ```text
//! {"create":{"_index":"…","_id":"<UUID of the position>"}}
//! {"@timestamp":"2025-01-02T03:04:05.670Z", …the event}
//! ```
//!
//! The id is the same at every re-send, so `create` answers 409 for what is there already. `@timestamp` is added where the
//! event has none: label, else `eventTime`, else receive time. The index is configured, or part of the URL.

use crate::stream::template::event_at::EventAt;
use crate::stream::template::json::member;
use crate::stream::template::settings::ShapeOptions;
use crate::stream::template::time;

use super::object::Object;

/// The shape with its settings.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct ElasticBulk {
    index: Option<String>,
}

impl ElasticBulk {
    pub(in crate::stream::template) fn new(options: &ShapeOptions) -> Self {
        Self {
            index: options.index.clone(),
        }
    }

    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let mut action = Object::begin(out);
        let mut create = Object::begin(action.member("create"));
        create.text_if("_index", self.index.as_deref());
        create.text("_id", &event.position.uuid().to_string());
        create.end();
        action.end();
        out.push(b'\n');
        if member(event.line, "@timestamp").is_some() {
            out.extend_from_slice(event.line);
            return;
        }
        let mut document = Object::begin(out);
        let timestamp = document.member("@timestamp");
        timestamp.push(b'"');
        time::push(timestamp, event.time(), 3, "Z");
        timestamp.push(b'"');
        document.members_of(event.line);
        document.end();
    }
}
