//! One line from the proxy's /stats: what class, level and rate it has now, and what just changed.

use std::time::Duration;

use serde_json::Value;

use super::viewers::Summary;

/// Turns one /stats after another into lines.
#[derive(Clone, Debug, Default)]
pub struct Live {
    last: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    at: Duration,
    class: String,
    level: String,
    rate: String,
    requests: u64,
}

impl Live {
    /// The line for `stats`, read at `at` after the demo's start. What changed since the line before shows as
    /// `old -> new`; what is not in `stats` shows as `-`.
    pub fn line(&mut self, stats: &Value, at: Duration, viewers: Option<&Summary>) -> String {
        let optimizer = &stats["performance_optimizer"];
        let metrics = &optimizer["metrics"];
        let now = Seen {
            at,
            class: text(&stats["network_quality"]["quality"]),
            level: text(&optimizer["optimization_level"]),
            rate: text(&optimizer["current_rate_limit"]),
            requests: metrics["total_requests"].as_u64().unwrap_or(0),
        };
        let last = self.last.as_ref().unwrap_or(&now);
        let gone = at.saturating_sub(last.at).as_secs_f64();
        let per_second = if gone > 0.0 {
            now.requests.saturating_sub(last.requests) as f64 / gone
        } else {
            0.0
        };
        let mut line = format!(
            "{:>5} s  class {}  level {}  limit {}/s  requests {} ({per_second:.1}/s)  errors {}  p95 {} ms",
            at.as_secs(),
            change(&last.class, &now.class),
            change(&last.level, &now.level),
            change(&last.rate, &now.rate),
            now.requests,
            text(&metrics["error_rate"]),
            text(&metrics["p95_response_time_ms"]),
        );
        line += &canary(&stats["canary"]);
        if let Some(viewers) = viewers {
            line += &format!("  {viewers}");
        }
        self.last = Some(now);
        line
    }
}

/// Both groups of a canary, and how sure their difference is; nothing if none runs.
fn canary(canary: &Value) -> String {
    let candidate = &canary["candidate"];
    if candidate.is_null() {
        return match canary["last_rollback"]["reason"].as_str() {
            Some(reason) => format!("  canary rolled back: {reason}"),
            None => String::new(),
        };
    }
    let number = |group: &str, name: &str| {
        let number = &canary["groups"][group][name];
        number
            .as_f64()
            .map_or("-".to_owned(), |number| format!("{number:.0}"))
    };
    let sure = |measure: &str| {
        let bound = |which: &str| {
            let number = &canary["difference"][measure][which];
            let number = number.as_f64();
            number.map_or("?".to_owned(), |number| format!("{number:+.2}"))
        };
        format!("{} [{}, {}]", bound("value"), bound("low"), bound("high"))
    };
    format!(
        "  canary {} for {} %: failed {} of {} (stable {} of {}), difference: errors {} %, p95 {} ms, goodput {} Mbit/s",
        text(&candidate["level"]),
        text(&candidate["percent"]),
        number("candidate", "failed_requests"),
        number("candidate", "counted_requests"),
        number("stable", "failed_requests"),
        number("stable", "counted_requests"),
        sure("error_rate"),
        sure("p95_ms"),
        sure("goodput_mbps"),
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
        format!("{last} -> {now}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(class: &str, rate: u64, requests: u64) -> Value {
        json!({
            "performance_optimizer": {
                "metrics": {
                    "total_requests": requests,
                    "error_rate": "0.50%",
                    "p95_response_time_ms": "45.23",
                },
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
            live.line(&stats("good", 1000, 10), second(3), None),
            "    3 s  class good  level high  limit 1000/s  requests 10 (0.0/s)  errors 0.50%  p95 45.23 ms"
        );
        let line = live.line(&stats("poor", 800, 40), second(6), None);
        assert!(line.contains("class good -> poor"), "{line}");
        assert!(line.contains("limit 1000 -> 800/s"), "{line}");
        assert!(line.contains("requests 40 (10.0/s)"), "{line}");
        let line = live.line(&stats("poor", 800, 40), second(9), None);
        assert!(line.contains("class poor  level"), "{line}");
    }

    #[test]
    fn a_canary_shows_both_groups_and_how_sure_their_difference_is() {
        let mut stats = stats("poor", 1000, 10);
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
                "canary high for 50 %: failed 0 of 110 (stable 3 of 120), difference: errors -2.50 [-7.19, +1.34] %, \
                 p95 +12.00 [?, ?] ms, goodput ? [?, ?] Mbit/s"
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
        assert!(line.contains("class -  level -  limit -/s"), "{line}");
    }
}
