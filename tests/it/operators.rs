//! The operators' endpoints, byte for byte where it matters.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    eventually,
    instance::{Instance, TOKEN},
};

/// Sends bytes, and gives status, head and body of the answer.
async fn raw(instance: &Instance, request: impl Into<Vec<u8>>) -> (u16, String, Value) {
    let address = instance.url.strip_prefix("http://").unwrap().to_owned();
    let request = request.into();
    let answer = actix_rt::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(&request).unwrap();
        let mut answer = Vec::new();
        // a reset after the answer is as good an end as any
        _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    })
    .await
    .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()));
    (status, head.to_lowercase(), body)
}

async fn ask(instance: &Instance, method: &str, path: &str) -> (u16, String, Value) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    raw(instance, request).await
}

async fn post(instance: &Instance, headers: &str, body: &str) -> (u16, String, Value) {
    let length = body.len();
    let request = format!(
        "POST /admin/optimization HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         Authorization: Bearer {TOKEN}\r\n{headers}\r\n{body}"
    );
    raw(instance, request).await
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[actix_rt::test]
async fn health_has_the_fields_of_the_contract() {
    let instance = Instance::start();
    let (status, head, health) = ask(&instance, "GET", "/health").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    assert_eq!(health["status"], "healthy");
    for key in ["reason", "certificate"] {
        assert_eq!(health.get(key), Some(&json!(null)), "{key}");
    }
    for key in ["timestamp", "version"] {
        assert!(health[key].is_string(), "{key}");
    }
    assert!(health["uptime_seconds"].is_u64());
    assert_eq!(
        health["redis"],
        json!({"status": "disabled", "latency_ms": null, "pool": {"size": 150, "in_use": 0}})
    );
    assert_eq!(health["http_client"], json!({"status": "healthy"}));
    assert_eq!(
        health["origins"],
        json!([{"name": "default", "url": "http://127.0.0.1:9", "status": "unknown", "quality": null}])
    );
    assert_eq!(
        keys(&health["actors"]),
        [
            "metrics_window",
            "quality_classifier",
            "rate_limiter",
            "redis_pool",
            "tuner"
        ]
    );
    assert_eq!(
        health["actors"]["tuner"],
        json!({"status": "running", "restarts": 0})
    );
    assert_eq!(
        health["performance_optimization"],
        json!({
            "uvloop_enabled": false,
            "event_loop": "tokio",
            "optimizer_enabled": true,
            "optimization_level": "high",
        })
    );
    let config = &health["config"];
    assert_eq!(config["keep_alive"], "1m");
    assert_eq!(config["keep_alive_seconds"], 60);
    assert_eq!(config["buffer"], "128KiB");
    assert_eq!(config["buffer_bytes"], 131_072);
    assert_eq!(config["connections_per_host"], 50);
    instance.stop().await;
}

#[actix_rt::test]
async fn a_draining_process_is_not_healthy_and_not_ready_but_alive() {
    let instance = Instance::start();
    assert_eq!(
        instance.get("/health/ready").await,
        (200, json!({"status": "ready"}))
    );
    instance.published.drain();
    let (status, health) = instance.get("/health").await;
    assert_eq!((status, &health["status"]), (503, &"draining".into()));
    assert_eq!(instance.get("/health/ready").await.0, 503);
    assert_eq!(instance.get("/health/live").await.0, 200);
    instance.stop().await;
}

#[actix_rt::test]
async fn stats_has_the_strings_that_existing_scripts_read_and_the_numbers_beside_them() {
    let instance = Instance::start();
    let (status, _, stats) = ask(&instance, "GET", "/stats").await;
    assert_eq!(status, 200);
    let optimizer = &stats["performance_optimizer"];
    assert_eq!(optimizer["current_rate_limit"], json!(1000));
    assert_eq!(optimizer["optimization_level"], "high");
    let metrics = &optimizer["metrics"];
    assert_eq!(metrics["error_rate"], "0.00%");
    for key in [
        "avg_response_time_ms",
        "min_response_time_ms",
        "max_response_time_ms",
        "p50_response_time_ms",
        "p95_response_time_ms",
        "p99_response_time_ms",
        "throughput_mbps",
    ] {
        assert_eq!(metrics[key], "0.00", "{key}");
        assert!(stats["window"][key].is_number(), "{key}");
    }
    for key in ["total_requests", "error_count", "total_bytes_transferred"] {
        assert_eq!(metrics[key], 0, "{key}");
        assert_eq!(stats["window"][key], 0, "{key}");
    }
    assert_eq!(metrics["uvloop_enabled"], false);
    for key in [
        "network_quality",
        "rate_limiter",
        "origin_pool",
        "workers",
        "redis",
    ] {
        assert!(stats[key].is_object(), "{key}");
    }
    assert_eq!(stats["rate_limiter"]["burst"], 100);
    assert_eq!(stats["rate_limiter"]["rejected"], 0);
    assert_eq!(stats["retunes"], json!([]));
    instance.stop().await;
}

#[actix_rt::test]
async fn a_new_level_answers_with_the_tuning_before_and_after_and_is_in_force_at_once() {
    let instance = Instance::start();
    let (status, change) = instance.set_level("low").await;
    assert_eq!(status, 200);
    assert_eq!(change["before"]["optimization_level"], "high");
    assert_eq!(change["after"]["optimization_level"], "low");
    assert_eq!(change["after"]["connections"], 100);
    assert_eq!(instance.published.origin().tuning.load().connections, 100);

    let (_, _, shown) = ask(&instance, "GET", "/admin/optimization").await;
    assert_eq!(shown["level"], "low");
    let stats = instance.stats().await;
    assert_eq!(stats["retunes"][0]["what"], "level");
    assert_eq!(stats["retunes"][0]["why"], "set by the admin endpoint");

    // the same again changes nothing
    assert_eq!(instance.set_level("low").await.0, 200);
    assert_eq!(
        instance.stats().await["retunes"].as_array().unwrap().len(),
        1
    );
    instance.stop().await;
}

#[actix_rt::test]
async fn a_bad_body_gets_400_with_what_is_allowed_and_changes_nothing() {
    let instance = Instance::start();
    for body in [
        "",
        "low",
        "{}",
        "null",
        "[]",
        r#" ["low"]"#,
        r#"["low", 100]"#,
        r#"{"level": 1}"#,
        r#"{"level": "LOW"}"#,
        r#"{"level": "ultra"}"#,
        r#"{"level": "low", "more": 1}"#,
        r#"{"level": "low"} and more"#,
        "{\"level\": \"\u{0}\"}",
    ] {
        let (status, head, problem) = post(&instance, "", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        assert_eq!(problem["status"], 400);
        assert_eq!(problem["title"], "Bad Request");
        assert_eq!(problem["instance"], "/admin/optimization");
        let detail = problem["detail"].as_str().unwrap();
        for level in ["low", "medium", "high"] {
            assert!(
                detail.contains(&format!(r#"{{"level": "{level}"}}"#)),
                "{detail}"
            );
        }
    }
    assert_eq!(instance.level().await, "high");
    instance.stop().await;
}

#[actix_rt::test]
async fn the_body_is_json_whatever_its_content_type_says() {
    let instance = Instance::start();
    for (kind, level) in [
        ("text/plain", "low"),
        ("application/x-www-form-urlencoded", "medium"),
    ] {
        let header = format!("Content-Type: {kind}\r\n");
        let (status, _, _) = post(&instance, &header, &format!(r#"{{"level":"{level}"}}"#)).await;
        assert_eq!(status, 200);
        assert_eq!(instance.level().await, level);
    }
    instance.stop().await;
}

#[actix_rt::test]
async fn a_body_over_4_kib_gets_413_without_being_read_to_its_end() {
    let instance = Instance::start();
    let request = format!(
        "POST /admin/optimization HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\
         Authorization: Bearer {TOKEN}\r\n\r\n{}",
        " ".repeat(10_000)
    );
    let (status, _, problem) = raw(&instance, request).await;
    assert_eq!((status, &problem["status"]), (413, &413.into()));
    instance.stop().await;
}

#[actix_rt::test]
async fn without_the_right_token_401_says_how_and_nothing_changes() {
    let instance = Instance::start();
    for authorization in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer the-admin-toke\r\n",
        "Authorization: Bearer the-admin-token2\r\n",
        "Authorization: Basic the-admin-token\r\n",
        "Authorization: the-admin-token\r\n",
    ] {
        let body = r#"{"level": "low"}"#;
        let request = format!(
            "POST /admin/optimization HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\
             {authorization}\r\n{body}",
            body.len()
        );
        let (status, head, problem) = raw(&instance, request).await;
        assert_eq!(status, 401, "{authorization}");
        assert!(head.contains("www-authenticate: bearer realm="), "{head}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        assert_eq!(problem["status"], 401);
    }
    assert_eq!(instance.level().await, "high");
    let scheme = "Authorization: bEaReR the-admin-token\r\n";
    let request = format!(
        "POST /admin/optimization HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 15\r\n{scheme}\r\n\
         {{\"level\":\"low\"}}"
    );
    assert_eq!(
        raw(&instance, request).await.0,
        200,
        "the scheme's case does not matter"
    );
    instance.stop().await;
}

#[actix_rt::test]
async fn wrong_tokens_are_answered_ever_more_slowly_and_a_right_one_at_once() {
    let instance = Instance::start();
    let wrong = || {
        let request = "POST /admin/optimization HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                       Authorization: Bearer wrong\r\nContent-Length: 0\r\n\r\n";
        raw(&instance, request)
    };
    let (status, head, problem) = eventually("an address has too many", || async {
        let began = Instant::now();
        let answer = wrong().await;
        assert!([401, 429].contains(&answer.0));
        (answer.0 == 429).then(|| {
            assert!(
                began.elapsed() >= Duration::from_secs(1),
                "it was not held back"
            );
            answer
        })
    })
    .await;
    assert_eq!((status, &problem["status"]), (429, &429.into()));
    assert!(head.contains("retry-after: "), "{head}");
    // As many at once as are held back, and some more: nobody is shut out by them.
    let flood: Vec<_> = (0..300).map(|_| wrong()).collect();
    let flood = futures_util::future::join_all(flood);
    let right = async { instance.set_level("medium").await.0 };
    let (answers, right) = futures_util::future::join(flood, right).await;
    assert_eq!(right, 200);
    assert!(
        answers
            .iter()
            .all(|(status, ..)| [401, 429].contains(status))
    );
    assert_eq!(instance.level().await, "medium");
    instance.stop().await;
}

#[actix_rt::test]
async fn a_wrong_method_gets_405_with_what_is_allowed() {
    let instance = Instance::start();
    for (method, path, allowed) in [
        ("POST", "/health", "get, head"),
        ("DELETE", "/health/live", "get, head"),
        ("PUT", "/health/ready", "get, head"),
        ("POST", "/stats", "get, head"),
        ("OPTIONS", "/stats", "get, head"),
        ("DELETE", "/admin/optimization", "get, head, post"),
        ("BREW", "/admin/optimization", "get, head, post"),
    ] {
        let (status, head, problem) = ask(&instance, method, path).await;
        assert_eq!(status, 405, "{method} {path}");
        assert!(head.contains(&format!("allow: {allowed}")), "{head}");
        assert_eq!(problem["status"], 405);
        assert!(problem["detail"].as_str().unwrap().contains(method));
    }
    instance.stop().await;
}

#[actix_rt::test]
async fn head_answers_as_get_without_a_body() {
    let instance = Instance::start();
    for path in [
        "/health",
        "/health/live",
        "/health/ready",
        "/stats",
        "/admin/optimization",
    ] {
        let (status, head, body) = ask(&instance, "HEAD", path).await;
        assert_eq!((status, body), (200, "".into()), "{path}");
        assert!(head.contains("content-type: application/json"), "{head}");
    }
    instance.stop().await;
}

#[actix_rt::test]
async fn only_the_exact_paths_are_the_proxys_own() {
    let instance = Instance::start();
    for path in [
        "/%68ealth",
        "/health/",
        "//health",
        "/Health",
        "/health/live/",
        "/stat%73",
        "/admin/optimi%7aation",
        "/admin%2foptimization",
        "/admin",
        "/",
    ] {
        let (status, _, body) = ask(&instance, "GET", path).await;
        assert_eq!(
            (status, body),
            (200, format!("the origin's: {path}").into())
        );
    }
    // a query does not make it another path
    assert!(ask(&instance, "GET", "/health?a=b").await.2["status"].is_string());
    instance.stop().await;
}
