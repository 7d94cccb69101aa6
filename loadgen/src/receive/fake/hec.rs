//! Splunk's HTTP Event Collector: its event endpoint, acknowledgement and health.
//!
//! Codes and texts are those of Splunk's page "Troubleshoot HTTP Event Collector". The events before
//! an invalid one are taken. An acknowledgement that was true once is forgotten.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Answer, is_poison, member};
use crate::http1::RequestHead;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::receive) struct Hec {
    token: Option<String>,
    /// Questions answered with no; `None`: the token has no acknowledgement.
    ack_after: Option<u32>,
    channels: Mutex<HashMap<String, Channel>>,
}

#[derive(Debug, Default)]
struct Channel {
    next: u64,
    /// How often each number was asked for.
    pending: HashMap<u64, u32>,
}

impl Hec {
    pub(super) fn new(token: Option<String>, ack_after: Option<u32>) -> Self {
        Self {
            token,
            ack_after,
            channels: Mutex::default(),
        }
    }

    /// Health and acknowledgement.
    pub(super) fn question(&self, head: &RequestHead, body: &str) -> Option<Answer> {
        let path = path(head);
        if path.starts_with("/services/collector/health") {
            return Some(said(200, "HEC is healthy", 17));
        }
        if path != "/services/collector/ack" {
            return None;
        }
        Some(
            self.acknowledge(head, body)
                .unwrap_or_else(|refused| refused),
        )
    }

    fn acknowledge(&self, head: &RequestHead, body: &str) -> Result<Answer, Answer> {
        self.check_token(head)?;
        let after = self
            .ack_after
            .ok_or_else(|| said(400, "ACK is disabled", 14))?;
        let channel = channel(head)?;
        let asked: Value =
            serde_json::from_str(body).map_err(|_| said(400, "Invalid data format", 6))?;
        let asked = asked["acks"].as_array().into_iter().flatten();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = &mut channels.entry(channel).or_default().pending;
        let mut acks = serde_json::Map::new();
        for id in asked.filter_map(Value::as_u64) {
            let times = pending.get_mut(&id).map(|times| {
                *times += 1;
                *times
            });
            let indexed = times.is_some_and(|times| times > after);
            if indexed {
                pending.remove(&id);
            }
            acks.insert(id.to_string(), indexed.into());
        }
        Ok(Answer::of(200, json!({ "acks": acks }).to_string()))
    }

    /// Takes events up to the first that is invalid.
    pub(super) fn events(&self, head: &RequestHead, body: &str) -> Answer {
        if !matches!(
            path(head),
            "/services/collector" | "/services/collector/event" | "/services/collector/event/1.0"
        ) {
            let text = "The requested URL was not found on this server.";
            return said(404, text, 404);
        }
        self.take(head, body).unwrap_or_else(|refused| refused)
    }

    fn take(&self, head: &RequestHead, body: &str) -> Result<Answer, Answer> {
        self.check_token(head)?;
        let channel = self.ack_after.map(|_| channel(head)).transpose()?;
        let mut taken = Vec::new();
        let mut records = serde_json::Deserializer::from_str(body).into_iter::<Value>();
        let mut start = 0;
        for number in 0.. {
            let Some(record) = records.next() else {
                break;
            };
            let end = records.byte_offset();
            let refusal = match &record {
                Ok(Value::Object(record)) => match record.get("event") {
                    None => Some(("Event field is required", 12)),
                    Some(Value::Null) => Some(("Event field cannot be blank", 13)),
                    Some(Value::String(text)) if text.is_empty() => {
                        Some(("Event field cannot be blank", 13))
                    }
                    Some(event) if is_poison(event) => Some(("Invalid data format", 6)),
                    Some(_) => None,
                },
                _ => Some(("Invalid data format", 6)),
            };
            if let Some((text, code)) = refusal {
                let body = json!({ "text": text, "code": code, "invalid-event-number": number });
                let mut answer = Answer::of(400, body.to_string());
                answer.taken = taken;
                return Err(answer);
            }
            let event = member(&body[start..end], "event").unwrap_or_default();
            taken.extend_from_slice(event.as_bytes());
            taken.push(b'\n');
            start = end;
        }
        if taken.is_empty() {
            return Err(said(400, "No data", 5));
        }
        let mut answer = said(200, "Success", 0);
        if let Some(channel) = channel {
            let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            let channel = channels.entry(channel).or_default();
            let id = channel.next;
            channel.next += 1;
            channel.pending.insert(id, 0);
            answer.body = json!({ "text": "Success", "code": 0, "ackId": id }).to_string();
        }
        answer.taken = taken;
        Ok(answer)
    }

