//! Settings of a syslog destination; built by `config`, never changed after.

use std::time::Duration;

use crate::filter::tree::Path;
use crate::sink::settings::TlsSettings;

/// Settings of a syslog destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSettings {
    /// Host name or address of the receiver, without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// TLS options; `None`: plain TCP.
    pub tls: Option<TlsSettings>,
    /// How one message is told from the next.
    pub framing: Framing,
    /// What stands before the body.
    pub header: HeaderSettings,
    /// Bytes of a message, header included, above which its record is rejected; `None`: no limit.
    pub message_bytes_max: Option<u64>,
    /// Time to connect, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// Time to write a batch. Default 60 s.
    pub send_timeout: Duration,
    /// Time from the last byte written until the peer's kernel has all of them. Default 10 s.
    pub ack_timeout: Duration,
}

/// How one message is told from the next on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Its length and a space before it (RFC 6587, section 3.4.1; RFC 5425, section 4.3).
    OctetCounting,
    /// A line feed behind it (RFC 6587, section 3.4.2); line feeds in it become spaces.
    Newline,
}

/// Where the parts of a message's header come from (RFC 5424, section 6.2).
///
/// Of each part, the first that gives something: the field of the event, the fixed value, the label.
/// What gives nothing is `-`; facility and severity have defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderSettings {
    /// Field that names the facility.
    pub facility_field: Option<Path>,
    /// Numerical code of the facility, 0 to 23.
    pub facility: u8,
    /// Field that names the severity.
    pub severity_field: Option<Path>,
    /// Numerical code of the severity, 0 to 7; `None`: that of the label `level`, else informational.
    pub severity: Option<u8>,
    /// HOSTNAME; the label is `host`.
    pub hostname: TextSource,
    /// APP-NAME; the label is `application`.
    pub app_name: TextSource,
    /// PROCID; there is no label.
    pub process_id: TextSource,
    /// MSGID; there is no label.
    pub message_id: TextSource,
    /// Private enterprise number (RFC 5424, section 7.2.2) under which a structured data element tells
    /// the batch's identity and the event's position; `None`: there is no such element.
    pub identity: Option<u32>,
}

/// Where a text of the header comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextSource {
    /// Field of the event.
    pub field: Option<Path>,
    /// The same for all events.
    pub text: Option<String>,
}
