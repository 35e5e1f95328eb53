//! An example for each operation in the description: a command, and the service's answer. The answers were recorded from a running
//! service; a test requests them again and compares their structure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::{
    Modify,
    openapi::{Content, OpenApi, RefOr, path::Operation},
};

/// The examples, by method and path.
const EXAMPLES: &str = include_str!("examples.json");

/// One example.
#[derive(Debug, Deserialize)]
struct Example {
    /// The request's query with its `?`; empty without one.
    #[serde(default)]
    query: String,
    /// The request's body; absent without one.
    request: Option<Value>,
    /// The response's body.
    response: Value,
}

/// Adds the examples to the description.
pub(super) struct Examples;

impl Modify for Examples {
    fn modify(&self, api: &mut OpenApi) {
        // A test parses them too, so that errors are not found by a user.
        let examples: BTreeMap<String, Example> =
            serde_json::from_str(EXAMPLES).unwrap_or_default();
        for (path, item) in &mut api.paths.paths {
            let operations = [("GET", &mut item.get), ("POST", &mut item.post)];
            for (method, operation) in operations {
                let example = examples.get(&format!("{method} {path}"));
                if let (Some(operation), Some(example)) = (operation, example) {
                    add(operation, method, path, example);
                }
            }
        }
    }
}

fn add(operation: &mut Operation, method: &str, path: &str, example: &Example) {
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        set(body.content.values_mut(), example.request.as_ref());
    }
    if let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200") {
        set(response.content.values_mut(), Some(&example.response));
    }
    let needs_token = operation
        .security
        .as_ref()
        .is_some_and(|all| !all.is_empty());
    let command = command(method, path, example, needs_token);
    let extensions = operation.extensions.get_or_insert_default();
    extensions.insert("x-command".to_owned(), command.into());
}

/// Sets the example of each media type.
fn set<'a>(contents: impl Iterator<Item = &'a mut RefOr<Content>>, example: Option<&Value>) {
    for content in contents {
        if let RefOr::T(content) = content {
            content.example = example.cloned();
        }
    }
}

/// The shell command of an example.
fn command(method: &str, path: &str, example: &Example, needs_token: bool) -> String {
    let mut command = "curl -s".to_owned();
    if method != "GET" {
        command += &format!(" -X {method}");
    }
    if needs_token {
        command += " -H \"Authorization: Bearer $TOKEN\"";
    }
    if let Some(body) = &example.request {
        command += &format!(" -H 'Content-Type: application/json' -d '{body}'");
    }
    match example.query.as_str() {
        "" => command + &format!(" http://127.0.0.1:10081{path}"),
        query => command + &format!(" 'http://127.0.0.1:10081{path}{query}'"),
    }
}
