//! Audit events: what was told, in the form of IBM's Activity Tracker, one JSON line each.
//!
//! Words, codes and severities are those of [`wording`](super::wording). A failure's message
//! ends with ` -failure`. `requestData` has the window
//! (`start`, `end`, `count`) and what was summed in it. Pure: ids and times are handed in.

use jiff::Timestamp as CivilTime;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::audit::sum::{PeerCount, Sum, SummedRange};
use crate::audit::window::Span;
use crate::audit::wording::{Severity, Wording};
use crate::audit::{Fact, Outcome};
use crate::position::Timestamp;

/// Peers named in an event; all others are summed.
pub const PEERS_TOP: usize = 20;

/// Who the events are of.
#[derive(Debug, Clone)]
pub struct Author {
    /// Id of the node, a UUID.
    pub node: String,
    /// GUID of what belongs together: one run of the node.
    pub correlation: String,
}

/// The event of a span as one JSON line, ended by `\n`. `id` is a UUID drawn for it.
#[must_use]
pub fn line(author: &Author, id: &str, span: &Span) -> Vec<u8> {
    let event = Event::new(author, id, span);
    let mut line = serde_json::to_vec(&event).expect("numbers and strings are always JSON");
    line.push(b'\n');
    line
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    event_time: String,
    action: String,
    outcome: &'static str,
    severity: Severity,
    message: String,
    id: &'a str,
    correlation_id: &'a str,
    #[serde(rename = "logSourceCRN")]
    log_source_crn: String,
    save_service_copy: bool,
    data_event: bool,
    initiator: Initiator,
    target: Target<'a>,
    observer: Observer,
    reason: Reason<'a>,
    request_data: RequestData<'a>,
    response_data: Empty,
}

#[derive(Serialize)]
struct Initiator {
    id: String,
    name: &'static str,
    #[serde(rename = "typeURI")]
    type_uri: &'static str,
    host: Host,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    address: &'static str,
    address_type: &'static str,
    agent: &'static str,
}

#[derive(Serialize)]
struct Target<'a> {
    id: String,
    name: &'a str,
    #[serde(rename = "typeURI")]
    type_uri: String,
}

#[derive(Serialize)]
struct Observer {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason<'a> {
    reason_code: u16,
    reason_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_for_failure: Option<&'a str>,
}

#[derive(Serialize)]
struct Empty {}

impl<'a> Event<'a> {
    fn new(author: &'a Author, id: &'a str, span: &'a Span) -> Self {
        let sum = &span.sum;
        let wording = Wording::of(sum.key.action);
        let failed = sum.key.outcome == Outcome::Failure;
        let (reason_code, severity) = if failed {
            wording.failure
        } else {
            wording.success
        };
        let node = &author.node;
        let crn = format!("crn:v1:weir:private:weir:local:a/-:{node}");
        let name = if sum.key.target.is_empty() {
            "weir"
        } else {
            &*sum.key.target
        };
        let place = match &*sum.key.target {
            "" => String::new(),
            target => format!(" [{target}]"),
        };
        let words = sum
            .details
            .first()
            .map_or(sum.key.reason, |detail| &**detail);
        Self {
            event_time: civil(span.end)
                .strftime("%Y-%m-%dT%H:%M:%S.%2f+0000")
                .to_string(),
            action: format!("weir.{}.{}", wording.object, wording.verb),
            outcome: if failed { "failure" } else { "success" },
            severity,
            message: format!(
                "Weir: {}{place}{}",
                wording.message,
                if failed { " -failure" } else { "" }
            ),
            id,
            correlation_id: &author.correlation,
            save_service_copy: false,
            data_event: false,
            initiator: Initiator {
                id: format!("ServiceId-{node}"),
                name: "weir",
                type_uri: "service/security/account/serviceid",
                host: Host {
                    // A part of the node itself acts.
                    address: "",
                    address_type: "IPv4",
                    agent: concat!("weir/", env!("CARGO_PKG_VERSION")),
                },
            },
            target: Target {
                id: match &*sum.key.target {
                    "" => format!("{crn}::"),
                    target => format!("{crn}:{}:{target}", wording.target),
                },
                name,
                type_uri: format!("weir/{}", wording.object),
            },
            observer: Observer {
                name: "ActivityTracker",
            },
            reason: Reason {
                reason_code,
                reason_type: if failed { sum.key.reason } else { "OK" },
                reason_for_failure: failed.then_some(words),
            },
            request_data: RequestData(span),
            response_data: Empty {},
            log_source_crn: format!("{crn}::"),
        }
    }
}

/// What was summed, and in which time.
struct RequestData<'a>(&'a Span);

