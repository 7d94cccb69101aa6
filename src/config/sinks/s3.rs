//! `[stream.NAME.s3]`.

use std::time::Duration;

use http::Uri;

use crate::config::keys;
use crate::config::reader::Section;
use crate::config::reader::report::Given;
use crate::config::streams::StreamReader;
use crate::sink::settings::{KeyLayout, S3Checksum, S3KeySource, S3Settings, Secret};
use crate::stream::settings::BatchLimits;

/// Batches of objects unless said otherwise: few and large, and as often as Azion's.
pub(in crate::config) const BATCH: BatchLimits = BatchLimits {
    bytes_max: 256 << 20,
    age_max: Duration::from_secs(60),
    records_max: Some(2000),
};

impl StreamReader<'_, '_> {
    pub(super) fn read_s3(&self, stream: &Section<'_, '_>) -> Option<S3Settings> {
        if cfg!(not(feature = "s3")) {
            let rule = "is for a destination this program was built without; build it with the \
                        cargo feature s3";
            self.report.say(&stream.section_place("s3"), rule);
        }
        let section = stream.section("s3", &keys::s3::S3);
        let host = section.url("host");
        let host = host.and_then(|host| self.check_service(&host));
        let bucket = section.text("bucket");
        let bucket = bucket.and_then(|bucket| self.check_bucket(bucket));
        let region = section.text("region");
        let path_style = section.flag("path_style");
        let keys = self.read_keys(&section);
        let prefix = section.text("prefix");
        let prefix = prefix.and_then(|prefix| self.check_prefix(prefix));
        let key_layout = section.one_of("key_layout");
        let content_type = section.one_of("content_type");
        let checksum = section.one_of("checksum");
        let sign_body = section.flag("sign_body");
        let part_bytes = section.size_in_memory("part_bytes");
        let connect_timeout = section.span("connect_timeout");
        let request_timeout = section.span("request_timeout");
        let ca_file = section.path("ca_file");
        let is_plain = |host: &Uri| host.scheme_str() == Some("http");
        if let Some(file) = &ca_file {
            self.check_file(file);
            if host.as_ref().is_some_and(is_plain) {
                let rule = "is of no use with http://; write an https:// URL or remove it";
                self.report.refuse(file, rule);
            }
        }
        section.finish();
        let host = host?;
        Some(S3Settings {
            bucket: bucket?,
            region: region?.value,
            path_style: path_style.map_or_else(|| !is_of_aws(&host), |given| given.value),
            keys: keys?,
            prefix: prefix?,
            key_layout: match key_layout?.value {
                "dated" => KeyLayout::Dated,
                _ => KeyLayout::Flat,
            },
            content_type: content_type?.value,
            checksum: match checksum?.value {
                "md5" => S3Checksum::Md5,
                "none" => S3Checksum::None,
                _ => S3Checksum::Crc32c,
            },
            sign_body: sign_body.map_or_else(|| is_plain(&host), |given| given.value),
            part_bytes: part_bytes?.value,
            connect_timeout: connect_timeout?.value,
            request_timeout: request_timeout?.value,
            ca_file: ca_file.map(|file| file.value),
            host,
        })
    }

    /// A URL with nothing behind the host.
    fn check_service(&self, given: &Given<String>) -> Option<Uri> {
        const EXAMPLE: &str = "write for example \"https://s3.eu-west-1.amazonaws.com\"";
        let url: Option<Uri> = given.value.parse().ok();
        let parts = url
            .as_ref()
            .and_then(|url| Some((url, url.scheme_str()?, url.authority()?)));
        let rule = match parts {
            Some((_, _, authority)) if authority.as_str().contains('@') => {
                "holds a user name or password; write access_key and secret_key".to_owned()
            }
            Some((_, scheme, _)) if !matches!(scheme, "http" | "https") => {
                format!("has the scheme {scheme}; write http:// or https://")
            }
            Some((_, _, authority)) if authority.port_u16() == Some(0) => {
                "has port 0; write the service's port".to_owned()
            }
            Some((_, _, authority)) if authority.host().is_empty() => {
                format!("names no host; {EXAMPLE}")
            }
            Some((url, ..)) if url.path() != "/" || url.query().is_some() => {
                "has something behind the host; the bucket has a key of its own".to_owned()
            }
            Some(_) => return url,
            None => format!("is not a whole URL; {EXAMPLE}"),
        };
        self.report.refuse(given, rule);
        None
    }

    fn check_bucket(&self, bucket: Given<String>) -> Option<String> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if bucket.value.len() >= 3 && bucket.value.chars().all(is_of_name) {
            return Some(bucket.value);
        }
        let rule = "is not the name of a bucket; write 3 characters or more of a-z 0-9 - .";
        self.report.refuse(&bucket, rule);
        None
    }

    fn check_prefix(&self, prefix: Given<String>) -> Option<String> {
        if !prefix.value.starts_with('/') {
            return Some(prefix.value);
        }
        let rule = "begins with /, which few programs find again in a bucket; leave it out";
        self.report.refuse(&prefix, rule);
        None
    }

    /// Where the keys are: both in the file, or in another one, or else in the environment.
    fn read_keys(&self, section: &Section<'_, '_>) -> Option<S3KeySource> {
        let access_key = section.text("access_key");
        let secret_key = section.text("secret_key");
        let file = section.path("credentials_file");
        if let Some(file) = &file {
            self.check_file(file);
        }
        for key in [&access_key, &secret_key].into_iter().flatten() {
            if key.value.is_empty() {
                self.report
                    .refuse(key, "is empty; write the key or remove it");
            }
        }
        match (access_key, secret_key, file) {
            (None, None, None) => Some(S3KeySource::Environment),
            (None, None, Some(file)) => Some(S3KeySource::File(file.value)),
            (Some(access_key), Some(secret_key), None) => Some(S3KeySource::Given {
                access_key: access_key.value,
                secret_key: Secret::new(secret_key.value),
            }),
            (Some(_), _, Some(file)) | (_, Some(_), Some(file)) => {
                let rule = "stands beside access_key or secret_key; keep the file or the keys";
                self.report.refuse(&file, rule);
                None
            }
            (Some(key), None, None) => self.lone(&key, section, "secret_key"),
            (None, Some(key), None) => self.lone(&key, section, "access_key"),
        }
    }

    fn lone(
        &self,
        key: &Given<String>,
        section: &Section<'_, '_>,
        other: &str,
    ) -> Option<S3KeySource> {
        if !section.has(other) {
            let rule = format!("is of no use alone; add {other}");
            self.report.refuse(key, rule);
        }
        None
    }
}

/// True for hosts of AWS, which want the bucket in the host name.
fn is_of_aws(host: &Uri) -> bool {
    let name = host.host().unwrap_or_default().to_ascii_lowercase();
    name.ends_with(".amazonaws.com") || name.ends_with(".amazonaws.com.cn")
}
