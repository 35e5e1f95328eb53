//! One line from the proxy's /stats: current class, level and rate, and recent changes.

use std::time::Duration;

use serde_json::Value;

use super::comparison::Comparison;

/// Turns successive /stats into lines.
#[derive(Clone, Debug, Default)]
pub struct Live {
    last: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    class: String,
    level: String,
    rate: String,
}

impl Live {
    /// The line for `stats`, read at `at` after the demo's start, with one more line for viewers and three for a canary, each with
    /// less than 100 characters. Changes since the previous line are shown as `old->new`, missing values as `-`.
    pub fn line(&mut self, stats: &Value, at: Duration, viewers: Option<&Comparison>) -> String {
        let optimizer = &stats["performance_optimizer"];
        let metrics = &optimizer["metrics"];
        let now = Seen {
            class: match &stats["network_quality"]["quality"] {
                Value::String(class) => class.clone(),
                _ => "unknown".to_owned(),
            },
            level: text(&optimizer["optimization_level"]),
            rate: text(&optimizer["current_rate_limit"]),
        };
        let last = self.last.as_ref().unwrap_or(&now);
        let mut line = format!(
            "{:>5} s  class {}  level {}  limit {}/s  errors {}  p95 {}",
            at.as_secs(),
            change(&last.class, &now.class),
            change(&last.level, &now.level),
            change(&last.rate, &now.rate),
            text(&metrics["error_rate"]),
            seconds(&metrics["p95_response_time_ms"]),
        );
        line += &canary(&stats["canary"]);
        if let Some(viewers) = viewers {
            line += &format!("\n{BELOW}{}", viewers.line());
        }
        self.last = Some(now);
        line
    }
}

/// Indent of continuation lines.
const BELOW: &str = "         ";

/// A time from /stats in milliseconds, in human-readable form.
fn seconds(ms: &Value) -> String {
    match ms.as_str().and_then(|ms| ms.parse::<f64>().ok()) {
        None => "-".to_owned(),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) if ms < 10_000.0 => format!("{:.1} s", ms / 1e3),
        Some(ms) => format!("{:.0} s", ms / 1e3),
    }
}

/// Both groups of a canary and the confidence of their difference; empty if none runs.
fn canary(canary: &Value) -> String {
    let candidate = &canary["candidate"];
    if candidate.is_null() {
        return match canary["last_rollback"]["reason"].as_str() {
            Some(reason) => format!("\n{BELOW}canary rolled back: {reason}"),
            None => String::new(),
        };
    }
    let number = |group: &str, name: &str| {
        let number = &canary["groups"][group][name];
        number
            .as_f64()
            .map_or("-".to_owned(), |number| format!("{number:.0}"))
    };
    let sure = |measure: &str, decimals: usize| {
        let bound = |which: &str| {
            let number = &canary["difference"][measure][which];
            let number = number.as_f64();
            number.map_or("?".to_owned(), |number| format!("{number:+.decimals$}"))
        };
        format!("{} [{}, {}]", bound("value"), bound("low"), bound("high"))
    };
    format!(
        "\n{BELOW}canary {} for {} %: failed {} of {} (stable {} of {}); the difference:\n\
         {BELOW}errors {} %, p95 {} ms,\n\
         {BELOW}goodput {} Mbit/s",
        text(&candidate["level"]),
        text(&candidate["percent"]),
        number("candidate", "failed_requests"),
        number("candidate", "counted_requests"),
        number("stable", "failed_requests"),
        number("stable", "counted_requests"),
        sure("error_rate", 1),
        sure("p95_ms", 0),
        sure("goodput_mbps", 2),
    )
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "-".into(),
    }
}

