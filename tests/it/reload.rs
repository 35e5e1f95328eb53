//! Settings read again: what can change does, under no transfer; what cannot is named; what is wrong changes nothing.

use std::time::Duration;

use bytesize::ByteSize;
use fileproxy::units::Rate;
use serde_json::{Value, json};

use crate::support::{
    client::{Ending, Response},
    origin::{Origin, ok},
    program::Program,
    proxy::Proxy,
    until,
};

/// Half a body at once, the other half when the gate opens; every other path is answered with its Host.
fn halves() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == b"/film" {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                connection.wait();
                connection.send("other");
            } else {
                connection.send(ok(request.field("host").unwrap()));
            }
        }
    })
}

fn answer(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

fn keys(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|c| c["key"].as_str().unwrap()).collect()
}

#[test]
fn what_can_change_at_once_does_and_is_told_with_both_values() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    let told = answer(&proxy.reload(|s| {
        s.levels.high.buffer = ByteSize::kib(256);
        s.classes.good.idle_read = Duration::from_secs(31);
        s.rate_limit.max = Rate::new(50.0).unwrap();
        s.quality.hold = 5;
        s.lines.look = Duration::from_millis(600);
        s.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    }));
    assert_eq!(
        keys(&told["changed"]),
        [
            "classes.good.idle_read",
            "levels.high.buffer",
            "lines.look",
            "quality.hold",
            "rate_limit.max",
            "server.trusted_proxies",
        ]
    );
    assert_eq!(told["needs_restart"], json!([]));
    assert_eq!(
        told["changed"][1],
        json!({"key": "levels.high.buffer", "before": "128KiB", "after": "256KiB"})
    );
    let config = &proxy.json("/health")["config"];
    assert_eq!(config["buffer"], "256KiB");
    assert_eq!(config["idle_read"], "31s");
    assert_eq!(proxy.stats()["rate_limiter"]["rate_per_second"], 50.0);

    let said = "x-forwarded-for: 192.0.2.1\r\n";
    proxy.client().get_with("/a", said);
    assert_eq!(
        origin.last().field("x-forwarded-for").as_deref(),
        Some("192.0.2.1, 127.0.0.1")
    );
    let again = answer(&proxy.reload(|_| {}));
    assert_eq!(again, json!({"changed": [], "needs_restart": []}));
}

#[test]
fn a_transfer_under_way_is_not_cut_whatever_changes() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    let mut film = proxy.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();
    assert_eq!(film.exactly(5), b"first");
    assert_eq!(proxy.get("/a").text(), origin.address().to_string());

    answer(&proxy.reload(|s| {
        s.origin.host = fileproxy::path::origin::settings::HostHeader::Fixed("files".into());
        s.origin.max_head = ByteSize::kib(32);
        s.transfers.parallel_width = 3;
        s.tcp.keepalive_time = Duration::from_secs(61);
        s.levels.high.connections_per_host = 1;
        s.server.send_timeout = Duration::from_secs(61);
    }));
    // In force for the next request, and the transfer still counts as one of the origin's connections.
    assert_eq!(proxy.stats()["origin_pool"]["in_use"], 1);
    origin.open_gate();
    assert_eq!(
        film.exactly(5),
        b"other",
        "{}",
        String::from_utf8_lossy(&head)
    );
    assert_eq!(film.get("/a").text(), "files");
}

#[test]
fn what_needs_a_restart_is_named_each_time_and_stays_as_it_was() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    for _ in 0..2 {
        let told = answer(&proxy.reload(|s| {
            s.server.listen = "127.0.0.1:1".parse().unwrap();
            s.server.workers = 1;
            s.origin.url = "http://127.0.0.1:9".parse().unwrap();
            s.metrics.window = Duration::from_secs(50);
        }));
        assert_eq!(told["changed"], json!([]));
        assert_eq!(
            keys(&told["needs_restart"]),
            [
                "metrics.window",
                "origin.url",
                "server.listen",
                "server.workers"
            ]
        );
        assert_eq!(
            told["needs_restart"][1]["before"],
            format!("http://{}", origin.address())
        );
    }
    assert_eq!(proxy.get("/a").text(), origin.address().to_string());
}

