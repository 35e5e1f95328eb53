//! Compares viewers of the proxy with viewers of a plain proxy in front of the same origin.

use std::fmt;

use super::viewers::Summary;

/// Both groups of viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The viewers of the proxy.
    pub proxy: Summary,
    /// The viewers of a plain proxy; none if there is none.
    pub plain: Option<Summary>,
}

impl Comparison {
    /// One line: each figure for the proxy, then for the plain one.
    pub fn line(&self) -> String {
        let Comparison { proxy, plain } = self;
        let both = |figure: &dyn Fn(&Summary) -> String| match plain {
            None => figure(proxy),
            Some(plain) => format!("{} / {}", figure(proxy), figure(plain)),
        };
        format!(
            "viewers {}: segments {}, failed {}, wrong {}, stalled {}",
            proxy.viewers,
            both(&|group| group.segments.to_string()),
            both(&|group| group.failed.to_string()),
            both(&|group| group.wrong.to_string()),
            both(&stalled),
        )
    }
}

/// The share of watching time in which playback stalled.
fn stalled(group: &Summary) -> String {
    format!("{:.1}%", group.stalled_share() * 100.0)
}

/// A table, printed at the end.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { proxy, plain } = self;
        let beside = plain.map_or("", |_| "a plain one");
        let head = format!(
            "{:<26}{:>12}{beside:>14}",
            "The viewers, in all", "this proxy"
        );
        writeln!(f, "{}", head.trim_end())?;
        type Figure = fn(&Summary) -> String;
        let rows: [(&str, Figure); 5] = [
            ("segments that came whole", |group| {
                group.segments.to_string()
            }),
            ("attempts that failed", |group| group.failed.to_string()),
            ("segments with wrong bytes", |group| group.wrong.to_string()),
            ("pictures that stood still", |group| {
                group.stalls.to_string()
            }),
            ("share of the time", stalled),
        ];
        for (at, (what, figure)) in rows.into_iter().enumerate() {
            let beside = plain.as_ref().map_or(String::new(), figure);
            let line = format!("{what:<26}{:>12}{beside:>14}", figure(proxy));
            f.write_str(line.trim_end())?;
            if at + 1 < rows.len() {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn summary(segments: u64, failed: u64, stalled: u64) -> Summary {
        Summary {
            viewers: 3,
            segments,
            failed,
            played: Duration::from_secs(100 - stalled),
            stalled: Duration::from_secs(stalled),
            ..Summary::default()
        }
    }

    #[test]
    fn each_figure_stands_beside_that_of_a_plain_proxy() {
        let mut both = Comparison {
            proxy: summary(12, 0, 0),
            plain: Some(summary(8, 4, 24)),
        };
        assert_eq!(
            both.line(),
            "viewers 3: segments 12 / 8, failed 0 / 4, wrong 0 / 0, stalled 0.0% / 24.0%"
        );
        let table = both.to_string();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[0],
            "The viewers, in all         this proxy   a plain one"
        );
        assert_eq!(
            lines[1],
            "segments that came whole            12             8"
        );
        assert_eq!(
            lines[5],
            "share of the time                 0.0%         24.0%"
        );
        both.plain = None;
        assert_eq!(
            both.line(),
            "viewers 3: segments 12, failed 0, wrong 0, stalled 0.0%"
        );
    }
}
