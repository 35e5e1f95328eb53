//! The description of the operators' endpoints: what they really answer fits it, errors included.

use std::path::PathBuf;

use boon::{Compiler, Schemas};
use fileproxy::traffic::sample::Outcome;
use serde_json::{Value, json};

use crate::support::{
    client::Response,
    origin::Origin,
    proxy::{Proxy, TOKEN},
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";

/// The description, read as strictly as it can be: an object has no member that is not described.
struct Description(Value);

impl Description {
    fn of(proxy: &Proxy) -> Self {
        let mut document = proxy.json("/openapi.json");
        let parts = parts_of_others(&document);
        for (name, schema) in document["components"]["schemas"].as_object_mut().unwrap() {
            if !parts.contains(name) {
                close(schema);
            }
        }
        Self(document)
    }

    /// Panics unless the answer is one that is described.
    fn admits(&self, method: &str, path: &str, response: &Response) {
        let responses = &self.0["paths"][path][method]["responses"];
        assert!(responses.is_object(), "{method} {path} is not described");
        let status = response.status.to_string();
        let status = if responses[&status].is_object() {
            status.as_str()
        } else {
            "default"
        };
        let media = response.field("content-type").unwrap();
        let media = media.split(';').next().unwrap();
        let content = &responses[status]["content"];
        assert!(
            content[media]["schema"].is_object(),
            "{method} {path} answers {status} with {media}, but is described with {content}"
        );
        if media.ends_with("json") {
            let body = serde_json::from_slice(&response.body).unwrap();
            let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
            self.validate(
                &format!(
                    "/paths/{}/{method}/responses/{status}/content/{}/schema",
                    escaped(path),
                    escaped(media)
                ),
                &body,
            );
        }
    }

    fn validate(&self, pointer: &str, body: &Value) {
        if let Err(why) = self.verdict(pointer, body) {
            panic!("{pointer}: {why}\n{body:#}");
        }
    }

    fn verdict(&self, pointer: &str, body: &Value) -> Result<(), String> {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        let url = "http://fileproxy/openapi.json";
        compiler.add_resource(url, self.0.clone()).unwrap();
        let schema = compiler
            .compile(&format!("{url}#{pointer}"), &mut schemas)
            .unwrap();
        schemas
            .validate(body, schema)
            .map_err(|error| format!("{error:#}"))
    }
}

/// Schemas that others are made of: a closed one would forbid what the others add.
fn parts_of_others(document: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    visit(document, &mut |value| {
        for part in value["allOf"].as_array().into_iter().flatten() {
            parts.extend(
                part["$ref"]
                    .as_str()
                    .map(|to| to.rsplit('/').next().unwrap().to_owned()),
            );
        }
    });
    parts
}

fn visit(value: &Value, look: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            look(value);
            members.values().for_each(|member| visit(member, look));
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, look)),
        _ => {}
    }
}

fn close(schema: &mut Value) {
    if schema["properties"].is_object() || schema["allOf"].is_array() {
        schema["unevaluatedProperties"] = false.into();
    }
}

fn ask(proxy: &Proxy, method: &str, path: &str, fields: &str, body: &str) -> Response {
    let mut client = proxy.client();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nhost: proxy\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.response()
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[test]
fn what_the_endpoints_answer_fits_their_description() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let description = Description::of(&proxy);
    assert!(
        description.0["openapi"]
            .as_str()
            .unwrap()
            .starts_with("3.1.")
    );
    // numbers other than zero, and a retune
    for _ in 0..5 {
        assert_eq!(proxy.get("/film").status, 200);
    }
    proxy.set_level("low");

    // tools name functions after them
    let mut names = Vec::new();
    visit(&description.0["paths"], &mut |value| {
        names.extend(value["operationId"].as_str().map(str::to_owned));
    });
    names.sort();
    let each = names.len();
    names.dedup();
    assert!(each > 10 && names.len() == each, "{names:?}");

    for path in fileproxy::api::PATHS {
        let operations = description.0["paths"][path].as_object();
        let operations = operations.unwrap_or_else(|| panic!("{path} is not described"));
        for method in operations.keys() {
            let response = ask(&proxy, "DELETE", path, "", "");
            assert_eq!(response.status, 405, "{path}");
            description.admits(method, path, &response);
        }
        if operations.contains_key("get") && path != "/stats/stream" {
            let query = match path {
                "/admin/store" => "?url=http://files.example/film",
                _ => "",
            };
            let response = ask(&proxy, "GET", &format!("{path}{query}"), &bearer(TOKEN), "");
            assert_eq!(response.status, 200, "{path}");
            description.admits("get", path, &response);
        }
    }
}

