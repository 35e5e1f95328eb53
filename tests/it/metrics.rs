//! /metrics as Prometheus reads it, and what comes with it for Prometheus and Grafana.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use fileproxy::traffic::sample::Outcome;

use crate::support::{origin::Origin, proxy::Proxy, until};

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
    assert_eq!(metrics["fileproxy_rate_limit_requests_per_second"], 1000.0);
    assert_eq!(metrics["fileproxy_rate_limit_admitted_total"], 3.0);
    assert_eq!(metrics["fileproxy_origin_exchanges_limit"], 200.0);
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

#[test]
fn the_example_dashboard_asks_for_metrics_that_there_are() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let there: BTreeSet<String> = samples(&proxy.get("/metrics").text())
        .into_keys()
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect();
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
