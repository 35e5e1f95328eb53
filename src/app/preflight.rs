//! What `fileproxy check` examines besides the settings: certificates, ports, the store's directory.

use std::{path::Path, time::SystemTime};

use rustix::fs::{Access, access};

use super::sockets::Sockets;
use crate::{
    path::{
        listener::{Inherited, ListenError},
        roots::roots,
        tls::Pair,
    },
    settings::Settings,
    traffic::validity::CertificateStatus,
};

/// The findings.
#[derive(Debug, Default)]
pub struct Findings {
    /// Errors that would prevent the start.
    pub wrong: Vec<String>,
    /// Remarks for the operator.
    pub notes: Vec<String>,
}

/// Checks everything outside of the settings that they refer to. Nothing is changed, and no port stays open.
pub fn preflight(settings: &Settings, now: SystemTime) -> Findings {
    let mut findings = Findings::default();
    findings.certificate(settings, now);
    for (file, key) in [
        (&settings.origin.tls.ca_file, "origin.tls.ca_file"),
        (&settings.traces.ca_file, "traces.ca_file"),
    ] {
        if !file.as_os_str().is_empty()
            && let Err(error) = roots(file, key)
        {
            findings.wrong.push(error.to_string());
        }
    }
    findings.ports(settings);
    if !settings.store.directory.as_os_str().is_empty() {
        findings.directory(&settings.store.directory);
    }
    findings
}

impl Findings {
    fn certificate(&mut self, settings: &Settings, now: SystemTime) {
        if !settings.tls.is_on() {
            return;
        }
        let validity = match Pair::read(&settings.tls) {
            Ok(pair) => pair.validity(),
            Err(error) => return self.wrong.push(error.to_string()),
        };
        let Some(validity) = validity else {
            return;
        };
        let file = settings.tls.certificate.display();
        let from = humantime::format_rfc3339_seconds(validity.not_before);
        let to = humantime::format_rfc3339_seconds(validity.not_after);
        match validity.worth(now) {
            CertificateStatus::Valid => {}
            CertificateStatus::Expiring => {
                let note = format!("tls.certificate {file} expires soon, at {to}");
                self.notes.push(note);
            }
            CertificateStatus::Expired | CertificateStatus::NotYetValid => {
                self.notes.push(format!(
                    "tls.certificate {file} is valid from {from} to {to}: clients refuse it now"
                ))
            }
        }
    }

    /// A port in use is not an error: the running service has it.
    fn ports(&mut self, settings: &Settings) {
        let opened = Sockets::open(&settings.server, &settings.admin, Inherited::default());
        match opened {
            Ok(_) => {}
            Err(error @ ListenError::Taken { .. }) => self.notes.push(error.to_string()),
            Err(error) => self.wrong.push(error.to_string()),
        }
    }

    /// A missing directory is created at startup, so its parent must allow that.
    fn directory(&mut self, directory: &Path) {
        let there = directory.ancestors().find(|path| path.exists());
        let there = match there {
            None => Path::new("."),
            Some(path) if path.as_os_str().is_empty() => Path::new("."),
            Some(path) => path,
        };
        if !there.is_dir() {
            let wrong = format!("store.directory: {} is no directory", there.display());
            self.wrong.push(wrong);
        } else if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
            let wrong = format!("store.directory: {}: {error}", there.display());
            self.wrong.push(wrong);
        }
    }
}