#[test]
fn what_the_admin_endpoint_answers_fits_its_description() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let description = Description::of(&proxy);
    let path = "/admin/optimization";
    let token = bearer(TOKEN);
    let long = " ".repeat(5000);
    for (status, fields, body) in [
        (200, token.as_str(), r#"{"level": "medium"}"#),
        (200, &token, r#"{"level": "low", "percent": 10}"#),
        (409, &token, r#"{"level": "medium", "percent": 20}"#),
        (400, &token, r#"{"level": "low", "percent": 101}"#),
        (400, &token, "{}"),
        (400, &token, r#"{"level": "turbo"}"#),
        (401, "", r#"{"level": "low"}"#),
        (401, &bearer("wrong"), r#"{"level": "low"}"#),
        (413, &token, &long),
    ] {
        let response = ask(&proxy, "POST", path, fields, body);
        assert_eq!(response.status, status, "{response:?}");
        description.admits("post", path, &response);
    }
    // with a canary under way
    for path in ["/stats", path] {
        let response = proxy.get(path);
        assert!(response.text().contains("\"candidate\":{") || path != "/stats");
        description.admits("get", path, &response);
    }
}

#[test]
fn what_a_reload_answers_fits_its_description() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let description = Description::of(&proxy);
    let path = "/admin/reload";
    let changed = proxy.reload(|s| {
        s.rate_limit.queue = 7;
        s.server.workers = 3;
    });
    assert_eq!(changed.status, 200);
    description.admits("post", path, &changed);
    let refused = proxy.reload_by("wrong");
    assert_eq!(refused.status, 401);
    description.admits("post", path, &refused);
    let wrong = proxy.reload(|s| s.rate_limit.queue = usize::MAX);
    assert_eq!(wrong.status, 422);
    description.admits("post", path, &wrong);
}

#[test]
fn what_a_draining_process_answers_fits_the_description() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let description = Description::of(&proxy);
    proxy.published().drain();
    for path in ["/health", "/health/ready", "/health/live"] {
        description.admits("get", path, &proxy.get(path));
    }
}

#[test]
fn an_answer_that_does_not_fit_is_seen() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let description = Description::of(&proxy);
    let problem = "/components/schemas/Problem";
    let good = json!({"type": "about:blank", "title": "t", "status": 503, "detail": "d"});
    assert_eq!(description.verdict(problem, &good), Ok(()));
    for (member, wrong) in [
        ("status", "503".into()),
        ("detail", Value::Null),
        ("more", 1.into()),
    ] {
        let mut bad = good.clone();
        bad[member] = wrong;
        assert!(description.verdict(problem, &bad).is_err(), "{bad}");
    }
}

#[test]
fn the_page_of_the_description_shows_every_endpoint_and_runs_nothing() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let page = proxy.get("/docs");
    let html = page.text();
    for (path, operations) in proxy.json("/openapi.json")["paths"].as_object().unwrap() {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
        assert!(!operations.as_object().unwrap().is_empty());
    }
    let index = html.split("</nav>").nth(1).unwrap();
    assert!(index.contains("href=\"#get-stats\"") && index.contains("href=\"#post-admin-reload\""));
    assert!(html.contains("curl -s -X POST -H &quot;Authorization: Bearer $TOKEN&quot;"));
    // every link within the page leads somewhere
    for link in html.split("href=\"#").skip(1) {
        let name = link.split('"').next().unwrap();
        assert!(html.contains(&format!("id=\"{name}\"")), "{name}");
    }
    assert!(
        !html.contains("<script") && !html.contains("src=\"http"),
        "{html}"
    );
    for page in [page, proxy.get("/monitor")] {
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(
            page.field("x-content-type-options").as_deref(),
            Some("nosniff")
        );
    }
    let style = proxy.get("/monitor/style.css");
    assert_eq!(style.status, 200);
    assert_eq!(
        style.field("content-type").as_deref(),
        Some("text/css; charset=utf-8")
    );
}

/// The examples of the description.
const EXAMPLES: &str = "src/api/examples.json";

/// The requests of the examples, in an order in which each has something to answer: method, path, query, body.
const ASKED: [(&str, &str, &str, &str); 14] = [
    ("GET", "/health", "", ""),
    ("GET", "/health/live", "", ""),
    ("GET", "/health/ready", "", ""),
    ("GET", "/stats", "", ""),
    ("GET", "/stats/stream", "", ""),
    ("GET", "/stats/history", "", ""),
    ("GET", "/metrics", "", ""),
    ("GET", "/admin/optimization", "", ""),
    ("POST", "/admin/optimization", "", r#"{"level":"medium"}"#),
    ("POST", "/admin/reload", "", ""),
    ("GET", "/admin/store", "?url=http://files.example/film", ""),
    (
        "POST",
        "/admin/store/purge",
        "",
        r#"{"url":"http://files.example/film"}"#,
    ),
    ("GET", "/openapi.json", "", ""),
    ("GET", "/docs", "", ""),
];

/// The examples as the running service gives them.
fn examples_now(proxy: &Proxy) -> serde_json::Map<String, Value> {
    let mut client = proxy.client();
    client.send("GET /film HTTP/1.1\r\nhost: files.example\r\n\r\n");
    assert_eq!(client.response().status, 200);
    proxy.until_outcomes(Outcome::Completed, 1);
    let mut examples = serde_json::Map::new();
    for (method, path, query, body) in ASKED {
        let answer = if path == "/stats/stream" {
            json!(
                "event: history\ndata: {\"columns\": [...], \"kept\": 900, \"rows\": [...]}\n\n\
                   event: stats\ndata: {...}\n\nevent: row\ndata: [...]\n\nevent: change\ndata: {...}\n\n"
            )
        } else {
            let target = format!("{path}{query}");
            let response = ask(proxy, method, &target, &bearer(TOKEN), body);
            assert_eq!(response.status, 200, "{method} {path}");
            let media = response.field("content-type").unwrap();
            let text = response.text();
            let begin: String = text
                .lines()
                .take(4)
                .map(|line| format!("{line}\n"))
                .collect();
            match path {
                "/openapi.json" => json!({"openapi": "3.1.0"}),
                "/docs" => json!("<!doctype html>\n"),
                _ if media.ends_with("json") => serde_json::from_str(&text).unwrap(),
                _ => json!(begin),
            }
        };
        let mut example = serde_json::Map::new();
        if !query.is_empty() {
            example.insert("query".to_owned(), query.into());
        }
        if !body.is_empty() {
            example.insert("request".to_owned(), serde_json::from_str(body).unwrap());
        }
        example.insert("response".to_owned(), answer);
        examples.insert(format!("{method} {path}"), example.into());
    }
    examples
}

/// A value with its texts, numbers and words left out: the names of its members, and which of them are objects or lists.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let shaped = members
                .iter()
                .map(|(name, value)| (name.clone(), shape(value)));
            Value::Object(shaped.collect())
        }
        Value::Array(items) => items
            .first()
            .map_or_else(|| json!([]), |item| json!([shape(item)])),
        _ => Value::Null,
    }
}

