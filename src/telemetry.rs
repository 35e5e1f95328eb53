//! Logging: one line per event, as text for people or JSON for machines.

use std::{backtrace::Backtrace, io, panic, sync::OnceLock, time::Duration};

use actix_web::{
    HttpMessage as _,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use serde::{Deserialize, Serialize};
use tracing::Span;
use tracing_actix_web::{RequestId, RootSpanBuilder};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::ParseError, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use crate::{
    path::{client::Client, headers},
    reloadable::reloadable,
};

mod fields;
mod lines;

use fields::Fields;
use lines::Lines;

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `pretty` or `json`.
    pub format: Format,
    /// Filter: a level, or directives like `info,fileproxy=debug`.
    pub filter: String,
    /// Whether each request writes an access line.
    pub access: bool,
    /// Whether that line contains User-Agent, Referer and the HTTP version.
    pub access_details: bool,
}

reloadable!(Settings {
    format: AfterRestart,
    filter: AtOnce,
    access: NextRequest,
    access_details: NextRequest,
});

/// The format of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Format {
    /// Text for people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// A string that is not a format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a format: give pretty or json")]
pub struct NotAFormat(String);

impl TryFrom<String> for Format {
    type Error = NotAFormat;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "pretty" => Ok(Format::Pretty),
            "json" => Ok(Format::Json),
            _ => Err(NotAFormat(word)),
        }
    }
}

impl Settings {
    /// The filter, without messages of libraries: their errors about clients that left are not errors here.
    ///
    /// # Errors
    ///
    /// An invalid directive.
    pub fn filter(&self) -> Result<EnvFilter, ParseError> {
        let quiet = "actix_http=off,actix_server=warn,hickory_net=error,hickory_resolver=error";
        EnvFilter::builder().parse(format!("{quiet},{}", self.filter))
    }
}

/// Writes events to standard error from now on, by a separate thread that nothing waits for. Panics are logged too. A second call
/// has no effect.
///
/// # Errors
///
/// The filter is invalid.
pub fn start(settings: &Settings) -> Result<(), ParseError> {
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let (filter, handle) = reload::Layer::new(settings.filter()?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| lines().clone())
        // Otherwise it would print to standard error itself, and wait for its reader.
        .log_internal_errors(false)
        .with_ansi(colours);
    let lines = match settings.format {
        Format::Pretty => lines.with_target(false).fmt_fields(Fields).boxed(),
        Format::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    let events = tracing_subscriber::registry().with(filter).with(lines);
    // An existing subscriber stays: tests start many proxies in one process.
    if events.try_init().is_ok() {
        _ = FILTER.set(handle);
        // The default hook waits for the reader of standard error.
        panic::set_hook(Box::new(|panic| {
            let backtrace = Backtrace::capture();
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or_default();
            tracing::error!(thread, %panic, %backtrace, "a thread panicked");
        }));
    }
    Ok(())
}

/// The writer of this process's log lines.
fn lines() -> &'static Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    LINES.get_or_init(Lines::to_stderr)
}

/// Writes a text to standard error without waiting for its reader, for output that is not an event.
pub fn say(text: &str) {
    lines().push(format!("{text}\n").as_bytes());
}

/// Waits until everything is written, at most for `limit`; the rest is lost when the process ends.
pub fn flush(limit: Duration) {
    _ = lines().flush(limit);
}

/// The filter in force.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Replaces the filter. Checked settings have a valid one.
pub fn refilter(settings: &Settings) {
    if let (Some(filter), Ok(new)) = (FILTER.get(), settings.filter()) {
        _ = filter.reload(new);
    }
}

/// The span of a request, with its id: the client's own, or the one made here.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        if let Some(client) = request.conn_data::<std::rc::Rc<Client>>() {
            client.begin();
        }
        match headers::request_id(request.headers()) {
            Some(id) => {
                tracing::debug_span!("request", request_id = id.to_str().unwrap_or_default())
            }
            None => {
                let id = request.extensions().get::<RequestId>().copied();
                tracing::debug_span!("request", request_id = id.map(tracing::field::display))
            }
        }
    }

    fn on_request_end<B: MessageBody>(_: Span, _: &Result<ServiceResponse<B>, actix_web::Error>) {
        // The access line reports it, once the body is sent too.
    }
}
