//! The TLS keys, which are the same for every destination that speaks it.

use std::path::PathBuf;

use http::Uri;

use crate::config::reader::Section;
use crate::config::reader::report::Given;
use crate::config::streams::StreamReader;
use crate::sink::settings::TlsSettings;

impl StreamReader<'_, '_> {
    /// Refuses a file that is not there.
    pub(super) fn check_file(&self, file: &Given<PathBuf>) {
        if !(self.environment.file_exists)(&file.value) {
            let rule = "does not exist or cannot be read; correct the path";
            self.report.refuse(file, rule);
        }
    }

    pub(in crate::config) fn read_tls(
        &self,
        section: &Section<'_, '_>,
        url: Option<&Uri>,
    ) -> TlsSettings {
        let ca_file = section.path("ca_file");
        let cert_file = section.path("client_cert_file");
        let key_file = section.path("client_key_file");
        let server_name = section.text("server_name");
        for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
            self.check_file(file);
        }
        if let Some(name) = &server_name {
            let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
            if name.value.is_empty() || !name.value.chars().all(is_host) {
                let rule = "is not the name of a host; write for example \"siem.example\"";
                self.report.refuse(name, rule);
            }
        }
        let pairs = [
            (&cert_file, &key_file, "client_key_file"),
            (&key_file, &cert_file, "client_cert_file"),
        ];
        for (given, other, other_key) in pairs {
            if let (Some(given), None) = (given, other)
                && !section.has(other_key)
            {
                let rule = format!("is of no use alone; add {other_key}");
                self.report.refuse(given, rule);
            }
        }
        if url.is_some_and(|url| url.scheme_str() == Some("http")) {
            let rule = "is of no use with http://; write an https:// URL or remove it";
            for file in [&ca_file, &cert_file, &key_file].into_iter().flatten() {
                self.report.refuse(file, rule);
            }
            if let Some(name) = &server_name {
                self.report.refuse(name, rule);
            }
        }
        TlsSettings {
            ca_file: ca_file.map(|file| file.value),
            client_cert_file: cert_file.map(|file| file.value),
            client_key_file: key_file.map(|file| file.value),
            server_name: server_name.map(|name| name.value),
        }
    }
}
