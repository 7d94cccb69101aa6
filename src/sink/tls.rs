//! TLS towards a destination, for every sink that speaks it: the files are read once, when the sink is opened.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::sink::OpenError;
use crate::sink::settings::TlsSettings;

/// What a connection needs to speak TLS.
#[derive(Clone)]
pub(super) struct TlsClient {
    /// Trust and client certificate.
    pub(super) connector: TlsConnector,
    /// Name the server's certificate must be for.
    pub(super) server_name: ServerName<'static>,
}

impl TlsClient {
    /// Reads the files of the settings. `host` is the URL's, without brackets.
    pub(super) fn open(settings: &TlsSettings, host: &str) -> Result<Self, OpenError> {
        let name = settings.server_name.as_deref().unwrap_or(host);
        let server_name = ServerName::try_from(name.to_owned())
            .map_err(|_| OpenError::Tls(format!("\"{name}\" is not a server name")))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| OpenError::Tls(error.to_string()))?
            .with_root_certificates(roots(settings)?);
        let config = match (&settings.client_cert_file, &settings.client_key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert_file), Some(key_file)) => {
                let chain = certificates("the client certificate", cert_file)?;
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|error| pem_error("the client key", key_file, &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| OpenError::Tls(format!("client certificate: {error}")))?
            }
            (Some(_), None) => {
                return Err(OpenError::Tls(
                    "client_cert_file needs client_key_file".into(),
                ));
            }
            (None, Some(_)) => {
                return Err(OpenError::Tls(
                    "client_key_file needs client_cert_file".into(),
                ));
            }
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The connector holds a private key; only the name is for the log.
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The authorities to trust: those of the file, or the system's.
pub(in crate::sink) fn roots(settings: &TlsSettings) -> Result<RootCertStore, OpenError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &settings.ca_file {
        for certificate in certificates("the certificate authorities", path)? {
            roots
                .add(certificate)
                .map_err(|error| ca_error(path, &error))?;
        }
        return Ok(roots);
    }
    // One unreadable certificate of the system's must not take the others away.
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found
            .errors
            .first()
            .map_or_else(|| "none is installed".to_owned(), ToString::to_string);
        return Err(OpenError::Tls(format!(
            "no certificate authority of the system can be used ({why}); set ca_file"
        )));
    }
    Ok(roots)
}

/// All certificates of a PEM file; at least one.
fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_error(what, path, &error))?;
    if found.is_empty() {
        return Err(pem_error(what, path, &"it holds no certificate"));
    }
    Ok(found)
}

/// Why a file of authorities cannot be used.
pub(in crate::sink) fn ca_error(path: &Path, why: &dyn std::fmt::Display) -> OpenError {
    pem_error("the certificate authorities", path, why)
}

fn pem_error(what: &'static str, path: &Path, why: &dyn std::fmt::Display) -> OpenError {
    OpenError::Pem {
        what,
        path: path.to_owned(),
        why: why.to_string(),
    }
}
