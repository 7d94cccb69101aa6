//! The record of IBM Cloud Logs streams:
//!
//! ```text
//! {"data":<the event>,
//!  "labels":{"applicationname","subsystemname","computername","threadid","ipaddress"},
//!  "metadata":{"timestamp":"2025-03-12T07:15:30.468425","severity":"Info","logid":uuid,"priorityclass":"high",
//!              "ingressTimestamp":ns}}
//! ```
//!
//! A subsystem that is no label is `serviceName:instance` of `logSourceCRN`. The severity is the event's
//! `severity`, else that of the label level, else `Info`. Labels that are unknown are empty strings, as they are there. `branchid`, a
//! number of IBM's own pipeline, is left out.
//!
//! `icl_singles` is a line of the ingestion API, whose batches are JSON arrays:
//!
//! ```text
//! {"applicationName","subsystemName","computerName","severity":3,"timestamp":ms,"text":<the event>}
//! ```
//!
//! Both names must be there: without a subsystem the application stands for it.

use crate::filter::tree::{Severity, severity_of};
use crate::stream::template::event_at::EventAt;
use crate::stream::template::settings::ShapeOptions;
use crate::stream::template::time;

use super::audit::{AuditEvent, crn_service_and_instance};
use super::object::Object;

/// The shape with its settings.
#[derive(Debug, Clone)]
pub(in crate::stream::template) struct Icl {
    application: Box<str>,
}

impl Icl {
    pub(in crate::stream::template) fn new(options: &ShapeOptions) -> Self {
        let application = options.application.as_deref();
        Self {
            application: application.unwrap_or("ibm-audit-event").into(),
        }
    }

    pub(in crate::stream::template) fn render(&self, event: &EventAt<'_>, out: &mut Vec<u8>) {
        let labels = event.labels;
        let audit = AuditEvent::read(event.line);
        let mut record = Object::begin(out);
        record.raw("data", event.line);

        let mut names = Object::begin(record.member("labels"));
        let application = labels.application.as_deref();
        names.text("applicationname", application.unwrap_or(&self.application));
        match labels.subsystem.as_deref() {
            Some(subsystem) => names.text("subsystemname", subsystem),
            None => names.text("subsystemname", &subsystem_of(&audit)),
        }
        names.text("computername", labels.host.as_deref().unwrap_or_default());
        names.text("threadid", "");
        names.text("ipaddress", &event.peer_address().unwrap_or_default());
        names.end();

        let mut metadata = Object::begin(record.member("metadata"));
        let timestamp = metadata.member("timestamp");
        timestamp.push(b'"');
        time::push(timestamp, event.labelled_time(), 6, "");
        timestamp.push(b'"');
        metadata.text("severity", word(severity(event, &audit)));
        metadata.text("logid", &event.position.uuid().to_string());
        metadata.text("priorityclass", "high");
        metadata.number("ingressTimestamp", event.received.0.saturating_mul(1000));
        metadata.end();
        record.end();
    }
}

impl Icl {
    /// A line of the ingestion API.
    pub(in crate::stream::template) fn render_single(
        &self,
        event: &EventAt<'_>,
        out: &mut Vec<u8>,
    ) {
        let labels = event.labels;
        let audit = AuditEvent::read(event.line);
        let application = labels.application.as_deref().unwrap_or(&self.application);
        let of_crn = subsystem_of(&audit);
        let subsystem = labels.subsystem.as_deref().unwrap_or(&of_crn);
        let mut record = Object::begin(out);
        record.text("applicationName", application);
        record.text(
            "subsystemName",
            if subsystem.is_empty() {
                application
            } else {
                subsystem
            },
        );
        record.text_if("computerName", event.host().as_deref());
        record.number("severity", number(severity(event, &audit)));
        record.number("timestamp", time::millis(event.time()));
        record.raw("text", event.line);
        record.end();
    }
}

fn severity(event: &EventAt<'_>, audit: &AuditEvent<'_>) -> Severity {
    let level = || event.labels.level.as_deref().and_then(severity_of);
    audit.severity().or_else(level).unwrap_or(Severity::Info)
}

/// Severities as the ingestion API counts them.
fn number(severity: Severity) -> i64 {
    match severity {
        Severity::Debug => 1,
        Severity::Verbose => 2,
        Severity::Info => 3,
        Severity::Warning => 4,
        Severity::Error => 5,
        Severity::Critical => 6,
    }
}

fn subsystem_of(audit: &AuditEvent<'_>) -> String {
    let crn = audit.text("logSourceCRN").unwrap_or_default();
    crn_service_and_instance(&crn)
        .map(|(service, instance)| format!("{service}:{instance}"))
        .unwrap_or_default()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Verbose => "Verbose",
        Severity::Debug => "Debug",
        Severity::Info => "Info",
        Severity::Warning => "Warning",
        Severity::Error => "Error",
        Severity::Critical => "Critical",
    }
}