#[test]
fn each_operation_has_an_example_of_what_the_service_answers() {
    let origin = Origin::saying(
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\netag: \"v1\"\r\n\r\nfilm",
    );
    let proxy = Proxy::before(&origin, |s| s.levels.high.store = true);
    let now = examples_now(&proxy);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(EXAMPLES);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let mut text = serde_json::to_string_pretty(&now).unwrap();
        text = text.replace(
            &format!("127.0.0.1:{}", origin.address().port()),
            "files.example",
        );
        std::fs::write(&file, text + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let how = "UPDATE_DOCS=1 cargo test --workspace --test it -- description";
    assert_eq!(
        shape(&kept),
        shape(&Value::Object(now)),
        "write them anew: {how}"
    );

    let description = Description::of(&proxy);
    for (path, operations) in description.0["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if path == "/monitor" {
                continue;
            }
            let command = operation["x-command"].as_str();
            assert!(
                command.is_some_and(|it| it.starts_with("curl ")),
                "{method} {path}"
            );
            let mut contents = operation["responses"]["200"]["content"]
                .as_object()
                .unwrap()
                .iter();
            let (media, content) = contents.next().unwrap();
            assert!(!content["example"].is_null(), "{method} {path}");
            if media.ends_with("json") && path != "/openapi.json" {
                let path = path.replace('/', "~1");
                let media = media.replace('/', "~1");
                let pointer =
                    format!("/paths/{path}/{method}/responses/200/content/{media}/schema");
                description.validate(&pointer, &content["example"]);
            }
        }
    }
}

/// What public linters of OpenAPI ask for.
#[test]
fn the_description_is_what_linters_ask_for() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let document = proxy.json("/openapi.json");
    assert!(
        document["servers"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    );
    assert!(document["info"]["license"]["name"].is_string());
    let tags = document["tags"].as_array().unwrap();
    assert!(tags.iter().all(|tag| tag["description"].is_string()));
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let of = format!("{method} {path}");
            for member in ["operationId", "summary"] {
                assert!(operation[member].is_string(), "{of} has no {member}");
            }
            assert!(
                operation["security"].is_array(),
                "{of} does not say whether it asks for a token"
            );
            for tag in operation["tags"].as_array().unwrap() {
                assert!(
                    tags.iter().any(|known| known["name"] == *tag),
                    "{of}: {tag}"
                );
            }
            let statuses = operation["responses"].as_object().unwrap();
            assert!(statuses.contains_key("405"), "{of}");
            let needs_token = !operation["security"].as_array().unwrap().is_empty();
            assert_eq!(statuses.contains_key("401"), needs_token, "{of}");
            assert!(
                statuses.values().all(|one| one["description"].is_string()),
                "{of}"
            );
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let is_in_path =
                    path.contains(&format!("{{{}}}", parameter["name"].as_str().unwrap()));
                assert_eq!(parameter["in"] == "path", is_in_path, "{of}");
            }
        }
    }
    let text = document.to_string();
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(
            text.contains(&format!("\"#/components/schemas/{name}\"")),
            "{name} is not used"
        );
    }
}
