//! The `$variables` a text may name, by data source.
//!
//! The lists of Azion's sources are those of its reference pages of 2020, 2021 and 2026 together, in their order. A
//! variable's value is the member of that name at the top of the event.

/// Where the values of variables come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataSource {
    /// Key paths of the event, and what Weir knows of it.
    Event,
    /// Azion Applications, formerly Edge Applications.
    Http,
    /// Azion WAF events.
    Waf,
    /// Azion Functions.
    Functions,
    /// Azion Activity History.
    ActivityHistory,
}

impl DataSource {
    /// All of them, with their names in a configuration.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("event", Self::Event),
        ("http", Self::Http),
        ("waf", Self::Waf),
        ("functions", Self::Functions),
        ("activity_history", Self::ActivityHistory),
    ];

    /// Name in a configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, source)| *source == self);
        named.expect("every data source is in the list").0
    }

    /// Variables of an Azion source; for [`DataSource::Event`] none, as any key path is one.
    #[must_use]
    pub fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Event => &[],
            Self::Http => HTTP,
            Self::Waf => WAF,
            Self::Functions => FUNCTIONS,
            Self::ActivityHistory => ACTIVITY_HISTORY,
        }
    }

    /// The variable of this name: the key its value has in the event. Azion's fixed line for Activity History uses two
    /// names that its own table does not have.
    pub(super) fn key(self, name: &str) -> Option<&'static str> {
        let name = match (self, name) {
            (Self::ActivityHistory, "time_iso8601") => "time",
            (Self::ActivityHistory, "clientid") => "client",
            _ => name,
        };
        self.variables()
            .iter()
            .find(|known| **known == name)
            .copied()
    }
}

/// What Weir knows of an event; in a text its name begins with `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream::template) enum Known {
    Line,
    Host,
    Application,
    Subsystem,
    Level,
    Env,
    Tags,
    Sender,
    Peer,
    Millis,
    Time,
    Received,
    Id,
}

impl Known {
    pub(in crate::stream::template) const NAMES: [(&'static str, Self); 13] = [
        ("_line", Self::Line),
        ("_host", Self::Host),
        ("_app", Self::Application),
        ("_subsystem", Self::Subsystem),
        ("_level", Self::Level),
        ("_env", Self::Env),
        ("_tags", Self::Tags),
        ("_sender", Self::Sender),
        ("_peer", Self::Peer),
        ("_ts", Self::Millis),
        ("_time", Self::Time),
        ("_received", Self::Received),
        ("_id", Self::Id),
    ];
}

/// The known name that was probably meant, if one is near: at most a third of its characters differ.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements that make one of the other (Levenshtein), without regard to case.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, character) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], number + 1);
        for (place, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *wanted);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

const HTTP: &[&str] = &[
    "asn",
    "bytes_sent",
    "client",
    "configuration",
    "country",
    "state",
    "host",
    "http_referrer",
    "http_user_agent",
    "proxy_status",
    "remote_addr",
    "remote_port",
    "request_id",
    "request_length",
    "request_method",
    "request_time",
    "request_uri",
    "requestPath",
    "requestQuery",
    "scheme",
    "sent_http_content_type",
    "sent_http_x_original_image_size",
    "server_addr",
    "server_port",
    "server_protocol",
    "session_id",
    "stream",
    "ssl_cipher",
    "ssl_protocol",
    "ssl_server_name",
    "ssl_session_reused",
    "status",
    "tcpinfo_rtt",
    "time",
    "traceback",
    "upstream_addr",
    "upstream_bytes_sent",
    "upstream_local_addr",
    "upstream_bytes_received",
    "upstream_cache_status",
    "upstream_connect_time",
    "upstream_header_time",
    "upstream_response_time",
    "upstream_status",
    "version",
    "waf_attack_action",
    "waf_attack_family",
    "waf_block",
    "waf_headers",
    "waf_learning",
    "waf_match",
    "waf_score",
    "waf_total_blocked",
    "waf_total_processed",
];

const WAF: &[&str] = &[
    "blocked",
    "client",
    "configuration",
    "country",
    "headers",
    "host",
    "remote_addr",
    "requestPath",
    "requestQuery",
    "server_protocol",
    "time",
    "truncated_body",
    "version",
    "waf_args",
    "waf_attack_action",
    "waf_attack_family",
    "waf_learning",
    "waf_match",
    "waf_score",
    "waf_server",
    "waf_uri",
];

const FUNCTIONS: &[&str] = &[
    "client",
    "edge_function_id",
    "global_id",
    "log_level",
    "log_message",
    "message_source",
    "request_id",
    "time",
];

const ACTIVITY_HISTORY: &[&str] = &[
    "account_id",
    "created_at",
    "author_email",
    "author_name",
    "client",
    "comment",
    "parent_resource_id",
    "parent_resource_name",
    "parent_resource_type",
    "referer_header",
    "remote_port",
    "request_data",
    "resource_id",
    "resource_name",
    "resource_type",
    "title",
    "type",
    "user_agent",
    "user_id",
    "user_ip",
    "time",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_if_it_is_near() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(nearest(name, HTTP.iter().copied()), expected, "{name}");
        };
        check("upstream_statu", Some("upstream_status"));
        check("request_path", Some("requestPath"));
        check("user_agent", Some("http_user_agent"));
        check("agent", None);
        check("Host", Some("host"));
        check("zzzzzzzz", None);
    }

    #[test]
    fn lists_have_no_name_twice() {
        for (_, source) in DataSource::NAMES {
            let names = source.variables();
            let unique: std::collections::HashSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len());
        }
    }
}
