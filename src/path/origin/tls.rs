//! TLS for an https origin.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime},
};

use super::settings::TlsSettings;
use crate::path::roots::{RootsError, roots};

/// Why TLS cannot be set up. Found at startup.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The trusted certificates cannot be loaded.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The name to verify is not a valid DNS name.
    #[error("`{name}` is no name that a certificate can have: {source}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
    /// rustls refused its own default settings.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// What a TLS handshake needs.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Shared by all workers, so that sessions can be resumed on any of them.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must have.
    pub name: ServerName<'static>,
}

impl Tls {
    /// Loads the trusted certificates and determines the name to verify.
    ///
    /// # Errors
    ///
    /// [`TlsError`], with the file or the name at fault.
    pub fn new(settings: &TlsSettings, host: &str) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let mut config = if settings.verify {
            builder
                .with_root_certificates(roots(&settings.ca_file, "origin.tls.ca_file")?)
                .with_no_client_auth()
        } else {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
                .with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = if settings.server_name.is_empty() {
            host
        } else {
            &settings.server_name
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|source| TlsError::Name {
            name: name.to_owned(),
            source,
        })?;
        Ok(Tls {
            config: Arc::new(config),
            name,
        })
    }
}

/// Accepts any certificate, for `origin.tls.verify = false`. Signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
