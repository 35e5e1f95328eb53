//! Exports trace spans to a collector: OTLP over HTTP or HTTPS.

use std::{io, path::Path, sync::Arc, thread, time::Duration};

use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use reqwest::{blocking::Client, redirect::Policy};
use rustls::{ClientConfig, crypto::ring};

use super::roots::{RootsError, roots};

/// Timeout for exporting one batch of spans.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the exporter cannot be built. Found at startup; whether the collector is reachable is not checked.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The trusted certificates cannot be loaded.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// rustls refused its own default settings.
    #[error("TLS to the collector cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be built.
    #[error("no client for the collector: {0}")]
    Client(#[from] reqwest::Error),
    /// The exporter cannot be built.
    #[error("no exporter to the collector: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// No thread could be started.
    #[error("no thread for the collector: {0}")]
    Thread(#[from] io::Error),
}

/// The exporter to the collector at `url`, which is verified with the system's certificates and those in `ca_file`.
/// `OTEL_EXPORTER_OTLP_HEADERS` adds request fields, such as an API key; their values are never logged.
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
    // The blocking client brings its own runtime, and must not be built inside another one.
    let thread = thread::Builder::new().name("collector".to_owned());
    let made = thread.spawn(move || builder.build())?.join();
    Ok(made.map_err(|_| io::Error::other("the thread that made its client panicked"))??)
}
