//! `GET /docs`: the description of the operators' endpoints as an HTML page, generated from the same document as `/openapi.json`,
//! without scripts.

use std::fmt::{self, Write as _};

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value};

use super::{assets, openapi::Document, response::json};
use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/docs";

/// This description as a page to read.
#[utoipa::path(get, path = PATH, operation_id = "docs", tag = "description", responses(
    (status = 200, description = "A page", body = String, content_type = "text/html"),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn page(document: web::Data<Document>) -> HttpResponse {
    let document = json(&document.0());
    assets::page(Page(&document).to_string())
}

/// An OpenAPI document as a page.
struct Page<'a>(&'a Value);

impl fmt::Display for Page<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.0["info"];
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title}: endpoints</title>\
             <link rel=\"icon\" href=\"/monitor/icon.svg\">\
             <link rel=\"stylesheet\" href=\"/monitor/style.css\"></head><body class=\"docs\">\
             <header><h1>{title} <small>{version}</small></h1>\
             <nav><a href=\"/monitor\">Monitor</a> <a href=\"/openapi.json\">openapi.json</a></nav></header><main>\
             <p>{description}</p>",
            title = text(&info["title"]),
            version = text(&info["version"]),
            description = text(&info["description"]),
        )?;
        out.write_str("<nav class=\"index\"><h2>Index</h2><table>")?;
        for (path, operations) in entries(&self.0["paths"]) {
            for (method, operation) in entries(operations) {
                write!(
                    out,
                    "<tr><td><b class=\"method\">{}</b></td><td><a href=\"#{}\"><code>{}</code></a></td><td>{}</td></tr>",
                    method.to_uppercase(),
                    anchor(method, path),
                    escaped(path),
                    escaped(first_sentence(
                        operation["summary"].as_str().unwrap_or_default()
                    )),
                )?;
            }
        }
        out.write_str("</table></nav>")?;
        for tag in items(&self.0["tags"]) {
            write!(out, "<h2>{}</h2>", text(&tag["description"]))?;
            for (path, operations) in entries(&self.0["paths"]) {
                for (method, operation) in entries(operations) {
                    if items(&operation["tags"]).contains(&tag["name"]) {
                        endpoint(out, path, method, operation)?;
                    }
                }
            }
        }
        out.write_str("<h2>Types</h2>")?;
        for (name, schema) in entries(&self.0["components"]["schemas"]) {
            write!(
                out,
                "<section id=\"{0}\"><h3>{0}</h3><p>{1}</p>",
                escaped(name),
                text(&schema["description"])
            )?;
            members(out, schema)?;
            out.write_str("</section>")?;
        }
        out.write_str("</main></body></html>\n")
    }
}

fn endpoint(
    out: &mut fmt::Formatter<'_>,
    path: &str,
    method: &str,
    operation: &Value,
) -> fmt::Result {
    write!(
        out,
        "<section id=\"{}\"><h3><b class=\"method\">{}</b> <code>{}</code></h3><p>{} {}</p>",
        anchor(method, path),
        method.to_uppercase(),
        escaped(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    )?;
    if !items(&operation["security"]).is_empty() {
        out.write_str("<p>Asks for <code>Authorization: Bearer &lt;admin.token&gt;</code>.</p>")?;
    }
    for (_, body) in entries(&operation["requestBody"]["content"]) {
        write!(out, "<p>Body: {}</p>", Kind(&body["schema"]))?;
    }
    out.write_str("<table><tr><th>Status</th><th>When</th><th>Answer</th></tr>")?;
    for (status, response) in entries(&operation["responses"]) {
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>",
            escaped(status),
            text(&response["description"])
        )?;
        for (media, body) in entries(&response["content"]) {
            write!(
                out,
                "{} <small>{}</small>",
                Kind(&body["schema"]),
                escaped(media)
            )?;
        }
        out.write_str("</td></tr>")?;
    }
    out.write_str("</table>")?;
    example(out, operation)?;
    out.write_str("</section>")
}

