//! TLS with certificates made on the spot: whom the sink trusts, and who trusts it.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::sink::OpenError;

/// An authority with a directory for what it issues.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

/// A certificate and its key.
struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        Self { issuer, dir }
    }

    fn issue(&self, name: &str, expired: bool) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn file(&self, name: &str, content: &str) -> Option<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Some(path)
    }

    /// Settings of a client that trusts this authority.
    fn trusted(&self) -> TlsSettings {
        TlsSettings {
            ca_file: self.file("ca.pem", &self.issuer.pem()),
            ..TlsSettings::default()
        }
    }

    /// The same with a client certificate.
    fn trusted_with_client(&self, client: &Issued) -> TlsSettings {
        TlsSettings {
            client_cert_file: self.file("client.pem", &client.certificate),
            client_key_file: self.file("client.key", &client.key),
            ..self.trusted()
        }
    }
}

/// A TLS receiver that answers every request with 200; with `clients`, only to clients that
/// show a certificate of that authority.
async fn receiver(server: &Issued, clients: Option<&Authority>) -> Receiver {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let config = builder.with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Receiver::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(socket) = acceptor.accept(peer.socket).await else {
                return;
            };
            let mut peer = Peer {
                number: peer.number,
                socket,
                requests: peer.requests,
            };
            while peer.read_request().await.is_some() {
                peer.send(OK).await;
            }
        }
    })
    .await
}

/// A receiver, settings that reach it by TLS, and what holds their files.
pub(super) async fn trusted_receiver() -> (Receiver, HttpSettings, impl Sized) {
    let authority = Authority::new();
    let receiver = receiver(&authority.issue("localhost", false), None).await;
    let url = format!("https://localhost:{}/in", receiver.address.port());
    let mut settings = settings(&url);
    settings.tls = authority.trusted();
    (receiver, settings, authority)
}

async fn outcome_of(receiver: &Receiver, host: &str, tls: TlsSettings, parcel: &Parcel) -> Outcome {
    let url = format!("https://{host}:{}/in", receiver.address.port());
    let mut settings = settings(&url);
    settings.tls = tls;
    deliver(&mut open(&settings), parcel).await
}

#[tokio::test]
async fn a_trusted_receiver_gets_every_byte() {
    let authority = Authority::new();
    let receiver = receiver(&authority.issue("localhost", false), None).await;
    for parcel in [small(0), large(10)] {
        let outcome = outcome_of(&receiver, "localhost", authority.trusted(), &parcel).await;
        assert_eq!(outcome, Outcome::Delivered);
        let request = receiver.requests().pop().unwrap();
        assert!(request.body == parcel.chunks().concat(), "the body differs");
    }
}

#[tokio::test]
async fn the_connection_is_kept_under_tls_too() {
    let authority = Authority::new();
    let receiver = receiver(&authority.issue("127.0.0.1", false), None).await;
    let mut settings = settings(&format!("https://{}/in", receiver.address));
    settings.tls = authority.trusted();
    let mut sink = open(&settings);
    for first in 0..3 {
        assert_eq!(deliver(&mut sink, &small(first)).await, Outcome::Delivered);
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_receiver_that_cannot_prove_itself_gets_nothing() {
    let (ours, other) = (Authority::new(), Authority::new());
    let cases = [
        ("other authority", other.issue("localhost", false)),
        ("expired", ours.issue("localhost", true)),
        ("other name", ours.issue("elsewhere.example", false)),
    ];
    for (case, certificate) in cases {
        let receiver = receiver(&certificate, None).await;
        let outcome = outcome_of(&receiver, "localhost", ours.trusted(), &small(0)).await;
        assert_eq!(verdict(&outcome), ("retry", "tls_failure"), "{case}");
        assert!(
            detail(&outcome).contains("certificate"),
            "{}",
            detail(&outcome)
        );
        assert!(receiver.requests().is_empty());
    }
}

#[tokio::test]
async fn the_name_to_check_can_be_set_apart_from_the_host() {
    let authority = Authority::new();
    let receiver = receiver(&authority.issue("elsewhere.example", false), None).await;
    let tls = TlsSettings {
        server_name: Some("elsewhere.example".into()),
        ..authority.trusted()
    };
    let outcome = outcome_of(&receiver, "127.0.0.1", tls, &small(0)).await;
    assert_eq!(outcome, Outcome::Delivered);
}

#[tokio::test]
async fn a_demanded_client_certificate_is_shown_and_a_missing_one_is_a_tls_failure() {
    let authority = Authority::new();
    let server = authority.issue("localhost", false);
    let receiver = receiver(&server, Some(&authority)).await;
    let client = authority.issue("relay", false);
    let shown = authority.trusted_with_client(&client);
    let outcome = outcome_of(&receiver, "localhost", shown, &small(0)).await;
    assert_eq!(outcome, Outcome::Delivered);
    // Under TLS 1.3 the server's objection comes after the handshake, while we write.
    for parcel in [small(10), large(20)] {
        let outcome = outcome_of(&receiver, "localhost", authority.trusted(), &parcel).await;
        assert_eq!(verdict(&outcome), ("retry", "tls_failure"), "{outcome:?}");
    }
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn a_plain_receiver_is_a_tls_failure_and_a_silent_one_a_connect_timeout() {
    let authority = Authority::new();
    let plain = Receiver::start(|mut peer| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        // Held open until the client has read the answer and closes.
        peer.socket.read_to_end(&mut Vec::new()).await.ok();
    })
    .await;
    let outcome = outcome_of(&plain, "localhost", authority.trusted(), &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "tls_failure"));
    let silent = Receiver::start(|peer| async move {
        std::future::pending::<()>().await;
        drop(peer);
    })
    .await;
    let mut settings = settings(&format!("https://{}/", silent.address));
    settings.tls = authority.trusted();
    settings.connect_timeout = SHORT;
    let outcome = deliver(&mut open(&settings), &small(0)).await;
    assert_eq!(verdict(&outcome), ("retry", "connect_timed_out"));
}

#[test]
fn unusable_tls_files_are_refused_at_open_with_their_name() {
    let authority = Authority::new();
    let refusal = |tls: TlsSettings| {
        let mut settings = settings("https://localhost/");
        settings.tls = tls;
        HttpSink::open(&settings, Arc::new(|| NOW)).unwrap_err()
    };
    let missing = refusal(TlsSettings {
        ca_file: Some("/nowhere/ca.pem".into()),
        ..TlsSettings::default()
    });
    assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    let empty = refusal(TlsSettings {
        ca_file: authority.file("empty.pem", "nothing\n"),
        ..TlsSettings::default()
    });
    assert!(empty.to_string().contains("no certificate"), "{empty}");
    let half = refusal(TlsSettings {
        client_cert_file: authority.file("half.pem", &authority.issue("c", false).certificate),
        ..authority.trusted()
    });
    assert!(matches!(half, OpenError::Tls(_)), "{half}");
    let (one, two) = (authority.issue("one", false), authority.issue("two", false));
    let mixed = refusal(authority.trusted_with_client(&Issued {
        certificate: one.certificate,
        key: two.key,
    }));
    assert!(matches!(mixed, OpenError::Tls(_)), "{mixed}");
}
