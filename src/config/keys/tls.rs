//! Keys of TLS that are alike for every destination that speaks it.

use super::{Fallback, Key, Kind};

pub(super) const CA_FILE: Key = Key::new(
    "ca_file",
    Kind::ExistingFile,
    Fallback::Computed("the system's authorities"),
    "PEM file of the certificate authorities to trust.",
);

pub(super) const CLIENT_CERT_FILE: Key = Key::new(
    "client_cert_file",
    Kind::ExistingFile,
    Fallback::Absent,
    "PEM file of the client certificate chain; needs `client_key_file`.",
);

pub(super) const CLIENT_KEY_FILE: Key = Key::new(
    "client_key_file",
    Kind::ExistingFile,
    Fallback::Absent,
    "PEM file of the client's private key; needs `client_cert_file`.",
);
