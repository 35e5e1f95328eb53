//! The way to a collector of traces: OTLP over HTTP, or over TLS with what the rest of the proxy speaks.

use std::{io, path::Path, sync::Arc, thread, time::Duration};

use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use reqwest::{blocking::Client, redirect::Policy};
use rustls::{ClientConfig, crypto::ring};

use super::roots::{RootsError, roots};

/// How long one batch of spans may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no way to a collector. All are found at the start; whether it is there is not asked.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The certificates that it is trusted by.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The library refused its own defaults.
    #[error("TLS to the collector cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client.
    #[error("no client for the collector: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporter.
    #[error("no exporter to the collector: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The system has no thread to make them on.
    #[error("no thread for the collector: {0}")]
    Thread(#[from] io::Error),
}

/// What brings spans to the collector at this URL, which is trusted by the system's certificates and those in `ca_file`.
/// `OTEL_EXPORTER_OTLP_HEADERS` adds fields, such as a key; they are shown nowhere.
///
/// # Errors
///
/// [`CollectorError`]
pub fn exporter(url: &str, ca_file: &Path) -> Result<SpanExporter, CollectorError> {
    let client = client(ca_file)?;
    let endpoint = format!("{}/v1/traces", url.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint);
    Ok(exporter.build()?)
}

fn client(ca_file: &Path) -> Result<Client, CollectorError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_file, "traces.ca_file")?)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .timeout(PATIENCE);
    // It has a runtime of its own, and may not be made on another one.
    let thread = thread::Builder::new().name("collector".to_owned());
    let made = thread.spawn(move || builder.build())?.join();
    Ok(made.map_err(|_| io::Error::other("the thread that made its client panicked"))??)
}