#[test]
fn wrong_settings_change_nothing_and_say_why() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    let refused = proxy.reload(|s| {
        s.levels.high.buffer = ByteSize::kib(256);
        s.rate_limit.min = Rate::new(5000.0).unwrap();
    });
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.problem()["detail"],
        "nothing was changed: rate_limit.min must be at most rate_limit.max (1000), but is 5000"
    );
    assert_eq!(proxy.json("/health")["config"]["buffer"], "128KiB");
    // Once they are right again, all of it is taken.
    let told = answer(&proxy.reload(|s| s.rate_limit.min = Rate::new(20.0).unwrap()));
    assert_eq!(
        keys(&told["changed"]),
        ["levels.high.buffer", "rate_limit.min"]
    );
}

#[test]
fn certificates_for_the_origin_that_cannot_be_read_change_nothing_and_say_why() {
    let proxy = Proxy::before(&"https://127.0.0.1:9", |_| {});
    let refused = proxy.reload(|s| {
        s.levels.high.buffer = ByteSize::kib(256);
        s.origin.tls.ca_file = "/nowhere/ca.pem".into();
    });
    assert_eq!(refused.status, 422);
    let detail = refused.problem()["detail"].to_string();
    assert!(
        detail.contains("origin.tls.ca_file /nowhere/ca.pem"),
        "{detail}"
    );
    assert_eq!(proxy.json("/health")["config"]["buffer"], "128KiB");
}

#[test]
fn another_token_is_in_force_at_once_and_never_shown() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    assert_eq!(proxy.reload_by("wrong").status, 401);
    let response = proxy.reload(|s| s.admin.token = "another-token".into());
    assert_eq!(keys(&answer(&response)["changed"]), ["admin.token"]);
    assert!(!response.text().contains("another"), "{response:?}");
    assert_eq!(proxy.reload_by(crate::support::proxy::TOKEN).status, 401);
    assert_eq!(proxy.reload_by("another-token").status, 200);
}

#[test]
fn only_a_post_reloads() {
    let origin = halves();
    let proxy = Proxy::before(&origin, |_| {});
    let response = proxy.get("/admin/reload");
    assert_eq!(response.status, 405);
    assert_eq!(response.field("allow").as_deref(), Some("POST"));
}

#[test]
fn sighup_reads_the_files_again_and_the_log_says_who_did_what() {
    let origin = halves();
    let program = Program::before(&format!("http://{}", origin.address()), "");
    let mut film = program.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();

    program.write("[levels.high]\nbuffer = \"256KiB\"\n[server]\nworkers = 7\n");
    program.signal("HUP");
    let line = program.until_logged("admin: setting changed");
    assert_eq!(line["who"], "SIGHUP");
    assert_eq!(line["key"], "levels.high.buffer");
    assert_eq!(
        (&line["before"], &line["after"]),
        (&json!("\"128KiB\""), &json!("\"256KiB\""))
    );
    let line = program.until_logged("admin: this setting needs a restart");
    assert_eq!(line["key"], "server.workers");
    program.until_logged("admin: settings read again");

    program.write("[levels.high]\nbuffer = \"lots\"\n");
    program.signal("HUP");
    let line = program.until_logged("admin: the settings cannot be taken");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("nothing was changed: levels.high.buffer"),
        "{line}"
    );

    // A file that cannot be read is not one that is gone.
    program.hide();
    program.signal("HUP");
    let line = program.until_logged("admin: the settings cannot be taken");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("local.toml cannot be read"), "{line}");

    origin.open_gate();
    let (body, ending) = film.body(&head);
    assert_eq!((&body[..], ending), (&b"firstother"[..], Ending::Whole));
}

#[test]
fn an_admin_action_is_logged_with_who_before_and_after_and_one_turned_away_too() {
    let origin = halves();
    let program = Program::before(&format!("http://{}", origin.address()), "");
    let post = |token: &str| {
        let mut client = program.client();
        client.send(format!(
            "POST /admin/optimization HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-length: 16\r\n\r\n{{\"level\": \"low\"}}"
        ));
        client.response().status
    };
    assert_eq!(post("guessed"), 401);
    let line = program.until_logged("admin: turned away");
    assert_eq!(
        (&line["who"], &line["why"]),
        (&json!("127.0.0.1"), &json!("the token is wrong"))
    );
    assert_eq!(post(Program::TOKEN), 200);
    let line = program.until_logged("admin: optimization level set");
    assert_eq!(line["who"], "127.0.0.1");
    assert_eq!(
        (&line["before"], &line["after"]),
        (&json!("high"), &json!("low"))
    );
    until("the log filter changes", || {
        program.write("[log]\nfilter = \"error\"\n");
        program.signal("HUP");
        let before = program.logged();
        post("guessed");
        (program.logged() == before).then_some(())
    });
}
