//! A certificate for localhost, signed by itself, made for one test.

use std::{path::PathBuf, sync::Arc};

use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tempfile::TempDir;

pub struct Certificate {
    directory: TempDir,
    /// For an origin that has it.
    pub server: Arc<ServerConfig>,
}

impl Certificate {
    pub fn new() -> Self {
        Self::of("localhost")
    }

    pub fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        Certificate {
            directory,
            server: Arc::new(server),
        }
    }

    /// The file for `origin.tls.ca_file`.
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}