fn change(last: &str, now: &str) -> String {
    if last == now {
        now.to_owned()
    } else {
        format!("{last}->{now}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::viewers::Summary;

    fn stats(class: &str, rate: u64) -> Value {
        json!({
            "performance_optimizer": {
                "metrics": { "error_rate": "0.50%", "p95_response_time_ms": "45.23" },
                "current_rate_limit": rate,
                "optimization_level": "high",
            },
            "network_quality": { "quality": class },
        })
    }

    #[test]
    fn a_line_says_what_changed_since_the_one_before() {
        let mut live = Live::default();
        let second = Duration::from_secs;

        assert_eq!(
            live.line(&stats("good", 1000), second(3), None),
            "    3 s  class good  level high  limit 1000/s  errors 0.50%  p95 45 ms"
        );
        let line = live.line(&stats("poor", 800), second(6), None);
        assert!(line.contains("class good->poor"), "{line}");
        assert!(line.contains("limit 1000->800/s"), "{line}");
        let line = live.line(&stats("poor", 800), second(9), None);
        assert!(line.contains("class poor  level"), "{line}");
    }

    #[test]
    fn no_line_has_a_hundred_characters_whatever_changes() {
        let mut live = Live::default();
        let mut first = stats("medium", 1000);
        first["performance_optimizer"]["optimization_level"] = "medium".into();
        _ = live.line(&first, Duration::ZERO, None);
        let mut second = stats("very_poor", 800);
        second["performance_optimizer"]["metrics"] =
            json!({ "error_rate": "100.00%", "p95_response_time_ms": "99999.99" });
        second["canary"] = json!({
            "candidate": { "level": "medium", "percent": 50 },
            "groups": {
                "stable": { "counted_requests": 12000, "failed_requests": 12000 },
                "candidate": { "counted_requests": 11000, "failed_requests": 11000 },
            },
            "difference": {
                "error_rate": { "value": -12.54, "low": -17.19, "high": 11.34 },
                "p95_ms": { "value": 1234.5, "low": -12345.5, "high": 12345.5 },
                "goodput_mbps": { "value": 1.25, "low": -1.25, "high": 2.25 },
            },
        });
        let summary = Summary {
            viewers: 100,
            segments: 10_000,
            failed: 1000,
            ..Summary::default()
        };
        let viewers = Comparison {
            proxy: summary,
            plain: Some(summary),
        };
        let lines = live.line(&second, Duration::from_secs(3600), Some(&viewers));
        assert_eq!(lines.lines().count(), 5);
        for line in lines.lines() {
            assert!(line.len() < 100, "{}: {line}", line.len());
        }
    }

    #[test]
    fn a_canary_shows_both_groups_and_how_sure_their_difference_is() {
        let mut stats = stats("poor", 1000);
        stats["canary"] = json!({
            "candidate": { "level": "high", "percent": 50 },
            "groups": {
                "stable": { "counted_requests": 120, "failed_requests": 3 },
                "candidate": { "counted_requests": 110, "failed_requests": 0 },
            },
            "difference": {
                "error_rate": { "value": -2.5, "low": -7.19, "high": 1.34 },
                "p95_ms": { "value": 12.0, "low": null, "high": null },
            },
            "last_rollback": null,
        });
        let line = Live::default().line(&stats, Duration::ZERO, None);
        assert!(
            line.ends_with(
                "canary high for 50 %: failed 0 of 110 (stable 3 of 120); the difference:\n         \
                 errors -2.5 [-7.2, +1.3] %, p95 +12 [?, ?] ms,\n         goodput ? [?, ?] Mbit/s"
            ),
            "{line}"
        );
        stats["canary"] = json!({ "candidate": null, "last_rollback": { "reason": "worse" } });
        let line = Live::default().line(&stats, Duration::ZERO, None);
        assert!(line.ends_with("canary rolled back: worse"), "{line}");
    }

    #[test]
    fn stats_without_the_fields_still_make_a_line() {
        let line = Live::default().line(&json!({}), Duration::ZERO, None);
        assert!(line.contains("class unknown  level -  limit -/s"), "{line}");
    }
}
