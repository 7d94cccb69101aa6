//! `[stream.NAME.syslog]`.

use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::Given;
use crate::config::streams::StreamReader;
use crate::filter::tree::Path;
use crate::sink::settings::syslog_words::{facility_of, severity_of};
use crate::sink::settings::{Framing, HeaderSettings, SyslogSettings, TextSource, TlsSettings};
use crate::stream::settings::Shape;

impl StreamReader<'_, '_> {
    pub(in crate::config) fn read_syslog(
        &self,
        stream: &Section<'_, '_>,
    ) -> Option<SyslogSettings> {
        let section = stream.section("syslog", &keys::syslog::SYSLOG);
        let address = section.text("address");
        let address = address.and_then(|address| self.host_and_port(&address));
        // What it means is read before the template is.
        section.one_of("body");
        let framing = section.one_of("framing");
        let header = self.read_header(&section);
        let message_bytes_max = section.size("message_bytes_max");
        let connect_timeout = section.span("connect_timeout");
        let send_timeout = section.span("send_timeout");
        let ack_timeout = section.span("ack_timeout");
        let tls = self.read_optional_tls(&section);
        section.finish();
        let (host, port) = address?;
        Some(SyslogSettings {
            host,
            port,
            tls: tls?,
            framing: match framing?.value {
                "newline" => Framing::Newline,
                _ => Framing::OctetCounting,
            },
            header: header?,
            message_bytes_max: Some(message_bytes_max?.value).filter(|bytes| *bytes > 0),
            connect_timeout: connect_timeout?.value,
            send_timeout: send_timeout?.value,
            ack_timeout: ack_timeout?.value,
        })
    }

    fn read_header(&self, section: &Section<'_, '_>) -> Option<HeaderSettings> {
        let facility = self.code(section, "facility", facility_of, FACILITY_RULE);
        let severity = self.code(section, "severity", severity_of, SEVERITY_RULE);
        let identity = section.flag("identity");
        let enterprise_number = section.count("enterprise_number");
        let source = |text: &str, field: &str| TextSource {
            field: self.field(section, field),
            text: section.text(text).map(|text| text.value),
        };
        Some(HeaderSettings {
            facility_field: self.field(section, "facility_field"),
            severity_field: self.field(section, "severity_field"),
            hostname: source("hostname", "hostname_field"),
            app_name: source("app_name", "app_name_field"),
            process_id: source("process_id", "process_id_field"),
            message_id: source("message_id", "message_id_field"),
            facility: facility?,
            severity,
            identity: {
                let number = u32::try_from(enterprise_number?.value)
                    .expect("the range of enterprise_number lies in u32");
                identity?.value.then_some(number)
            },
        })
    }

    /// The code of a facility or severity, if one is given.
    fn code(
        &self,
        section: &Section<'_, '_>,
        key: &str,
        of: fn(&str) -> Option<u8>,
        rule: &str,
    ) -> Option<u8> {
        let given = section.text(key)?;
        let code = of(&given.value);
        if code.is_none() {
            self.report.refuse(&given, rule);
        }
        code
    }

    /// A path of the event, if one is given: keys joined by dots.
    fn field(&self, section: &Section<'_, '_>, key: &str) -> Option<Path> {
        let given = section.text(key)?;
        if given.value.split('.').any(str::is_empty) {
            let rule = "has an empty key; write keys joined by dots, for example \"initiator.id\"";
            self.report.refuse(&given, rule);
            return None;
        }
        Some(given.value.split('.').map(Into::into).collect())
    }

    fn host_and_port(&self, given: &Given<String>) -> Option<(String, u16)> {
        let parts = given.value.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let bare = |host: &str| {
            let inner = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            match inner {
                Some(address) => address
                    .parse::<std::net::Ipv6Addr>()
                    .is_ok()
                    .then_some(address.to_owned()),
                None => {
                    (!host.is_empty() && host.chars().all(is_of_a_host)).then(|| host.to_owned())
                }
            }
        };
        match parts.and_then(|(host, port)| Some((bare(host)?, port))) {
            Some((host, port)) if port > 0 => Some((host, port)),
            _ => {
                let rule = "is not host:port; write for example \"siem.example:6514\"";
                self.report.refuse(given, rule);
                None
            }
        }
    }

    /// The TLS options when TLS is asked for. Without it they are mistakes.
    fn read_optional_tls(&self, section: &Section<'_, '_>) -> Option<Option<TlsSettings>> {
        let tls = section.flag("tls");
        let options = self.read_tls(section, None);
        let is_on = tls?.value;
        if !is_on && options != TlsSettings::default() {
            let rule = "has TLS options, but tls is false; write tls = true or remove them";
            self.report.missing(&section.place(), rule);
        }
        Some(is_on.then_some(options))
    }
}

/// The shape that the key `body` of a stream stands for, when its template names none.
pub(in crate::config) fn shape_of(stream: &Section<'_, '_>) -> Option<Shape> {
    match stream.peek("syslog", "body")? {
        "cef" => Some(Shape::Cef),
        "leef" => Some(Shape::Leef),
        _ => None,
    }
}

fn is_of_a_host(character: char) -> bool {
    character.is_ascii_alphanumeric() || ".-_".contains(character)
}

const FACILITY_RULE: &str = "is not a facility; write one of kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, \
     authpriv, ftp, ntp, audit, alert, clock, local0 to local7, or \"0\" to \"23\"";

const SEVERITY_RULE: &str = "is not a severity; write one of emergency, alert, critical, error, warning, notice, \
     informational, debug, or \"0\" to \"7\"";
