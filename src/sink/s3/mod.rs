//! The `s3` sink: every parcel is one object of an S3 service.
//!
//! The object's key follows from the batch's identity ([`naming`]), so a re-send overwrites
//! what an earlier try may have left and never adds an object. A body above `part_bytes` goes
//! up in parts, one after another ([`upload`]). What a refusal means is [`verdict`]'s.
//!
//! The SDK signs and speaks HTTP; its retries are off, because when to try again is the
//! stream's decision. One thing is tried again at once: a request that was refused for its
//! keys, when the credentials file holds others by now.

mod body;
mod credentials;
mod naming;
#[cfg(test)]
mod tests;
mod upload;
mod verdict;

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};

use self::credentials::Keys;
use self::upload::Upload;
use super::settings::{S3Settings, TlsSettings};
use super::tls;
use super::{Failure, OpenError, Outcome, Sink};
use crate::batch::Parcel;

/// The reason word for a refusal that new keys or rights would end.
const ACCESS_DENIED: &str = "s3_access_denied";

/// Delivers to a bucket.
pub struct S3Sink {
    settings: S3Settings,
    /// Holds the connections, whatever the keys.
    http: SharedHttpClient,
    /// The keys read last and the client that signs with them.
    signing: Option<(Keys, Client)>,
    /// The delivery before this one did not end well, or was another process's.
    may_have_left: bool,
}

impl S3Sink {
    /// Reads the certificates and, of the environment, the keys. Does not connect.
    ///
    /// # Errors
    /// When a certificate cannot be used, or the environment is to have the keys and has none.
    pub fn open(settings: &S3Settings) -> Result<Self, OpenError> {
        let mut sink = Self {
            http: http_client(settings)?,
            settings: settings.clone(),
            signing: None,
            may_have_left: true,
        };
        // A file may be there later, the environment stays as it is.
        if let Err(why) = sink.read_keys()
            && !settings.keys.may_change()
        {
            return Err(OpenError::Keys(why));
        }
        Ok(sink)
    }

    /// Sends the parcel, with other keys if these are refused and there are others.
    async fn send(&mut self, parcel: &Parcel) -> Result<(), Outcome> {
        if self.signing.is_none() {
            self.read_keys().map_err(no_keys)?;
        }
        let answer = self.upload(parcel).await;
        match &answer {
            Err(Outcome::Refused { why }) if why.reason == ACCESS_DENIED => {}
            _ => return answer,
        }
        match self.read_keys() {
            Ok(true) => self.upload(parcel).await,
            Ok(false) => answer,
            Err(why) => {
                tracing::warn!(bucket = self.settings.bucket, %why, "read the keys again");
                answer
            }
        }
    }

    async fn upload(&mut self, parcel: &Parcel) -> Result<(), Outcome> {
        // True also when this future is dropped on its way.
        let may_have_left = std::mem::replace(&mut self.may_have_left, true);
        let (_, client) = self.signing.as_ref().expect("the keys were read before");
        let upload = Upload {
            client,
            settings: &self.settings,
            key: naming::object_key(&self.settings, parcel),
            may_have_left,
        };
        upload.put(parcel.read_body()).await
    }

    /// Reads the keys and makes a client for them. True when they differ from those in use.
    fn read_keys(&mut self) -> Result<bool, String> {
        let keys = Keys::read(&self.settings.keys)?;
        if let Some((in_use, _)) = &self.signing
            && *in_use == keys
        {
            return Ok(false);
        }
        let client = client(&self.settings, &keys, self.http.clone());
        self.signing = Some((keys, client));
        Ok(true)
    }
}

impl Sink for S3Sink {
    async fn deliver(&mut self, parcel: &Parcel) -> Outcome {
        let sent = self.send(parcel).await;
        self.may_have_left = sent.is_err();
        match sent {
            Ok(()) => Outcome::Delivered,
            Err(outcome) => outcome,
        }
    }
}

impl fmt::Debug for S3Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Sink")
            .field("endpoint", &self.settings.host)
            .field("bucket", &self.settings.bucket)
            .finish_non_exhaustive()
    }
}

fn no_keys(why: String) -> Outcome {
    Outcome::Refused {
        why: Failure {
            reason: ACCESS_DENIED,
            detail: why,
        },
    }
}

fn http_client(settings: &S3Settings) -> Result<SharedHttpClient, OpenError> {
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    if settings.host.scheme_str() != Some("https") {
        return Ok(builder.build_https());
    }
    // The SDK takes certificates as they are and panics later over a bad one.
    let trusted = TlsSettings {
        ca_file: settings.ca_file.clone(),
        ..TlsSettings::default()
    };
    tls::roots(&trusted)?;
    let store = match &settings.ca_file {
        None => TrustStore::default(),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| tls::ca_error(path, &error))?;
            TrustStore::empty().with_pem_certificate(pem)
        }
    };
    let context = TlsContext::builder()
        .with_trust_store(store)
        .build()
        .map_err(|error| OpenError::Tls(error.to_string()))?;
    Ok(builder.tls_context(context).build_https())
}

fn client(settings: &S3Settings, keys: &Keys, http: SharedHttpClient) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(settings.connect_timeout)
        .operation_attempt_timeout(settings.request_timeout)
        .build();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .endpoint_url(settings.host.to_string())
        .region(Region::new(settings.region.clone()))
        .force_path_style(settings.path_style)
        .credentials_provider(keys.credentials())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // A request has a time limit of its own, and a checksum made here.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}
