//! The certificate that clients see, kept as its files are.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    path::tls::{CertificateError, Pair, Tls},
    settings::Settings,
    traffic::{published::Published, validity::Worth},
};

/// How often it is told that clients refuse the certificate.
const REFUSED: Duration = Duration::from_secs(3600);
/// How often it is told that they will soon.
const EXPIRING: Duration = Duration::from_secs(24 * 3600);

/// The certificate in force.
pub struct Certificate {
    pair: Pair,
    http2: bool,
    tls: Arc<Tls>,
    published: Arc<Published>,
    /// What was wrong with the files when they were last looked at. It is told once.
    wrong: Option<String>,
    /// What was last told of its validity, and when.
    told: Option<(Worth, SystemTime)>,
}

impl Certificate {
    /// Reads the files that the settings name; none where they name none.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], with the file at fault.
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

    /// TLS with whatever certificate is in force.
    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.tls)
    }

    /// Takes this certificate, and offers HTTP/2 or not. Whether anything is different.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Library`]; the one before stays in force.
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

    /// Publishes how long the certificate is valid, and tells if that is not long.
    pub fn tell_anew(&mut self) {
        self.published
            .certificate
            .store(self.pair.validity().map(Arc::new));
        self.told = None;
        self.tell(SystemTime::now());
    }

    /// Tells that clients refuse the certificate, or will soon: at once, and then every so often.
    fn tell(&mut self, now: SystemTime) {
        let Some(validity) = self.published.certificate.load().as_deref().copied() else {
            return;
        };
        let worth = validity.worth(now);
        let again = match worth {
            Worth::Valid => return,
            Worth::Expiring => EXPIRING,
            Worth::Expired | Worth::NotYetValid => REFUSED,
        };
        let lately = |(told, at): (Worth, SystemTime)| told == worth && now < at + again;
        if self.told.is_some_and(lately) {
            return;
        }
        self.told = Some((worth, now));
        let from = humantime::format_rfc3339_seconds(validity.not_before);
        let to = humantime::format_rfc3339_seconds(validity.not_after);
        match worth {
            Worth::Expiring => {
                tracing::warn!(%to, "the certificate expires soon: clients will refuse it then");
            }
            _ => {
                tracing::error!(%from, %to, "the certificate is not valid now: clients refuse it");
            }
        }
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
        self.tell(SystemTime::now());
    }
}
