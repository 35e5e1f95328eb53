//! A certificate for localhost, signed by itself, made for one test.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fileproxy::settings::Settings;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
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
        let ends = SystemTime::now() + Duration::from_secs(365 * 24 * 3600);
        Self::until(name, ends)
    }

    /// One that is valid from 2020 until then.
    pub fn until(name: &str, ends: SystemTime) -> Self {
        let mut made = CertificateParams::new([name.to_owned()]).unwrap();
        made.not_before = date_time_ymd(2020, 1, 1);
        made.not_after = date_time_ymd(1970, 1, 1) + ends.duration_since(UNIX_EPOCH).unwrap();
        let signing_key = KeyPair::generate().unwrap();
        let cert = made.self_signed(&signing_key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), cert.pem()).unwrap();
        let private = signing_key.serialize_pem();
        std::fs::write(directory.path().join("key.pem"), private).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
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

    /// The file of its private key.
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Puts the files of another one in place of these.
    pub fn replace_by(&self, other: &Certificate) {
        std::fs::copy(other.ca_file(), self.ca_file()).unwrap();
        std::fs::copy(other.key_file(), self.key_file()).unwrap();
    }

    /// For a proxy that shows it to its clients.
    pub fn show(&self, settings: &mut Settings) {
        settings.tls.certificate = self.ca_file();
        settings.tls.key = self.key_file();
        settings.tls.watch = Duration::from_millis(100);
    }

    /// For a client that trusts it alone, and asks for these protocols.
    pub fn trusted(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(self.ca_file()).unwrap();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
