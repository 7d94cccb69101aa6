//! CADF 1.0 (DMTF DSP0262) from Activity Tracker events.
//!
//! | CADF | from |
//! | --- | --- |
//! | `typeURI`, `eventType` | constants: all are *activity* events |
//! | `id` | `id`, else the UUID of the position |
//! | `eventTime` | label, else `eventTime`, else receive time; in UTC, written `+00:00` since CADF forbids `Z` |
//! | `action` | the last segment of `action`, mapped to CADF's taxonomy ([`cadf_action`]); the original is in `name` |
//! | `outcome` | `success`, `failure`, `pending`, also with a path behind; anything else is `unknown` |
//! | `severity` | as it is |
//! | `initiator`, `target` | as they are; an `id` or `typeURI` that is missing is `unknown` |
//! | `observer` | as it is when it has `id` and `typeURI`, else `logSourceCRN` with the observer's name |
//! | `reason` | `reasonCode` as a string under the IANA registry of HTTP codes |
//! | `tags` | its own, and `correlation_id?value=` the `correlationId` |
//! | `attachments` | its own, and `reason`, `message`, `requestData`, `responseData` as they are |
//! | `reporterchain` | its own, and Weir as a relay with the receive time |
//!
//! Nothing else of the event is in it; a stream that must lose nothing takes `raw`.

use crate::stream::template::event_at::EventAt;
use crate::stream::template::json::escape::push_string;
use crate::stream::template::json::member;
use crate::stream::template::time;

use super::audit::AuditEvent;
use super::object::{Object, push_array};

/// Appends one record.
pub(in crate::stream::template) fn render(event: &EventAt<'_>, out: &mut Vec<u8>) {
    let audit = AuditEvent::read(event.line);
    let mut record = Object::begin(out);
    record.text("typeURI", EVENT_TYPE);
    record.text("eventType", "activity");
    match audit.text("id") {
        Some(id) => record.text("id", &id),
        None => record.text("id", &event.position.uuid().to_string()),
    }
    push_time(record.member("eventTime"), event.time());
    let action = audit.text("action");
    record.text_if("name", action.as_deref());
    record.text("action", cadf_action(action.as_deref().unwrap_or_default()));
    let outcome = audit.text("outcome");
    record.text(
        "outcome",
        cadf_outcome(outcome.as_deref().unwrap_or_default()),
    );
    record.text_if("severity", audit.text("severity").as_deref());
    push_resource(record.member("initiator"), &audit, "initiator");
    push_resource(record.member("target"), &audit, "target");
    push_observer(record.member("observer"), &audit);
    if let Some(code) = audit.text("reason.reasonCode") {
        let mut reason = Object::begin(record.member("reason"));
        reason.text("reasonType", REASON_TYPE);
        reason.text("reasonCode", &code);
        reason.end();
    }
    let correlation = audit.text("correlationId");
    let own_tags = audit.value("tags");
    if own_tags.is_some_and(|tags| tags.starts_with(b"[")) || correlation.is_some() {
        push_array(record.member("tags"), own_tags, |out| {
            if let Some(id) = correlation {
                push_string(out, &format!("correlation_id?value={id}"));
            }
        });
    }
    let own = audit.value("attachments");
    push_array(record.member("attachments"), own, |out| {
        push_attachments(out, &audit)
    });
    let own = audit.value("reporterchain");
    push_array(record.member("reporterchain"), own, |out| {
        push_relay(out, event)
    });
    record.end();
}

fn push_time(out: &mut Vec<u8>, time: crate::position::Timestamp) {
    out.push(b'"');
    time::push(out, time, 3, "+00:00");
    out.push(b'"');
}

/// A resource of the event, made complete.
fn push_resource(out: &mut Vec<u8>, audit: &AuditEvent<'_>, name: &str) {
    let own = audit.value(name).unwrap_or_default();
    let mut resource = Object::begin(out);
    for key in ["id", "typeURI"] {
        if member(own, key).is_none() {
            let flat = audit.text(&format!("{name}.{key}"));
            resource.text(key, flat.as_deref().unwrap_or(UNKNOWN));
        }
    }
    if own.starts_with(b"{") {
        resource.members_of(own);
    } else {
        resource.text_if("name", audit.text(&format!("{name}.name")).as_deref());
    }
    resource.end();
}

