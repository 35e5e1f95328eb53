//! Traces: W3C trace context to the origin, spans to a collector by OTLP, the trace's id in the log.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value::Value,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::support::{
    certificate::Certificate,
    client::Client,
    origin::{Origin, response},
    program::Program,
    proxy::Proxy,
    until,
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A collector; whatever is posted to it is kept.
fn collector() -> Origin {
    Origin::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

fn before(origin: &Origin, collector: &Origin, share: f64) -> Proxy {
    let url = format!("http://{}", collector.address());
    Proxy::before(origin, |s| {
        s.traces.collector = url;
        s.traces.share = share;
    })
}

/// What the collector got so far.
fn spans(collector: &Origin) -> Vec<Span> {
    let posts = collector.requests();
    let exported = posts.iter().map(|post| {
        assert_eq!(post.target(), b"/v1/traces");
        ExportTraceServiceRequest::decode(post.body.as_slice()).unwrap()
    });
    exported
        .flat_map(|export| export.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

/// Ends the proxy, which sends what is left.
fn end(mut proxy: Proxy) {
    proxy.drain();
    proxy.until_ended();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|a| a.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

fn of_kind(spans: &[Span], kind: SpanKind) -> &Span {
    let mut found = spans.iter().filter(|span| span.kind() == kind);
    let span = found.next().unwrap();
    assert!(found.next().is_none(), "{spans:?}");
    span
}

#[test]
fn a_request_is_two_spans_and_the_origin_hears_of_the_inner_one() {
    let (origin, collector) = (Origin::saying(ANSWER), collector());
    let proxy = before(&origin, &collector, 1.0);
    assert_eq!(proxy.get("/film?token=secret").status, 200);
    end(proxy);

    let spans = spans(&collector);
    let request = of_kind(&spans, SpanKind::Server);
    let exchange = of_kind(&spans, SpanKind::Client);
    assert_eq!(request.trace_id, exchange.trace_id);
    assert_eq!(exchange.parent_span_id, request.span_id);
    assert!(request.parent_span_id.is_empty());
    assert_eq!(
        origin.last().field("traceparent").unwrap(),
        format!(
            "00-{}-{}-01",
            hex(&request.trace_id),
            hex(&exchange.span_id)
        )
    );
    assert_eq!(request.name, "GET");
    for (key, value) in [
        ("url.path", "/film"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "4"),
        ("fileproxy.outcome", "completed"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(request, key).as_deref(), Some(value), "{key}");
    }
    assert!(request.end_time_unix_nano >= exchange.end_time_unix_nano);
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn the_clients_trace_is_gone_on_with() {
    let (origin, collector) = (Origin::saying(ANSWER), collector());
    let proxy = before(&origin, &collector, 1.0);
    let mut client = proxy.client();
    client.get_with(
        "/film",
        &format!("traceparent: 00-{TRACE}-{SPAN}-00\r\ntracestate: a=b\r\n"),
    );
    let passed = origin.last();
    assert!(
        passed
            .field("traceparent")
            .unwrap()
            .starts_with(&format!("00-{TRACE}-"))
    );
    assert_eq!(passed.field("tracestate").as_deref(), Some("a=b"));
    drop(client);
    end(proxy);
    let spans = spans(&collector);
    let request = of_kind(&spans, SpanKind::Server);
    assert_eq!(hex(&request.trace_id), TRACE);
    assert_eq!(hex(&request.parent_span_id), SPAN);
}

#[test]
fn a_client_cannot_have_itself_traced_but_a_trusted_proxy_can() {
    let (origin, collector) = (Origin::saying(ANSWER), collector());
    let wish = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let proxy = before(&origin, &collector, 0.0);
    proxy.client().get_with("/film", &wish);
    assert!(origin.last().field("traceparent").unwrap().ends_with("-00"));
    end(proxy);
    assert!(spans(&collector).is_empty());

    let url = format!("http://{}", collector.address());
    let proxy = Proxy::before(&origin, |s| {
        s.traces.collector = url;
        s.traces.share = 0.0;
        s.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    proxy.client().get_with("/film", &wish);
    assert!(origin.last().field("traceparent").unwrap().ends_with("-01"));
    end(proxy);
    assert_eq!(spans(&collector).len(), 2);
}

#[test]
fn a_traceparent_that_is_none_begins_a_new_trace_without_its_state() {
    let (origin, collector) = (Origin::saying(ANSWER), collector());
    let proxy = before(&origin, &collector, 1.0);
    for bad in [
        "00-zz-1-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    ] {
        proxy.client().get_with(
            "/film",
            &format!("traceparent: {bad}\r\ntracestate: a=b\r\n"),
        );
        let passed = origin.last();
        let parent = passed.field("traceparent").unwrap();
        assert_eq!(parent.len(), 55, "{parent}");
        assert_ne!(parent, bad);
        assert_eq!(passed.field("tracestate"), None);
    }
    end(proxy);
}

#[test]
fn a_failed_exchange_is_a_span_with_an_error() {
    let collector = collector();
    let url = format!("http://{}", collector.address());
    let proxy = Proxy::before(&"http://127.0.0.1:9", |s| {
        s.traces.collector = url;
        s.traces.share = 1.0;
    });
    assert_eq!(proxy.get("/film").status, 502);
    end(proxy);
    let spans = spans(&collector);
    for kind in [SpanKind::Server, SpanKind::Client] {
        let status = of_kind(&spans, kind).status.clone().unwrap();
        assert_eq!(status.code(), StatusCode::Error);
        assert_eq!(status.message, "connect_failed");
    }
}

#[test]
fn without_a_collector_what_the_client_sent_passes_as_it_came() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    for sent in [format!("00-{TRACE}-{SPAN}-01"), "anything".to_owned()] {
        proxy.client().get_with(
            "/film",
            &format!("traceparent: {sent}\r\ntracestate: a=b\r\n"),
        );
        assert_eq!(origin.last().field("traceparent"), Some(sent));
        assert_eq!(origin.last().field("tracestate").as_deref(), Some("a=b"));
    }
    proxy.get("/film");
    assert_eq!(origin.last().field("traceparent"), None);
}

#[test]
fn a_collector_that_is_away_costs_no_request_and_does_not_hold_up_the_end() {
    let origin = Origin::saying(ANSWER);
    let mut proxy = Proxy::before(&origin, |s| {
        s.traces.collector = "http://127.0.0.1:9".to_owned();
        s.traces.share = 1.0;
    });
    for _ in 0..50 {
        assert_eq!(proxy.get("/film").status, 200);
    }
    proxy.drain();
    let took = proxy.until_ended();
    assert!(took < Duration::from_secs(15), "{took:?}");
    until("all were served", || (origin.hits() == 50).then_some(()));
}

/// A collector over TLS.
fn secure_collector(certificate: &Certificate) -> (Origin, String) {
    let server = Some(Arc::clone(&certificate.server));
    let collector = Origin::on("127.0.0.1:0", server, |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let url = format!("https://localhost:{}", collector.address().port());
    (collector, url)
}

#[test]
fn a_collector_over_tls_is_trusted_by_the_ca_file() {
    let certificate = Certificate::new();
    let (origin, (collector, url)) = (Origin::saying(ANSWER), secure_collector(&certificate));
    for ca_file in [certificate.ca_file(), PathBuf::new()] {
        let is_trusted = ca_file == certificate.ca_file();
        let proxy = Proxy::before(&origin, |s| {
            s.traces.collector = url.clone();
            s.traces.ca_file = ca_file;
            s.traces.share = 1.0;
        });
        assert_eq!(proxy.get("/film").status, 200);
        let before = collector.hits();
        end(proxy);
        assert_eq!(collector.hits() > before, is_trusted);
    }
    assert_eq!(spans(&collector).len(), 2);
}

#[test]
fn a_key_for_the_collector_reaches_it_and_is_shown_nowhere() {
    let certificate = Certificate::new();
    let (origin, (collector, url)) = (Origin::saying(ANSWER), secure_collector(&certificate));
    let settings = format!(
        "[traces]\ncollector = \"{url}\"\nca_file = \"{}\"\nshare = 1.0\n[log]\nfilter = \"debug\"\n",
        certificate.ca_file().display()
    );
    let url = format!("http://{}", origin.address());
    let mut program = Program::with(&url, &settings, |program| {
        let mut command = Command::new(program);
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret");
        command
    });
    assert_eq!(program.client().get("/film").status, 200);
    program.signal("TERM");
    assert_eq!(program.until_ended(), Some(0));
    assert_eq!(collector.last().field("api-key").as_deref(), Some("s3cret"));
    let log = format!("{:?} {:?}", program.start(), program.until_told("drained"));
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_ca_file_for_the_collector_that_is_not_there_stops_the_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
        .env("FILEPROXY__ADMIN__LOCAL", "")
        .env("FILEPROXY__TRACES__COLLECTOR", "https://localhost:9")
        .env("FILEPROXY__TRACES__CA_FILE", "no-such.pem")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("traces.ca_file no-such.pem"), "{said}");
}

#[test]
fn the_access_line_carries_the_traces_id() {
    let origin = Origin::saying(ANSWER);
    let folder = tempfile::tempdir().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .env_clear()
        .env("FILEPROXY_SETTINGS", folder.path())
        .env("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
        .env(
            "FILEPROXY__ORIGIN__URL",
            format!("http://{}", origin.address()),
        )
        .env("FILEPROXY__LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap());
    let serving = lines.find(|line| line["message"] == "serving").unwrap();
    let address = serving["listen"].as_str().unwrap().parse().unwrap();
    let traceparent = format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n");
    Client::to(address).get_with("/film", &traceparent);
    Client::to(address).get("/other");
    let mut requests = lines.filter(|line| line["target"] == "access");
    let (traced, other) = (requests.next().unwrap(), requests.next().unwrap());
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(traced["trace_id"], TRACE, "{traced}");
    assert!(other["trace_id"].is_null(), "{other}");
}

#[test]
fn a_line_about_a_body_that_broke_carries_the_ids_of_its_request() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let fields = "etag: \"one\"\r\ncontent-range: bytes 4-7/8\r\n";
            if request.field("range").is_some() {
                connection.send(response("206 Partial Content", fields, "over"));
            } else {
                connection
                    .send("HTTP/1.1 200 OK\r\netag: \"one\"\r\ncontent-length: 8\r\n\r\nmoon");
                return;
            }
        }
    });
    let program = Program::before(&format!("http://{}", origin.address()), "");
    let traced = format!("x-request-id: film-7\r\ntraceparent: 00-{TRACE}-{SPAN}-00\r\n");
    assert_eq!(
        program.client().get_with("/film", &traced).text(),
        "moonover"
    );
    let line = program.until_logged("a body broke, asking for the rest");
    assert_eq!(
        (&line["id"], &line["trace_id"]),
        (&"film-7".into(), &TRACE.into()),
        "{line}"
    );
    let line = program.until_logged("request");
    assert_eq!(
        (&line["id"], &line["trace_id"]),
        (&"film-7".into(), &TRACE.into()),
        "{line}"
    );
}