impl Serialize for RequestData<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Span { sum, start, end } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("notificationType", sum.key.reason)?;
        map.serialize_entry("start", &millis(*start))?;
        map.serialize_entry("end", &millis(*end))?;
        map.serialize_entry("count", &sum.count)?;
        map.serialize_entry("events", &sum.events)?;
        map.serialize_entry("bytes", &sum.bytes)?;
        if !sum.ranges.is_empty() {
            let ranges: Vec<_> = sum.ranges.iter().map(Range::of).collect();
            map.serialize_entry("ranges", &ranges)?;
            map.serialize_entry("otherRanges", &sum.ranges_omitted)?;
        }
        serialize_peers(&mut map, sum)?;
        if !sum.details.is_empty() {
            map.serialize_entry("details", &sum.details)?;
            map.serialize_entry("otherDetails", &sum.details_omitted)?;
        }
        for (name, fact) in &sum.facts {
            match fact {
                Fact::Number(number) => map.serialize_entry(name, number)?,
                Fact::Text(text) => map.serialize_entry(name, text)?,
            }
        }
        map.end()
    }
}

fn serialize_peers<M: SerializeMap>(map: &mut M, sum: &Sum) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Peer<'a> {
        address: &'a str,
        events: u64,
        bytes: u64,
    }
    #[derive(Serialize)]
    struct Others {
        events: u64,
        bytes: u64,
    }
    let (peers, PeerCount { events, bytes }) = sum.peers.top(PEERS_TOP);
    if peers.is_empty() && events == 0 {
        return Ok(());
    }
    let peers: Vec<_> = peers
        .into_iter()
        .map(|(address, count)| Peer {
            address,
            events: count.events,
            bytes: count.bytes,
        })
        .collect();
    map.serialize_entry("peers", &peers)?;
    map.serialize_entry("other", &Others { events, bytes })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    journal: String,
    first: u64,
    /// One past the last.
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_after: Option<String>,
}