fn push_observer(out: &mut Vec<u8>, audit: &AuditEvent<'_>) {
    let own = audit.value("observer").unwrap_or_default();
    if member(own, "id").is_some() && member(own, "typeURI").is_some() {
        out.extend_from_slice(own);
        return;
    }
    let mut observer = Object::begin(out);
    let source = audit.text("logSourceCRN");
    observer.text("id", source.as_deref().unwrap_or(UNKNOWN));
    observer.text("typeURI", "service/security");
    let name = audit.text("observer.name");
    observer.text("name", name.as_deref().unwrap_or("ActivityTracker"));
    observer.end();
}

fn push_attachments(out: &mut Vec<u8>, audit: &AuditEvent<'_>) {
    let start = out.len();
    for name in ["reason", "message", "requestData", "responseData"] {
        let Some(content) = audit.value(name) else {
            continue;
        };
        if out.len() > start {
            out.push(b',');
        }
        let mut attachment = Object::begin(out);
        attachment.text("name", name);
        let content_type = match content.first() {
            Some(b'"') => "text/plain",
            _ => "application/json",
        };
        attachment.text("contentType", content_type);
        attachment.raw("content", content);
        attachment.end();
    }
}

fn push_relay(out: &mut Vec<u8>, event: &EventAt<'_>) {
    let mut step = Object::begin(out);
    step.text("role", "relay");
    push_time(step.member("reporterTime"), event.received);
    let mut reporter = Object::begin(step.member("reporter"));
    reporter.text("id", "weir");
    reporter.text("typeURI", "service/security/audit/filter");
    reporter.text("name", "Weir");
    reporter.end();
    step.end();
}

/// The action of CADF's taxonomy for one of Activity Tracker's; an action that is one already stays.
fn cadf_action(action: &str) -> &str {
    let verb = action.rsplit('.').next().unwrap_or_default();
    let root = verb.split('/').next().unwrap_or_default();
    if ROOTS.contains(&root) {
        return verb;
    }
    let known = VERBS.iter().find(|(_, verbs)| verbs.contains(&verb));
    known.map_or(UNKNOWN, |(action, _)| action)
}

fn cadf_outcome(outcome: &str) -> &str {
    let root = outcome.split('/').next().unwrap_or_default();
    if ["success", "failure", "pending"].contains(&root) {
        outcome
    } else {
        UNKNOWN
    }
}

const EVENT_TYPE: &str = "http://schemas.dmtf.org/cloud/audit/1.0/event";
const REASON_TYPE: &str = "http://www.iana.org/assignments/http-status-codes/http-status-codes.xml";
const UNKNOWN: &str = "unknown";

/// Root words of CADF's action taxonomy (pycadf).
const ROOTS: [&str; 25] = [
    "backup",
    "capture",
    "create",
    "configure",
    "read",
    "update",
    "delete",
    "monitor",
    "start",
    "stop",
    "deploy",
    "undeploy",
    "enable",
    "disable",
    "send",
    "receive",
    "authenticate",
    "revoke",
    "renew",
    "restore",
    "evaluate",
    "allow",
    "deny",
    "notify",
    "unknown",
];

/// Verbs of Activity Tracker actions that CADF has another word for.
const VERBS: &[(&str, &[&str])] = &[
    ("read/list", &["list"]),
    (
        "read",
        &["get", "head", "inspect", "pull", "search", "export"],
    ),
    (
        "create",
        &["add", "build", "copy", "import", "init", "provision"],
    ),
    (
        "update",
        &[
            "apply", "commit", "edit", "refresh", "reimport", "rename", "reset", "rewrap",
            "rewrite", "rotate", "scale", "set", "set-off", "set-on", "write",
        ],
    ),
    ("delete", &["bulkdelete", "clear", "expire", "remove"]),
    (
        "start",
        &["power-on", "reboot", "hard-reboot", "soft-reboot", "resume"],
    ),
    ("stop", &["end", "power-off"]),
    ("enable", &["activate"]),
    ("disable", &["deactivate"]),
    ("send", &["publish", "push"]),
    ("allow", &["approve", "authorize", "reapprove"]),
    ("deny", &["reject"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_mapped_by_their_last_segment() {
        let check =
            |action: &str, expected: &str| assert_eq!(cadf_action(action), expected, "{action}");
        check("is.vpc.vpc.create", "create");
        check("logs.logs-stream-setup.list", "read/list");
        check("cloud-object-storage.object.get", "read");
        check("kms.secrets.set", "update");
        check("svc.object.edit", "update");
        check("iam.account.frobnicate", "unknown");
        check("read/list", "read/list");
        check("authenticate/login", "authenticate/login");
        check("", "unknown");
    }
}
