//! The certificate for clients, reloaded when its files change.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    path::tls::{CertificateError, Pair, Tls},
    settings::Settings,
    traffic::{published::Published, validity::CertificateStatus},
};

/// Time between two log errors about a certificate that clients reject.
const REFUSED: Duration = Duration::from_secs(3600);
/// Time between two log warnings about one that expires soon.
const EXPIRING: Duration = Duration::from_secs(24 * 3600);

/// The certificate in force, and the TLS configuration that serves it.
pub struct Certificate {
    pair: Pair,
    http2: bool,
    tls: Arc<Tls>,
    published: Arc<Published>,
    /// The error at the last check of the files, so that it is logged once.
    wrong: Option<String>,
    /// The last status that was logged, and when.
    told: Option<(CertificateStatus, SystemTime)>,
}

impl Certificate {
    /// Loads the configured certificate; none if TLS is off.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], with the file.
    pub fn of(
        settings: &Settings,
        published: &Arc<Published>,
    ) -> Result<Option<Self>, CertificateError> {
        if !settings.tls.is_on() {
            return Ok(None);
        }
        let pair = Pair::read(&settings.tls)?;
        let tls = Arc::new(Tls::new(&pair, settings.http2.enabled)?);
        let mut certificate = Certificate {
            pair,
            http2: settings.http2.enabled,
            tls,
            published: Arc::clone(published),
            wrong: None,
            told: None,
        };
        certificate.tell_anew();
        Ok(Some(certificate))
    }

    /// The TLS configuration, which always serves the current certificate.
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Sets this certificate, and whether HTTP/2 is offered. Returns whether anything has changed.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Library`]; the previous one stays.
    pub fn take(&mut self, pair: Pair, http2: bool) -> Result<bool, CertificateError> {
        let differs = http2 != self.http2 || !pair.is(&self.pair);
        if differs {
            self.tls.renew(&pair, http2)?;
            (self.pair, self.http2) = (pair, http2);
            tracing::info!("TLS was set up anew: new connections get it");
            self.tell_anew();
        }
        self.wrong = None;
        Ok(differs)
    }

    /// Publishes the validity and logs its status if it is not good, whatever was logged before.
    pub fn tell_anew(&mut self) {
        self.published
            .certificate
            .store(self.pair.validity().map(Arc::new));
        self.told = None;
        self.tell(SystemTime::now());
    }

    /// Logs a certificate that clients reject, or will soon: at once, then once an hour or a day.
    fn tell(&mut self, now: SystemTime) {
        let Some(validity) = self.published.certificate.load().as_deref().copied() else {
            return;
        };
        let worth = validity.worth(now);
        let again = match worth {
            CertificateStatus::Valid => return,
            CertificateStatus::Expiring => EXPIRING,
            CertificateStatus::Expired | CertificateStatus::NotYetValid => REFUSED,
        };
        let lately =
            |(told, at): (CertificateStatus, SystemTime)| told == worth && now < at + again;
        if self.told.is_some_and(lately) {
            return;
        }
        self.told = Some((worth, now));
        let from = humantime::format_rfc3339_seconds(validity.not_before);
        let to = humantime::format_rfc3339_seconds(validity.not_after);
        match worth {
            CertificateStatus::Expiring => {
                tracing::warn!(%to, "the certificate expires soon: clients will refuse it then");
            }
            _ => {
                tracing::error!(%from, %to, "the certificate is not valid now: clients refuse it");
            }
        }
    }

    /// Reads the files again, and uses the certificate if it has changed. Invalid files change nothing: they may be half written.
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
        self.tell(SystemTime::now());
    }
}
