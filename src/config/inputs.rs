//! From `[input.NAME.KIND]` tables to the settings of the inputs.

use std::net::SocketAddr;

use toml::de::DeTable;

use super::keys;
use super::plan::InputPlan;
use super::reader::report::{Given, Place, Report};
use super::reader::{NamedTable, Section, find_table, named_tables};
use super::sinks::relay::read_tokens;
use crate::event::{InputId, Labels};
use crate::ingest::settings::{HttpSettings, InputSettings, TcpSettings, Validation};

/// The inputs of a file. What is wrong with one is reported, and it is left out.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) plans: Vec<InputPlan>,
    pub(super) listens: Vec<Given<SocketAddr>>,
}

impl Inputs {
    /// `admin` is the admin listener, the first of the listeners.
    pub(super) fn read<'i>(
        report: &Report<'i>,
        root: &DeTable<'i>,
        admin: Option<Given<SocketAddr>>,
    ) -> Self {
        let mut inputs = Self {
            plans: Vec::new(),
            listens: Vec::from_iter(admin),
        };
        let named = named_tables(report, root, "input");
        if named.is_empty() {
            report.missing(
                &Place {
                    line: None,
                    subject: String::new(),
                    key: String::new(),
                },
                "no input is configured, so nothing can come in; add for example \
                 [input.apps.tcp] with listen = \"127.0.0.1:9000\"",
            );
        }
        for (index, named) in named.iter().enumerate() {
            // More inputs than numbers are reported by the reader of their names.
            let id = InputId(u16::try_from(index).unwrap_or(u16::MAX));
            inputs.read_one(report, named, id);
        }
        inputs
    }

    /// Whether any of them takes relayed events.
    pub(super) fn take_relayed(&self) -> bool {
        self.plans.iter().any(|input| match input {
            InputPlan::Tcp(_) => false,
            InputPlan::Http(http) => !http.relay.is_empty(),
        })
    }

    fn read_one<'i>(&mut self, report: &Report<'i>, named: &NamedTable<'_, 'i>, id: InputId) {
        let NamedTable { name, table, place } = named;
        let kinds: Vec<_> = KINDS
            .iter()
            .filter(|kind| table.contains_key(**kind))
            .collect();
        match kinds.len() {
            0 => report.missing(
                place,
                format!("has no kind; write [input.{name}.tcp] or [input.{name}.http]"),
            ),
            1 => {}
            _ => report.say(
                place,
                "has two kinds, tcp and http; keep one, and give the other an input of its own",
            ),
        }
        for (key, _) in *table {
            let word: &str = key.get_ref();
            if KINDS.contains(&word) {
                continue;
            }
            let place = Place {
                line: Some(report.line(key.span().start)),
                ..place.clone()
            };
            let word = super::reader::report::shown(word);
            report.say(
                &place,
                format!("unknown kind {word}; write [input.{name}.tcp] or [input.{name}.http]"),
            );
        }
        let section = |kind: &str, spec| {
            let path = format!("input.{name}.{kind}");
            let at = Place {
                key: kind.to_owned(),
                ..place.clone()
            };
            let (table, line) = find_table(report, table, kind, (&path, at))?;
            let place = Place {
                line: Some(line),
                subject: place.subject.clone(),
                key: format!("{kind}."),
            };
            Some(Section::new(report, spec, Some(table), (path, place)))
        };
        let tcp = section("tcp", &keys::input::TCP);
        let http = section("http", &keys::input::HTTP);
        let tcp = tcp.and_then(|section| {
            let input = read_settings(&section, (id, name), &keys::input::TCP_LABELS);
            self.read_tcp(report, section, input)
        });
        let http = http.and_then(|section| {
            let input = read_settings(&section, (id, name), &keys::input::HTTP_LABELS);
            self.read_http(report, section, input)
        });
        self.plans.extend(tcp.map(InputPlan::Tcp));
        self.plans.extend(http.map(InputPlan::Http));
    }

    fn read_tcp(
        &mut self,
        report: &Report<'_>,
        section: Section<'_, '_>,
        input: Option<InputSettings>,
    ) -> Option<TcpSettings> {
        let listen = self.read_listen(report, &section);
        let ack = section.flag("ack");
        let connections_max = section.count("connections_max");
        let idle_timeout = section.span_or_never("idle_timeout");
        section.finish();
        Some(TcpSettings {
            input: input?,
            listen: listen?,
            ack: ack?.value,
            connections_max: connections_max?.value,
            idle_timeout: idle_timeout?.value,
        })
    }

    fn read_http(
        &mut self,
        report: &Report<'_>,
        section: Section<'_, '_>,
        input: Option<InputSettings>,
    ) -> Option<HttpSettings> {
        let listen = self.read_listen(report, &section);
        let connections_max = section.count("connections_max");
        let body_bytes_max = section.size_in_memory("body_bytes_max");
        let decompressed_bytes_max = section.size_in_memory("decompressed_bytes_max");
        let expansion_max = section.count("expansion_max");
        let header_timeout = section.span("header_timeout");
        let body_timeout = section.span("body_timeout");
        let keep_alive_timeout = section.span("keep_alive_timeout");
        let relay = if section.has("relay") {
            let relay = section.section("relay", &keys::relay::INPUT_RELAY);
            let tokens = read_tokens(report, &relay, "tokens");
            relay.finish();
            tokens
        } else {
            Vec::new()
        };
        section.finish();
        Some(HttpSettings {
            input: input?,
            listen: listen?,
            connections_max: connections_max?.value,
            body_bytes_max: body_bytes_max?.value,
            decompressed_bytes_max: decompressed_bytes_max?.value,
            expansion_max: expansion_max?.value,
            header_timeout: header_timeout?.value,
            body_timeout: body_timeout?.value,
            keep_alive_timeout: keep_alive_timeout?.value,
            relay,
        })
    }

    fn read_listen(
        &mut self,
        report: &Report<'_>,
        section: &Section<'_, '_>,
    ) -> Option<SocketAddr> {
        let listen = section.address("listen");
        let insecure = section.flag("insecure");
        let listen = listen?;
        check_listener(
            report,
            &listen,
            insecure.as_ref(),
            "takes events in plain text from anyone who reaches it",
        );
        let address = listen.value;
        self.listens.push(listen);
        Some(address)
    }
}