impl Range {
    fn of(range: &SummedRange) -> Self {
        Self {
            journal: range.journal.to_string(),
            first: range.range.first.0,
            end: range.range.end.0,
            head_before: range.heads.map(|[before, _]| hex(&before)),
            head_after: range.heads.map(|[_, after]| hex(&after)),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
fn millis(time: Timestamp) -> String {
    civil(time).strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The time; 1970 for one that no calendar has.
fn civil(time: Timestamp) -> CivilTime {
    CivilTime::from_microsecond(time.0).unwrap_or(CivilTime::UNIX_EPOCH)
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::wording::WORDINGS;
    use crate::audit::{Action, Notice};
    use crate::position::{JournalId, Offset, OffsetRange};
    use proptest::prelude::*;
    use serde_json::Value;

    fn author() -> Author {
        Author {
            node: "0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0".to_owned(),
            correlation: "6a1c0e42-96c8-4f4a-9a3b-0c5a4f0d9b11".to_owned(),
        }
    }

    const ID: &str = "b5b2f6a0-3d3e-4a53-8c77-5a1e2f3d4c5b";

    /// 2026-01-31T08:00:00.1234 and a second.
    const START: Timestamp = Timestamp(1_769_846_400_123_400);
    const END: Timestamp = Timestamp(1_769_846_401_123_400);

    fn span(notices: &[Notice]) -> Span {
        let mut sum = Sum::of(&notices[0]);
        notices[1..].iter().for_each(|notice| sum.add(notice));
        Span {
            sum,
            start: START,
            end: END,
        }
    }

    fn check(notices: &[Notice], expected: &[&str]) {
        let line = line(&author(), ID, &span(notices));
        let text = String::from_utf8(line).expect("JSON is text");
        assert_eq!(text, format!("{}\n", expected.concat()));
    }

    fn range(first: u64, end: u64) -> OffsetRange {
        OffsetRange {
            first: Offset(first),
            end: Offset(end),
        }
    }

    /// What every golden event has in common, in front of its target.
    const COMMON: &str = concat!(
        r#""id":"b5b2f6a0-3d3e-4a53-8c77-5a1e2f3d4c5b","#,
        r#""correlationId":"6a1c0e42-96c8-4f4a-9a3b-0c5a4f0d9b11","#,
        r#""logSourceCRN":"crn:v1:weir:private:weir:local:a/-:0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0::","#,
        r#""saveServiceCopy":false,"dataEvent":false,"#,
        r#""initiator":{"id":"ServiceId-0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0","name":"weir","#,
        r#""typeURI":"service/security/account/serviceid","#,
        r#""host":{"address":"","addressType":"IPv4","agent":"weir/0.1.0"}},"#,
    );

    #[test]
    fn a_start_is_one_exact_line() {
        let notice = Notice::new(Action::NodeStart, "", "started")
            .text("version", "0.1.0")
            .number("journals", 2);
        check(
            &[notice],
            &[
                r#"{"eventTime":"2026-01-31T08:00:01.12+0000","action":"weir.node.start","#,
                r#""outcome":"success","severity":"normal","message":"Weir: start node","#,
                COMMON,
                r#""target":{"id":"crn:v1:weir:private:weir:local:a/-:0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0::","#,
                r#""name":"weir","typeURI":"weir/node"},"observer":{"name":"ActivityTracker"},"#,
                r#""reason":{"reasonCode":200,"reasonType":"OK"},"#,
                r#""requestData":{"notificationType":"started","start":"2026-01-31T08:00:00.123Z","#,
                r#""end":"2026-01-31T08:00:01.123Z","count":1,"events":0,"bytes":0,"#,
                r#""version":"0.1.0","journals":2},"responseData":{}}"#,
            ],
        );
    }

    #[test]
    fn rejects_of_a_window_are_one_exact_line_with_their_peers() {
        let reject = |lines: u64, peer: &str| {
            Notice::new(Action::LineReject, "apps", "malformed")
                .failed()
                .events(lines)
                .bytes(10 * lines)
                .peer(Some(peer.into()))
        };
        check(
            &[
                reject(1, "192.0.2.1"),
                reject(5, "192.0.2.2"),
                reject(2, "192.0.2.1"),
            ],
            &[
                r#"{"eventTime":"2026-01-31T08:00:01.12+0000","action":"weir.line.reject","#,
                r#""outcome":"failure","severity":"warning","#,
                r#""message":"Weir: reject lines [apps] -failure","#,
                COMMON,
                r#""target":{"id":"crn:v1:weir:private:weir:local:a/-:0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0:input:apps","#,
                r#""name":"apps","typeURI":"weir/line"},"observer":{"name":"ActivityTracker"},"#,
                r#""reason":{"reasonCode":400,"reasonType":"malformed","reasonForFailure":"malformed"},"#,
                r#""requestData":{"notificationType":"malformed","start":"2026-01-31T08:00:00.123Z","#,
                r#""end":"2026-01-31T08:00:01.123Z","count":3,"events":8,"bytes":80,"#,
                r#""peers":[{"address":"192.0.2.2","events":5,"bytes":50},"#,
                r#"{"address":"192.0.2.1","events":3,"bytes":30}],"other":{"events":0,"bytes":0}},"#,
                r#""responseData":{}}"#,
            ],
        );
    }

    #[test]
    fn a_discard_is_one_exact_line_with_its_ranges_and_heads() {
        let discard = |first: u64, end: u64| {
            Notice::new(Action::EventDiscard, "siem", "journal_full")
                .failed()
                .range(JournalId(1), range(first, end))
                .detail("no room for a segment")
        };
        let (ones, twos) = ("01".repeat(32), "02".repeat(32));
        check(
            &[
                discard(100, 200).heads([1; 32], [9; 32]),
                discard(200, 250).heads([9; 32], [2; 32]),
                discard(300, 310),
            ],
            &[
                r#"{"eventTime":"2026-01-31T08:00:01.12+0000","action":"weir.event.discard","#,
                r#""outcome":"failure","severity":"critical","#,
                r#""message":"Weir: discard events [siem] -failure","#,
                COMMON,
                r#""target":{"id":"crn:v1:weir:private:weir:local:a/-:0f1e2d3c-4b5a-4678-8796-a5b4c3d2e1f0:stream:siem","#,
                r#""name":"siem","typeURI":"weir/event"},"observer":{"name":"ActivityTracker"},"#,
                r#""reason":{"reasonCode":507,"reasonType":"journal_full","#,
                r#""reasonForFailure":"no room for a segment"},"#,
                r#""requestData":{"notificationType":"journal_full","start":"2026-01-31T08:00:00.123Z","#,
                r#""end":"2026-01-31T08:00:01.123Z","count":3,"events":160,"bytes":0,"#,
                r#""ranges":[{"journal":"1","first":100,"end":250,"headBefore":""#,
                &ones,
                r#"","headAfter":""#,
                &twos,
                r#""},{"journal":"1","first":300,"end":310}],"otherRanges":0,"#,
                r#""details":["no room for a segment"],"otherDetails":0},"responseData":{}}"#,
            ],
        );
    }

    /// Keys of an object, in order.
    fn keys(value: &Value) -> Vec<&str> {
        let object = value.as_object().expect("an object");
        object.keys().map(String::as_str).collect()
    }

    /// `YYYY-MM-DDTHH:mm:ss.SS+0000`.
    fn assert_event_time(text: &str) {
        let pattern = "0000-00-00T00:00:00.00+0000";
        let digits = |c: char| if c.is_ascii_digit() { '0' } else { c };
        assert_eq!(text.chars().map(digits).collect::<String>(), pattern);
    }

    /// Holds an event to the field schema: allowed words, shapes, and that nothing is missing.
    fn assert_schema(event: &Value) {
        let mut expected = vec![
            "eventTime",
            "action",
            "outcome",
            "severity",
            "message",
            "id",
            "correlationId",
            "logSourceCRN",
            "saveServiceCopy",
            "dataEvent",
            "initiator",
            "target",
            "observer",
            "reason",
            "requestData",
            "responseData",
        ];
        expected.sort_unstable();
        assert_eq!(keys(event), expected);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        assert_event_time(&text(&event["eventTime"]));
        let action = text(&event["action"]);
        let [service, object, verb] = action.split('.').collect::<Vec<_>>()[..] else {
            panic!("{action}: service, object and verb")
        };
        assert_eq!(service, "weir");
        let word = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(word(object) && word(verb), "{action}");
        let failed = match &*text(&event["outcome"]) {
            "success" => false,
            "failure" => true,
            other => panic!("{other} is no outcome"),
        };
        let message = text(&event["message"]);
        assert!(message.starts_with("Weir: "), "{message}");
        assert_eq!(message.ends_with(" -failure"), failed, "{message}");
        // The object, no verb.
        assert_eq!(text(&event["target"]["typeURI"]), format!("weir/{object}"));
        for crn in [&event["logSourceCRN"], &event["target"]["id"]] {
            let crn = text(crn);
            assert!(
                crn.starts_with("crn:v1:weir:private:weir:local:a/-:"),
                "{crn}"
            );
            assert!(crn.split(':').count() >= 10, "{crn}");
        }
        assert_eq!(event["observer"]["name"], "ActivityTracker");
        assert_eq!(event["dataEvent"], false);
        assert_eq!(event["saveServiceCopy"], false);
        assert!(event["responseData"].is_object() && event["requestData"].is_object());
        let code = event["reason"]["reasonCode"].as_u64().expect("a number");
        let severity = text(&event["severity"]);
        let allowed: &[&str] = match code {
            200 => &["normal", "warning", "critical"],
            400 | 409 | 424 | 502 | 504 | 505 => &["warning"],
            // As with the streaming service's own failure event: events may be gone.
            500 => &["warning", "critical"],
            401 | 403 | 503 | 507 => &["critical"],
            other => panic!("{other} is no code of ours"),
        };
        assert!(allowed.contains(&&*severity), "{code}: {severity}");
        assert_eq!(code == 200, !failed);
        assert_eq!(text(&event["reason"]["reasonType"]) == "OK", !failed);
        assert_eq!(event["reason"].get("reasonForFailure").is_some(), failed);
    }

    proptest! {
        #[test]
        fn every_event_is_one_line_and_keeps_to_the_schema(
            action in 0..WORDINGS.len(), failed: bool, target in "\\PC{0,20}|[\\x00-\\x20]{1,4}",
            detail in "\\PC{0,20}|[\\x00-\\x20]{1,4}", peer in "\\PC{0,20}", micros: i64,
        ) {
            let mut notice = Notice::new(WORDINGS[action].action, target, "reason")
                .detail(detail)
                .range(JournalId::INTERNAL, range(1, 3))
                .peer(Some(peer.into()));
            if failed {
                notice = notice.failed();
            }
            let span = Span::at(Sum::of(&notice), Timestamp(micros));
            let line = line(&author(), ID, &span);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(line.last(), Some(&b'\n'));
            let event: Value = serde_json::from_slice(&line).expect("a JSON line");
            if (0..4_000_000_000_000_000).contains(&micros) {
                assert_schema(&event);
            }
        }
    }

    #[test]
    fn an_event_stays_small_however_much_it_sums() {
        let mut notices = Vec::new();
        for number in 0..3_000_u64 {
            let notice = Notice::new(Action::EventDiscard, "siem", "missing")
                .range(JournalId(0), range(10 * number, 10 * number + 5))
                .heads([1; 32], [2; 32])
                .detail(format!("{number}{}", "\u{1}".repeat(5_000)))
                .peer(Some(format!("peer {number}").into()));
            notices.push(notice);
        }
        assert!(line(&author(), ID, &span(&notices)).len() < 32 * 1024);
    }
}
