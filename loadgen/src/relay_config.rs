//! The configuration a run gives its relay.
//!
//! Owns the one place that knows the relay's grammar: change it here when the grammar changes. A
//! file of the user's own may take its place, with the addresses of the run put in for `@WORDS@`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The addresses and folders of one run.
#[derive(Debug, Clone)]
pub(crate) struct RelaySettings<'a> {
    pub(crate) data_dir: &'a Path,
    pub(crate) admin: SocketAddr,
    /// `None`: no such input.
    pub(crate) tcp: Option<SocketAddr>,
    /// The TCP input acknowledges lines.
    pub(crate) ack: bool,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) sink_url: &'a str,
    /// `gzip` or `none`.
    pub(crate) compression: &'a str,
    pub(crate) retry_delay_max: Option<Duration>,
    /// URLs of endpoints that take nothing; each has a stream of its own.
    pub(crate) dead_urls: &'a [String],
}

/// The configuration as TOML.
pub(crate) fn render(settings: &RelaySettings<'_>) -> String {
    let mut text = format!(
        "[node]\ndata_dir = {}\n",
        quoted(&settings.data_dir.display().to_string())
    );
    if !settings.dead_urls.is_empty() {
        // They would hold up the end of the run for as long as this is.
        text += "drain_timeout = \"1s\"\n";
    }
    text += &format!("\n[admin]\nlisten = \"{}\"\n", settings.admin);
    if let Some(address) = settings.tcp {
        text += &format!("\n[input.load.tcp]\nlisten = \"{address}\"\n");
        if settings.ack {
            text += "ack = true\n";
        }
    }
    if let Some(address) = settings.http {
        text += &format!("\n[input.web.http]\nlisten = \"{address}\"\n");
    }
    text += &format!(
        "\n[stream.siem]\nfrom = \"start\"\n\n[stream.siem.http]\nurl = {}\ncompression = {}\n",
        quoted(settings.sink_url),
        quoted(settings.compression)
    );
    if let Some(delay) = settings.retry_delay_max {
        let millis = delay.as_millis();
        text += &format!("\n[stream.siem.retry]\ndelay_max = \"{millis}ms\"\n");
    }
    for (number, url) in settings.dead_urls.iter().enumerate() {
        let (name, url) = (format!("stream.dead-{number}"), quoted(url));
        text += &format!("\n[{name}]\nfrom = \"start\"\n\n[{name}.http]\nurl = {url}\n");
    }
    text
}

/// A user's file with the run's values in place of `@DATA_DIR@`, `@ADMIN@`, `@TCP@`, `@HTTP@` and
/// `@SINK_URL@`. Fails, naming it, when a value the run needs does not occur.
pub(crate) fn fill_in(template: &str, settings: &RelaySettings<'_>) -> Result<String, String> {
    let text = |address: SocketAddr| address.to_string();
    let values = [
        ("@DATA_DIR@", Some(settings.data_dir.display().to_string())),
        ("@ADMIN@", Some(text(settings.admin))),
        ("@TCP@", settings.tcp.map(text)),
        ("@HTTP@", settings.http.map(text)),
        ("@SINK_URL@", Some(settings.sink_url.to_owned())),
    ];
    let mut filled = template.to_owned();
    for (word, value) in values {
        if let Some(value) = value {
            if !filled.contains(word) {
                return Err(format!(
                    "the relay's configuration has no {word} for this run"
                ));
            }
            filled = filled.replace(word, &value);
        }
    }
    Ok(filled)
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted += &format!("\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(data_dir: &Path) -> RelaySettings<'_> {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        RelaySettings {
            data_dir,
            admin: address(1),
            tcp: Some(address(2)),
            ack: true,
            http: None,
            sink_url: "http://127.0.0.1:4/ingest",
            compression: "gzip",
            retry_delay_max: None,
            dead_urls: &[],
        }
    }

    #[test]
    fn each_dead_endpoint_has_a_stream_of_its_own() {
        let urls = [
            "http://127.0.0.1:5/a".to_owned(),
            "http://127.0.0.1:6/a".to_owned(),
        ];
        let settings = RelaySettings {
            dead_urls: &urls,
            retry_delay_max: Some(Duration::from_millis(500)),
            ..settings(Path::new("/data"))
        };
        let text = render(&settings);
        assert!(text.contains("[stream.dead-0.http]\nurl = \"http://127.0.0.1:5/a\"\n"));
        assert!(text.contains("[stream.dead-1.http]\nurl = \"http://127.0.0.1:6/a\"\n"));
        assert!(text.contains("[stream.siem.retry]\ndelay_max = \"500ms\"\n"));
        assert!(text.contains("drain_timeout = \"1s\"\n"), "{text}");
    }

    #[test]
    fn configuration_names_what_the_run_uses_and_nothing_else() {
        let text = render(&settings(Path::new("/tmp/a \"b\"\\c")));
        assert!(
            text.contains("data_dir = \"/tmp/a \\\"b\\\"\\\\c\"\n"),
            "{text}"
        );
        assert!(text.contains("[input.load.tcp]\nlisten = \"127.0.0.1:2\"\nack = true\n"));
        assert!(!text.contains("[input.web.http]"));
    }

    #[test]
    fn template_without_a_needed_value_is_refused() {
        let settings = settings(Path::new("/data"));
        let template = "d=@DATA_DIR@ a=@ADMIN@ t=@TCP@ s=@SINK_URL@";
        let expected = "d=/data a=127.0.0.1:1 t=127.0.0.1:2 s=http://127.0.0.1:4/ingest";
        assert_eq!(fill_in(template, &settings).as_deref(), Ok(expected));
        let error = fill_in("d=@DATA_DIR@ a=@ADMIN@", &settings).unwrap_err();
        assert!(error.contains("@TCP@"), "{error}");
    }
}