    fn check_token(&self, head: &RequestHead) -> Result<(), Answer> {
        let Some(value) = &head.authorization else {
            return Err(said(401, "Token is required", 2));
        };
        let Some(token) = value.strip_prefix("Splunk ") else {
            return Err(said(401, "Invalid authorization", 3));
        };
        match &self.token {
            Some(known) if known != token => Err(said(403, "Invalid token", 4)),
            _ => Ok(()),
        }
    }
}

/// The channel of a request: header or query.
fn channel(head: &RequestHead) -> Result<String, Answer> {
    let in_query = head.target.split_once('?').and_then(|(_, query)| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("channel="))
    });
    let channel = head.channel.as_deref().or(in_query);
    let channel = channel.ok_or_else(|| said(400, "Data channel is missing", 10))?;
    let is_uuid = channel.len() == 36
        && channel.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if is_uuid {
        Ok(channel.to_ascii_lowercase())
    } else {
        Err(said(400, "Invalid data channel", 11))
    }
}

fn path(head: &RequestHead) -> &str {
    head.target.split('?').next().unwrap_or_default()
}

fn said(status: u16, text: &str, code: u16) -> Answer {
    Answer::of(status, json!({ "text": text, "code": code }).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::*;

    const EVENT: &str = "POST /services/collector/event";
    const ACK: &str = "POST /services/collector/ack?channel=0aec4e4e-0000-5000-8000-00000000000b";
    const TOKEN: &str = "Authorization: Splunk tok\r\n";
    const CHANNEL: &str = "X-Splunk-Request-Channel: 0AEC4E4E-0000-5000-8000-00000000000B\r\n";

    fn code(answer: &Answer) -> (u16, i64) {
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, body["code"].as_i64().unwrap())
    }

    #[test]
    fn requests_are_answered_with_the_documented_codes() {
        let hec = Hec::new(Some("tok".into()), None);
        let good = r#"{"event":{"a":1}}"#;
        let cases = [
            (EVENT, TOKEN, good, (200, 0)),
            (EVENT, "", good, (401, 2)),
            (EVENT, "Authorization: Bearer tok\r\n", good, (401, 3)),
            (EVENT, "Authorization: Splunk other\r\n", good, (403, 4)),
            (EVENT, TOKEN, "", (400, 5)),
            (EVENT, TOKEN, "{\"event\"", (400, 6)),
            (EVENT, TOKEN, r#"{"event":{"poison":true}}"#, (400, 6)),
            (EVENT, TOKEN, r#"{"e":1}"#, (400, 12)),
            (EVENT, TOKEN, r#"{"event":""}"#, (400, 13)),
            ("POST /elsewhere", TOKEN, good, (404, 404)),
        ];
        for (request, headers, body, expected) in cases {
            let answer = hec.events(&head(request, headers), body);
            assert_eq!(code(&answer), expected, "{request} {body}");
        }
        let health = hec.question(&head("GET /services/collector/health", ""), "");
        assert_eq!(code(&health.unwrap()), (200, 17));
        let ack = hec.question(&head(ACK, TOKEN), "{\"acks\":[0]}").unwrap();
        assert_eq!(code(&ack), (400, 14));
    }

    #[test]
    fn events_before_an_invalid_one_are_taken_as_they_were_written() {
        let hec = Hec::new(None, None);
        let body =
            "{\"event\":{\"b\":1, \"a\":2}}\n{\"time\":1,\"event\":\"two\"}\n{}\n{\"event\":3}";
        let answer = hec.events(&head(EVENT, TOKEN), body);
        assert_eq!(answer.taken, b"{\"b\":1, \"a\":2}\n\"two\"\n");
        assert!(
            answer.body.contains("\"invalid-event-number\":2"),
            "{}",
            answer.body
        );
    }

    #[test]
    fn acknowledgement_needs_a_channel_comes_after_the_questions_asked_for_and_is_forgotten() {
        let hec = Hec::new(None, Some(1));
        let good = r#"{"event":{"a":1}}"#;
        assert_eq!(code(&hec.events(&head(EVENT, TOKEN), good)), (400, 10));
        let odd = format!("{TOKEN}X-Splunk-Request-Channel: 7\r\n");
        assert_eq!(code(&hec.events(&head(EVENT, &odd), good)), (400, 11));
        let with_channel = format!("{TOKEN}{CHANNEL}");
        let answer = hec.events(&head(EVENT, &with_channel), good);
        assert!(answer.body.contains("\"ackId\":0"), "{}", answer.body);
        let ask = || {
            hec.question(&head(ACK, TOKEN), "{\"acks\":[0,9]}")
                .unwrap()
                .body
        };
        assert_eq!(ask(), r#"{"acks":{"0":false,"9":false}}"#);
        assert_eq!(ask(), r#"{"acks":{"0":true,"9":false}}"#);
        assert_eq!(ask(), r#"{"acks":{"0":false,"9":false}}"#);
    }
}
