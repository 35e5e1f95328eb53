//! Removes secrets from URLs for logs, errors and endpoints.

/// A URL without user and password, and with only the names of its query parameters.
///
/// Also for strings that are not valid URLs: a mistyped one contains the same secrets. If its parts cannot be told apart, only the
/// scheme is kept.
pub fn redacted(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (place, tail) = rest.split_at(end);
    if tail.contains('@') {
        // A password with `?` or `#` in it, or a query with `@`: ambiguous.
        return format!("{scheme}***");
    }
    let place = place.rsplit('@').next().unwrap_or_default();
    let (query, fragment) = match tail.split_once('#') {
        Some((query, fragment)) => (query, Some(fragment)),
        None => (tail, None),
    };
    let mut shown = format!("{scheme}{place}");
    if let Some(query) = query.strip_prefix('?') {
        let names: Vec<_> = query.split('&').map(parameter).collect();
        shown = format!("{shown}?{}", names.join("&"));
    }
    match fragment {
        // A fragment that the Redis client knows: accept any certificate.
        Some("insecure") => shown + "#insecure",
        Some(_) => shown + "#***",
        None => shown,
    }
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        None => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets_wherever_they_stand() {
        for (url, shown) in [
            ("http://127.0.0.1:27804", "http://127.0.0.1:27804"),
            ("redis://:secret@host:6379/2", "redis://host:6379/2"),
            (
                "redis+cluster://u:secr@et@a:1,b:2",
                "redis+cluster://a:1,b:2",
            ),
            ("redis://h/0?password=secret", "redis://h/0?password=***"),
            (
                "rediss://u:secret@h/0?password=secret&db=1#insecure",
                "rediss://h/0?password=***&db=***#insecure",
            ),
            ("unix:///run/r.sock?secret", "unix:///run/r.sock?***"),
            ("redis://:sec/ret@host", "redis://host"),
            ("redis://:sec?ret@host", "redis://***"),
            ("redis://:sec#ret@host", "redis://***"),
            ("redis://h/0?password=sec@ret", "redis://***"),
            ("user:secret@host:6379", "host:6379"),
            ("https://h/#secret", "https://h/#***"),
            ("", ""),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
