//! The CA certificates that servers are verified with: the system's, and those of a file.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Why the file of CA certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file cannot be read.
    #[error("{key} {path}: {source}")]
    File {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file contains no usable certificate.
    #[error("{key} {path} holds no usable PEM certificate: {detail}")]
    NoCertificate {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// The system's certificates and those in `ca_file`, which the setting `key` names; an empty path means none.
///
/// # Errors
///
/// [`RootsError`], with the setting and the file.
pub fn roots(ca_file: &Path, key: &'static str) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if ca_file.as_os_str().is_empty() {
        return Ok(roots);
    }
    let path = || ca_file.to_owned();
    let pem = fs::read(ca_file).map_err(|source| RootsError::File {
        key,
        path: path(),
        source,
    })?;
    let bad = |detail: String| RootsError::NoCertificate {
        key,
        path: path(),
        detail,
    };
    let mut any = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| bad(error.to_string()))?;
        any = true;
    }
    if !any {
        return Err(bad("no PEM block in it".to_owned()));
    }
    Ok(roots)
}
