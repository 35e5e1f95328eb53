//! /metrics as Prometheus reads it, and what comes with it for Prometheus and Grafana.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use fileproxy::{actors::redis_pool, traffic::sample::Outcome};

use crate::support::{
    certificate::Certificate, origin::Origin, proxy::Proxy, redis_server::RedisServer, until,
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";

/// What Prometheus' own checker says of a text; empty if all is well.
fn promtool(arguments: &[&str], text: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of the Debian package prometheus");
    let mut input = tool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() || !said.is_empty(),
        "promtool failed and said nothing"
    );
    said
}

/// The samples by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn settings(name: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("settings")
        .join(name);
    fs::read_to_string(file).unwrap()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    assert_eq!(proxy.get("/film").status, 200);
    let response = proxy.get("/metrics");
    assert_eq!(response.status, 200);
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    assert_eq!(promtool(&["check", "metrics"], &response.text()), "");
    // it would find something
    assert_ne!(
        promtool(&["check", "metrics"], "# TYPE a counter\na 1\n"),
        ""
    );
    assert_ne!(promtool(&["check", "metrics"], "a{b=} 1\n"), "");
}

#[test]
fn the_metrics_say_what_stats_says() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    for _ in 0..3 {
        assert_eq!(proxy.get("/film").status, 200);
    }
    proxy.until_outcomes(Outcome::Completed, 3);
    let (stats, metrics) = (proxy.stats(), samples(&proxy.get("/metrics").text()));
    assert_eq!(
        metrics[r#"fileproxy_requests_total{outcome="completed"}"#],
        3.0
    );
    assert_eq!(metrics["fileproxy_request_duration_seconds_count"], 3.0);
    assert_eq!(
        metrics[r#"fileproxy_request_duration_seconds_bucket{le="+Inf"}"#],
        3.0
    );
    assert_eq!(metrics["fileproxy_response_size_bytes_sum"], 12.0);
    assert_eq!(
        metrics[r#"fileproxy_response_size_bytes_bucket{le="1024"}"#],
        3.0
    );
    assert_eq!(metrics["fileproxy_sent_bytes_total"], 12.0);
    assert_eq!(stats["workers"]["sent_bytes"], 12);
    assert_eq!(
        metrics[r#"fileproxy_rate_limit_requests_per_second{origin="default"}"#],
        1000.0
    );
    assert_eq!(
        metrics[r#"fileproxy_rate_limit_admitted_total{origin="default"}"#],
        3.0
    );
    assert_eq!(
        metrics[r#"fileproxy_origin_exchanges_limit{origin="default"}"#],
        200.0
    );
    assert_eq!(
        metrics[r#"fileproxy_optimization_level{level="high"}"#],
        1.0
    );
    assert_eq!(metrics[r#"fileproxy_actor_up{actor="tuner"}"#], 1.0);
    assert!(metrics["process_resident_memory_bytes"] > 1e6);
    assert!(metrics["process_start_time_seconds"] > 1.7e9);
}

#[test]
fn what_clients_send_makes_no_label() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let before = samples(&proxy.get("/metrics").text());
    for n in 0..50 {
        let mut client = proxy.client();
        client.send(format!(
            "GET /film-{n} HTTP/1.1\r\nhost: h{n}\r\nuser-agent: \"}} {n}\r\n\r\n"
        ));
        assert_eq!(client.response().status, 200);
    }
    proxy.until_outcomes(Outcome::Completed, 50);
    let after = samples(&proxy.get("/metrics").text());
    let line = |name: &&String| !name.starts_with("fileproxy_origin_line_loss");
    assert_eq!(
        before.keys().filter(line).collect::<Vec<_>>(),
        after.keys().filter(line).collect::<Vec<_>>()
    );
}

#[test]
fn a_scrape_during_a_retune_sees_one_level_and_is_whole() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let mut client = proxy.client();
            until("both levels are seen", || {
                let text = client.get("/metrics").text();
                let metrics = samples(&text);
                let on: Vec<_> = metrics
                    .iter()
                    .filter(|(name, value)| {
                        name.starts_with("fileproxy_optimization_level") && **value == 1.0
                    })
                    .map(|(name, _)| name.clone())
                    .collect();
                assert_eq!(on.len(), 1, "{text}");
                assert!(metrics.contains_key(r#"fileproxy_actor_up{actor="tuner"}"#));
                seen.extend(on);
                (seen.len() == 3).then_some(())
            });
        });
        for level in ["low", "medium", "high"].iter().cycle() {
            proxy.set_level(level);
            if scraper.is_finished() {
                break;
            }
        }
    });
}

#[test]
fn the_example_for_prometheus_is_valid() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("settings/prometheus.yml");
    assert_eq!(
        promtool(&["check", "config", file.to_str().unwrap()], ""),
        ""
    );
}

/// The names of all samples.
fn names(proxy: &Proxy) -> BTreeSet<String> {
    samples(&proxy.get("/metrics").text())
        .into_keys()
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect()
}

/// A proxy all of whose metrics are there: with a certificate, and with Redis.
fn with_everything(origin: &Origin) -> (Proxy, Certificate, RedisServer) {
    let certificate = Certificate::new();
    let redis = actix_rt::System::new().block_on(RedisServer::start());
    let proxy = Proxy::before(origin, |settings| {
        certificate.show(settings);
        settings.redis.url = redis_pool::Target::parse(&redis.url()).unwrap();
        settings.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    (proxy, certificate, redis)
}

#[test]
fn responses_are_counted_by_the_class_of_their_status() {
    let origin = Origin::answering(|request| match request.target().as_slice() {
        b"/gone" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
        b"/moved" => "HTTP/1.1 301 Moved Permanently\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        b"/cut" => "no HTTP at all\r\n\r\n",
        _ => ANSWER,
    });
    let proxy = Proxy::before(&origin, |_| {});
    for (target, status) in [
        ("/film", 200),
        ("/film", 200),
        ("/gone", 404),
        ("/moved", 301),
        ("/cut", 502),
    ] {
        assert_eq!(proxy.get(target).status, status);
    }
    // It never becomes a request.
    let mut client = proxy.client();
    client.send("no HTTP at all\r\n\r\n");
    assert_eq!(client.response().status, 400);
    let counted = |class: &str| format!("fileproxy_responses_total{{class=\"{class}\"}}");
    until("all are counted", || {
        let metrics = samples(&proxy.get("/metrics").text());
        let counts = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| metrics[&counted(class)]);
        (counts == [0.0, 2.0, 1.0, 2.0, 1.0]).then_some(())
    });
}

#[test]
fn every_alert_is_valid_asks_for_metrics_that_there_are_and_is_explained() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("settings/alerts.yml");
    assert_eq!(
        promtool(&["check", "rules", file.to_str().unwrap()], ""),
        ""
    );
    let origin = Origin::saying(ANSWER);
    let (proxy, _certificate, _redis) = with_everything(&origin);
    let there = of_operators(&proxy);
    let (rules, explained) = (settings("alerts.yml"), settings("../docs/alerts.md"));
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<_> = words
        .filter(|word| word.starts_with("fileproxy_") || word.starts_with("process_"))
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        assert!(there.contains_key(name), "{name} is not among the metrics");
    }
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let headings: Vec<_> = explained
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(alerts, headings);
}

/// Type and help of each metric, by name.
fn of_operators(proxy: &Proxy) -> BTreeMap<String, (String, String)> {
    let text = proxy.operator().get("/metrics").text();
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ').skip(1);
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), Some(help)) => {
                kinds.insert(name.to_owned(), (String::new(), help.to_owned()));
            }
            (Some("TYPE"), Some(name), Some(kind)) => {
                kinds.get_mut(name).unwrap().0 = kind.to_owned();
            }
            _ => {}
        }
    }
    kinds
}