/// A shell command, and the service's answer.
fn example(out: &mut fmt::Formatter<'_>, operation: &Value) -> fmt::Result {
    let Some(command) = operation["x-command"].as_str() else {
        return Ok(());
    };
    let quoted = command.replace('`', "");
    write!(
        out,
        "<details><summary>Example</summary><pre>{}</pre>",
        escaped(&quoted)
    )?;
    for (_, body) in entries(&operation["responses"]["200"]["content"]) {
        let answer = match &body["example"] {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            // Parsed JSON can always be serialized.
            value => serde_json::to_string_pretty(value).unwrap_or_default(),
        };
        write!(out, "<pre>{}</pre>", escaped(&answer.replace('`', "'")))?;
    }
    out.write_str("</details>")
}

/// The anchor of an operation's section.
fn anchor(method: &str, path: &str) -> String {
    format!("{method}{}", path.replace(['/', '.'], "-"))
}

/// The text before the first full stop.
fn first_sentence(text: &str) -> &str {
    text.split_once(". ")
        .map_or(text, |(first, _)| first)
        .trim_end_matches('.')
}

/// The fields of an object, or the values of an enumeration.
fn members(out: &mut fmt::Formatter<'_>, schema: &Value) -> fmt::Result {
    for part in items(&schema["allOf"]) {
        match part.get("$ref") {
            Some(_) => write!(out, "<p>All of {}, and:</p>", Kind(part))?,
            None => members(out, part)?,
        }
    }
    let words: Vec<_> = items(&schema["enum"])
        .iter()
        .map(|word| format!("<code>{}</code>", text(word)))
        .collect();
    if !words.is_empty() {
        write!(out, "<p>{}</p>", words.join(", "))?;
    }
    let mut fields = entries(&schema["properties"]).peekable();
    if fields.peek().is_some() {
        out.write_str("<table><tr><th>Field</th><th>Type</th><th>What it is</th></tr>")?;
        for (name, field) in fields {
            write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escaped(name),
                Kind(field),
                text(&field["description"])
            )?;
        }
        out.write_str("</table>")?;
    }
    Ok(())
}

/// The type of a schema in one or two words, as a link if it has its own section.
struct Kind<'a>(&'a Value);

impl fmt::Display for Kind<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.0;
        if let Some(name) = schema["$ref"].as_str().and_then(|to| to.rsplit('/').next()) {
            return write!(out, "<a href=\"#{0}\">{0}</a>", escaped(name));
        }
        for choice in ["oneOf", "anyOf", "allOf"] {
            if let [first, rest @ ..] = items(&schema[choice]) {
                write!(out, "{}", Kind(first))?;
                return rest
                    .iter()
                    .try_for_each(|next| write!(out, " or {}", Kind(next)));
            }
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let kinds: Vec<_> = kinds.iter().map(|kind| text(kind).to_string()).collect();
                out.write_str(&kinds.join(" or "))
            }
            Value::String(kind) if kind == "array" => {
                write!(out, "list of {}", Kind(&schema["items"]))
            }
            Value::String(kind) if schema["additionalProperties"].is_object() => {
                write!(
                    out,
                    "{} of {} by name",
                    escaped(kind),
                    Kind(&schema["additionalProperties"])
                )
            }
            Value::String(kind) => write!(out, "{}", escaped(kind)),
            _ => out.write_str("anything"),
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A string of the document; empty if it is missing.
fn text(value: &Value) -> Escaped<'_> {
    Escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

/// A string escaped for HTML, with `code` between backticks.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut code = false;
        for letter in self.0.chars() {
            match letter {
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '&' => out.write_str("&amp;")?,
                '"' => out.write_str("&quot;")?,
                '`' => {
                    out.write_str(if code { "</code>" } else { "<code>" })?;
                    code = !code;
                }
                letter => out.write_char(letter)?,
            }
        }
        if code {
            out.write_str("</code>")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_become_markup() {
        assert_eq!(
            escaped("<b> & \"`x<y`\" `open").to_string(),
            "&lt;b&gt; &amp; &quot;<code>x&lt;y</code>&quot; <code>open</code>"
        );
    }
}