const KINDS: &[&str] = &["tcp", "http"];

/// Refuses a listener that more than this host can reach, unless the operator accepted it.
pub(super) fn check_listener(
    report: &Report<'_>,
    listen: &Given<SocketAddr>,
    insecure: Option<&Given<bool>>,
    danger: &str,
) {
    if listen.value.ip().to_canonical().is_loopback() {
        return;
    }
    if listen.value.port() == 0 {
        report.refuse(
            listen,
            "has port 0, a free port that no sender could know; write a port (0 is for loopback \
             only)",
        );
    }
    if let Some(insecure) = insecure.filter(|insecure| !insecure.value) {
        let key = &insecure.place.key;
        report.refuse(
            listen,
            format!("{danger}; listen on a loopback address, or write {key} = true to accept that"),
        );
    }
}

/// Refuses two listeners that cannot both have their address.
pub(super) fn check_addresses(report: &Report<'_>, listens: &[Given<SocketAddr>]) {
    for (index, listen) in listens.iter().enumerate() {
        let first = listens[..index]
            .iter()
            .find(|first| collide(first.value, listen.value));
        if let Some(first) = first {
            let Place { line, subject, .. } = &first.place;
            let place = match line {
                Some(line) if first.is_typed() => format!("{subject} on line {line}"),
                _ => format!("{subject} by default"),
            };
            let used = first.value;
            report.refuse(
                listen,
                format!("is taken: {place} listens on {used}; choose another port"),
            );
        }
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let (a_ip, b_ip) = (a.ip().to_canonical(), b.ip().to_canonical());
    // An IPv6 socket on the unspecified address takes the port of IPv4 too.
    let takes_all = |ip: std::net::IpAddr, other: std::net::IpAddr| {
        ip.is_unspecified() && (ip.is_ipv6() || other.is_ipv4())
    };
    let same_ip = a_ip == b_ip || takes_all(a_ip, b_ip) || takes_all(b_ip, a_ip);
    a.port() == b.port() && a.port() != 0 && same_ip
}

fn read_settings(
    section: &Section<'_, '_>,
    (id, name): (InputId, &str),
    labels: &'static keys::SectionSpec,
) -> Option<InputSettings> {
    let line_bytes_max = section.size_in_memory("line_bytes_max");
    let validate = section.one_of("validate");
    let labels = read_labels(section.section("labels", labels), id);
    Some(InputSettings {
        id,
        name: name.to_owned(),
        validation: match validate?.value {
            "none" => Validation::None,
            _ => Validation::Full,
        },
        line_bytes_max: line_bytes_max?.value,
        labels,
    })
}

fn read_labels(section: Section<'_, '_>, id: InputId) -> Labels {
    let label = |name| {
        let text = section.text(name)?.value;
        (!text.is_empty()).then(|| text.into_boxed_str())
    };
    let labels = Labels {
        application: label("application"),
        subsystem: label("subsystem"),
        host: label("host"),
        level: label("level"),
        env: label("env"),
        ..Labels::of_input(id)
    };
    section.finish();
    labels
}