#[test]
fn the_reference_of_metrics_is_what_the_program_says() {
    let origin = Origin::saying(ANSWER);
    let (proxy, _certificate, _redis) = with_everything(&origin);
    let text = proxy.operator().get("/metrics").text();
    let mut page = String::from(
        "# Every metric\n\nWhat `/metrics` has, made by `UPDATE_DOCS=1 cargo test --test it metrics`. Some are there only where \
         there is something\nto tell: with a certificate, with Redis.\n\n| metric | type | labels | |\n|---|---|---|---|\n",
    );
    for (name, (kind, help)) in of_operators(&proxy) {
        let mut labels = BTreeSet::new();
        for line in text
            .lines()
            .filter(|line| line.starts_with(&format!("{name}{{")))
        {
            let inside = &line[name.len() + 1..line.rfind('}').unwrap()];
            labels.extend(
                inside
                    .split("\",")
                    .map(|label| label.split('=').next().unwrap()),
            );
        }
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        page.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/metrics-reference.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/metrics-reference.md is not what /metrics says: UPDATE_DOCS=1 cargo test --test it metrics"
    );
}

#[test]
fn the_example_dashboard_asks_for_metrics_that_there_are() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let there = names(&proxy);
    let dashboard: serde_json::Value =
        serde_json::from_str(&settings("grafana-dashboard.json")).unwrap();
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            for name in
                words.filter(|word| word.starts_with("fileproxy_") || word.starts_with("process_"))
            {
                assert!(
                    there.contains(name) || name.contains("redis"),
                    "{name} is not among the metrics: {expression}"
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 20, "{asked}");
}
