//! `POST /admin/store/purge` and `GET /admin/store`: what is taken out of the store, and what it knows.

use std::path::Path;

use fileproxy::{actors::redis_pool::Target, settings::Settings};
use serde_json::{Value, json};

use super::support::{
    client::Response,
    origin::{Origin, response},
    proxy::{Proxy, TOKEN},
    redis_server::RedisServer,
    until,
};

/// An origin whose responses are kept for a minute, each with two tags: `news`, and its path without the slash.
fn origin() -> Origin {
    Origin::answering(|request| {
        let path = String::from_utf8(request.target()).unwrap();
        let lines = format!(
            "etag: \"v1\"\r\ncache-control: max-age=60\r\nsurrogate-key: news {}\r\n",
            &path[1..]
        );
        if request.field("if-none-match").is_some() {
            return format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n").into_bytes();
        }
        response("200 OK", &lines, path.repeat(10))
    })
}

fn kept(settings: &mut Settings) {
    settings.levels.high.store = true;
}

/// One GET of `http://files.example` and this path.
fn get(proxy: &Proxy, path: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!(
        "GET {path} HTTP/1.1\r\nhost: files.example\r\n\r\n"
    ));
    client.response()
}

fn post_by(proxy: &Proxy, token: &str, body: &str) -> Response {
    let mut client = proxy.operator();
    client.send(format!(
        "POST /admin/store/purge HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.response()
}

fn purge(proxy: &Proxy, body: &Value) -> Value {
    let response = post_by(proxy, TOKEN, &body.to_string());
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

fn known(proxy: &Proxy, url: &str) -> Value {
    let mut client = proxy.operator();
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    let response = client.get_with(&format!("/admin/store?url={url}"), &token);
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

fn is_hit(response: &Response) -> bool {
    let status = response.field("cache-status").unwrap_or_default();
    status.starts_with("fileproxy; hit")
}

#[test]
fn what_is_purged_is_asked_for_anew_and_nothing_else_is() {
    let origin = origin();
    let proxy = Proxy::before(&origin, kept);
    for (meant, paths, stay) in [
        (
            json!({"url": "http://FILES.example:80/a"}),
            vec!["/a"],
            vec!["/a/b", "/ab"],
        ),
        (
            json!({"prefix": "http://files.example/a/"}),
            vec!["/a/b"],
            vec!["/a", "/ab"],
        ),
        (
            json!({"tags": ["ab", "none"]}),
            vec!["/ab"],
            vec!["/a", "/a/b"],
        ),
        (json!({"tags": ["news"]}), vec!["/a", "/ab"], vec![]),
        (json!({"all": true}), vec!["/a", "/a/b"], vec![]),
    ] {
        for path in paths.iter().chain(&stay) {
            get(&proxy, path);
            assert!(is_hit(&get(&proxy, path)), "{path}");
        }
        let found = purge(&proxy, &meant);
        assert!(
            found["memory"]["objects"].as_u64().unwrap() >= paths.len() as u64,
            "{found}"
        );
        assert_eq!(found["disk"], Value::Null);
        for path in &stay {
            assert!(is_hit(&get(&proxy, path)), "{meant} leaves {path}");
        }
        for path in &paths {
            assert!(!is_hit(&get(&proxy, path)), "{meant} takes {path}");
        }
    }
}

#[test]
fn a_soft_purge_has_it_validated_and_leaves_it_for_an_outage() {
    let origin = origin();
    let proxy = Proxy::before(&origin, kept);
    let before = get(&proxy, "/a");
    assert_eq!(
        purge(&proxy, &json!({"all": true, "soft": true}))["soft"],
        true
    );
    let known = known(&proxy, "http://files.example/a");
    assert!(
        known["variants"][0]["ttl_s"].as_i64().unwrap() <= 0,
        "{known}"
    );
    let after = get(&proxy, "/a");
    assert_eq!(after.body, before.body);
    assert!(
        origin.last().field("if-none-match").is_some(),
        "it is validated"
    );
}

#[test]
fn a_purge_holds_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let on_disk = |settings: &mut Settings| {
        kept(settings);
        settings.store.directory = folder.path().join("store");
    };
    let origin = origin();
    let mut proxy = Proxy::before(&origin, on_disk);
    get(&proxy, "/a");
    get(&proxy, "/ab");
    let found = purge(&proxy, &json!({"url": "http://files.example/a"}));
    assert!(found["disk"]["objects"].is_u64(), "{found}");
    proxy.drain();
    proxy.until_ended();
    let proxy = Proxy::before(&origin, on_disk);
    super::support::until("the other one is found", || {
        is_hit(&get(&proxy, "/ab")).then_some(())
    });
    assert!(!is_hit(&get(&proxy, "/a")));
}

#[test]
fn what_is_known_of_a_url_is_told() {
    let origin = origin();
    let proxy = Proxy::before(&origin, kept);
    let nothing = known(&proxy, "http://files.example/a");
    assert_eq!(nothing["variants"], json!([]));
    assert!(nothing["not_stored_because"].is_string());
    get(&proxy, "/a");
    get(&proxy, "/a");
    let known = known(&proxy, "http://files.example/a");
    let variant = &known["variants"][0];
    assert_eq!(known["not_stored_because"], Value::Null);
    assert_eq!(
        (&variant["status"], &variant["version"]),
        (&json!(200), &json!("\"v1\""))
    );
    assert_eq!(
        (&variant["bytes"], &variant["whole"]),
        (&json!(20), &json!(true))
    );
    assert_eq!(variant["tags"], json!(["news", "a"]));
    assert!(variant["hits"].as_u64().unwrap() >= 1, "{known}");
}

#[test]
fn a_purge_that_makes_no_sense_is_told_by_its_key_and_loses_nothing() {
    let origin = origin();
    let proxy = Proxy::before(&origin, kept);
    get(&proxy, "/a");
    for (body, word) in [
        ("", "body"),
        ("[]", "list"),
        ("{}", "none of them"),
        (
            r#"{"all": true, "url": "http://files.example/a"}"#,
            "more than one",
        ),
        (r#"{"url": "/a"}"#, "`url`"),
        (r#"{"url": "ftp://files.example/a"}"#, "`url`"),
        (r#"{"prefix": "http://"}"#, "`prefix`"),
        (r#"{"tags": "news"}"#, "body"),
        (r#"{"tags": []}"#, "`tags`"),
        (r#"{"tags": ["a b"]}"#, "`tags`"),
        (r#"{"everything": true}"#, "everything"),
    ] {
        let response = post_by(&proxy, TOKEN, body);
        assert_eq!(response.status, 400, "{body}: {response:?}");
        let detail = response.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{body}: {detail}");
    }
    assert_eq!(post_by(&proxy, "wrong", r#"{"all": true}"#).status, 401);
    assert_eq!(
        proxy
            .operator()
            .get("/admin/store?url=http://files.example/a")
            .status,
        401
    );
    assert!(is_hit(&get(&proxy, "/a")));
}

/// Two instances, or one after a restart, that share a Redis.
fn of_a_fleet(origin: &Origin, redis: &str, directory: Option<&Path>) -> Proxy {
    let proxy = Proxy::before(origin, |settings| {
        kept(settings);
        settings.redis.url = Target::parse(redis).unwrap();
        if let Some(directory) = directory {
            settings.store.directory = directory.to_owned();
        }
    });
    until("redis is connected", || {
        (proxy.json("/health")["redis"]["status"] == "connected").then_some(())
    });
    proxy
}

fn until_taken(proxy: &Proxy, purges: u64) {
    until("it hears of it", || {
        (proxy.stats()["store"]["purges_of_others"] == purges).then_some(())
    });
}

#[test]
fn a_purge_reaches_all_instances_and_those_that_were_away() {
    let redis = actix_rt::System::new().block_on(RedisServer::start());
    let origin = origin();
    let (folder, all) = (tempfile::tempdir().unwrap(), json!({"all": true}));
    let directory = folder.path().join("store");
    let one = of_a_fleet(&origin, &redis.url(), None);
    let mut other = of_a_fleet(&origin, &redis.url(), Some(&directory));
    // Each knows where the stream is before anything is in it.
    until("both follow", || {
        directory.join("purges").exists().then_some(())
    });
    for proxy in [&one, &other] {
        assert_eq!(get(proxy, "/a").status, 200);
        assert_eq!(get(proxy, "/b").status, 200);
    }
    assert_eq!(origin.hits(), 4);
    let answer = purge(&one, &json!({"url": "http://files.example/a"}));
    assert_eq!(answer["fleet"], "reached");
    until_taken(&other, 1);
    get(&other, "/a");
    get(&other, "/b");
    get(&one, "/b");
    assert_eq!(origin.hits(), 5);
    // It takes its own no second time.
    assert_eq!(one.stats()["store"]["purges_of_others"], 0);

    // On disk, and away while it is purged.
    until("all is on disk", || {
        (other.stats()["store"]["disk"]["objects"] == 2).then_some(())
    });
    other.drain();
    other.until_ended();
    assert_eq!(purge(&one, &json!({"tags": ["b"]}))["fleet"], "reached");
    let other = of_a_fleet(&origin, &redis.url(), Some(&directory));
    until_taken(&other, 1);
    let before = origin.hits();
    get(&other, "/b");
    assert_eq!(origin.hits(), before + 1);

    // What nobody knows any more may have been anything.
    assert_eq!(get(&other, "/c").status, 200);
    purge(&one, &json!({"tags": ["none"]}));
    until_taken(&other, 2);
    redis.cli(&["DEL", "fileproxy:purges"]);
    until_taken(&other, 3);
    let before = origin.hits();
    get(&other, "/c");
    assert_eq!(origin.hits(), before + 1);
    assert_eq!(purge(&other, &all)["fleet"], "reached");
}

#[test]
fn a_purge_says_where_it_does_not_reach_the_fleet() {
    let mut redis = actix_rt::System::new().block_on(RedisServer::start());
    let origin = origin();
    let alone = Proxy::before(&origin, kept);
    assert_eq!(purge(&alone, &json!({"all": true}))["fleet"], "none");
    let one = of_a_fleet(&origin, &redis.url(), None);
    get(&one, "/a");
    redis.kill();
    let answer = purge(&one, &json!({"all": true}));
    assert_eq!(
        (&answer["fleet"], &answer["memory"]["objects"]),
        (&json!("not_reached"), &json!(1))
    );
}
