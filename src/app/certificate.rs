//! The certificate that clients see, kept as its files are.

use std::sync::Arc;

use crate::{
    path::tls::{CertificateError, Pair, Tls},
    settings::Settings,
};

/// The certificate in force.
pub struct Certificate {
    pair: Pair,
    http2: bool,
    tls: Arc<Tls>,
    /// What was wrong with the files when they were last looked at. It is told once.
    wrong: Option<String>,
}

impl Certificate {
    /// Reads the files that the settings name; none where they name none.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], with the file at fault.
    pub fn of(settings: &Settings) -> Result<Option<Self>, CertificateError> {
        if !settings.tls.is_on() {
            return Ok(None);
        }
        let pair = Pair::read(&settings.tls)?;
        let tls = Arc::new(Tls::new(&pair, settings.http2.enabled)?);
        Ok(Some(Certificate {
            pair,
            http2: settings.http2.enabled,
            tls,
            wrong: None,
        }))
    }

    /// TLS with whatever certificate is in force.
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Takes this certificate, and offers HTTP/2 or not.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Library`]; the one before stays in force.
    pub fn take(&mut self, pair: Pair, http2: bool) -> Result<(), CertificateError> {
        if http2 != self.http2 || !pair.is(&self.pair) {
            self.tls.renew(&pair, http2)?;
            (self.pair, self.http2) = (pair, http2);
            tracing::info!("TLS was set up anew: new connections get it");
        }
        self.wrong = None;
        Ok(())
    }

    /// Looks at the files once more. One that cannot be used changes nothing: it may be half written.
    pub fn look(&mut self, settings: &Settings) {
        let taken =
            Pair::read(&settings.tls).and_then(|pair| self.take(pair, settings.http2.enabled));
        if let Err(error) = taken {
            let error = error.to_string();
            if self.wrong.as_ref() != Some(&error) {
                tracing::warn!(
                    error,
                    "the certificate's files cannot be used: the one before stays in force"
                );
                self.wrong = Some(error);
            }
        }
    }
}
