//! Whether high keeps the rule, by what the same client got of the origin itself, at low and at high.

use std::{borrow::Cow, ops::Range};

use super::{
    answer::{Answer, End},
    asking::Asked,
    behaviour::{Ranges, Row},
    file_server::{EXTRA, SAID},
};

/// Fields that may differ from one answer to the next, or belong to one hop.
const OWN: [&str; 9] = [
    "date",
    "via",
    // What a store says of itself (RFC 9211, RFC 9111 §5.1).
    "cache-status",
    "age",
    "x-request-id",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "trailer",
];
/// Fields that tell the version.
const OF_VERSION: [&str; 2] = ["etag", "last-modified"];
/// How many versions a test makes at most.
const VERSIONS: usize = 64;

/// What all three got.
pub struct Case<'a> {
    pub row: &'a Row,
    pub asked: &'a Asked,
    pub direct: &'a Answer,
    pub low: &'a Answer,
    pub high: &'a Answer,
    /// Whether high may answer by what it keeps: by an answer of before, where the origin now refuses.
    pub is_stored: bool,
}

/// What a 206 says that it is.
fn range(answer: &Answer) -> Option<Range<usize>> {
    let range = answer.field("content-range")?.strip_prefix("bytes ")?;
    let (first, last) = range.split('/').next()?.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<usize>().ok()? + 1)
}

/// Whether it is what a client takes for all that was asked for: nothing is missing, and the proxy did not make it itself.
fn is_delivered(answer: &Answer) -> bool {
    let short =
        answer.status == 206 && range(answer).is_some_and(|range| answer.body.len() < range.len());
    answer.end == End::Whole && !short && !answer.is_problem()
}

/// Whether an answer is the origin's own. What is stored of it tells no lies.
fn is_passed_on(answer: &Answer) -> bool {
    let status = answer.field("cache-status");
    status.is_none_or(|status| status.contains("bypass"))
}

/// What the client may have of the file, by status and fields of its answer: in each version that these name, and as the
/// origin lies about it.
fn right(row: &Row, asked: &Asked, answer: &Answer) -> Vec<Cow<'static, [u8]>> {
    if asked.is_head() || matches!(answer.status, 204 | 304) {
        return vec![Cow::Borrowed(b"")];
    }
    if answer.status >= 400 {
        return vec![Cow::Borrowed(SAID.as_bytes())];
    }
    let coded = answer.field("content-encoding") == Some("gzip");
    let versions = (0..VERSIONS).filter(|&version| {
        coded
            || [
                ("etag", row.tag(version)),
                ("last-modified", row.modified(version)),
            ]
            .iter()
            .all(|(name, is)| is.is_none() || answer.field(name) == is.as_deref())
    });
    let part = |file: &'static [u8]| match (answer.status, row.behaviour.ranges) {
        (200, _) => Some(Cow::Borrowed(file)),
        (206, Ranges::Shifted) if is_passed_on(answer) => {
            let told = range(answer)?;
            let first = told.start.checked_sub(1)?;
            Some(Cow::Borrowed(file.get(first..told.end - 1)?))
        }
        (206, Ranges::TooMany) if is_passed_on(answer) => {
            Some(Cow::Owned([file.get(range(answer)?)?, EXTRA].concat()))
        }
        (206, _) => Some(Cow::Borrowed(file.get(range(answer)?)?)),
        _ => None,
    };
    versions
        .filter_map(|version| part(row.file(version, coded)))
        .collect()
}

impl Case<'_> {
    /// Whether an answer is all that the origin has for it.
    fn is_all(&self, answer: &Answer) -> bool {
        let same = self.direct.end == End::Whole
            && answer.status == self.direct.status
            && answer.body == self.direct.body;
        same || answer.end == End::Whole
            && right(self.row, self.asked, answer)
                .iter()
                .any(|file| **file == answer.body[..])
    }

    /// How many of an answer's bytes are right, counted from its first.
    fn right_bytes(&self, answer: &Answer) -> usize {
        let mut files: Vec<Cow<'_, [u8]>> = right(self.row, self.asked, answer);
        if answer.status == self.direct.status {
            files.push(Cow::Borrowed(&self.direct.body));
        }
        let alike = |file: &Cow<'_, [u8]>| {
            let pairs = file.iter().zip(&answer.body);
            pairs.take_while(|(right, is)| right == is).count()
        };
        let whole = |file: &Cow<'_, [u8]>| file.starts_with(&answer.body);
        if files.iter().any(whole) {
            return answer.body.len();
        }
        files.iter().map(alike).max().unwrap_or(0)
    }

    /// What no answer may be, at whatever level.
    fn is_sound(&self, answer: &Answer) -> Result<(), String> {
        if answer.is_problem() || answer.status == 0 {
            return Ok(());
        }
        let right = self.right_bytes(answer);
        if right < answer.body.len() {
            return Err(format!("byte {right} is not the file's"));
        }
        if answer.end == End::Whole && !self.is_all(answer) {
            return Err("it looks whole and is not".to_owned());
        }
        Ok(())
    }

    fn fields(&self, answer: &Answer) -> Vec<(String, String)> {
        let mut fields = answer.fields.clone();
        fields.retain(|(name, _)| {
            let name = name.as_str();
            // What is stored has a length, however it came.
            if self.is_stored && name == "content-length" {
                return false;
            }
            !(OWN.contains(&name) || self.row.behaviour.changes && OF_VERSION.contains(&name))
        });
        fields.sort();
        fields
    }

    /// The rule.
    pub fn judge(&self) -> Result<(), String> {
        (self.is_sound(self.low)).map_err(|what| format!("at low {what}"))?;
        (self.is_sound(self.high)).map_err(|what| format!("at high {what}"))?;
        if is_delivered(self.direct) && !is_delivered(self.low) {
            return Err("low does not deliver what the origin does".to_owned());
        }
        if is_delivered(self.low) && !is_delivered(self.high) {
            return Err("high does not deliver what low does".to_owned());
        }
        if self.high.end == End::Hung && self.low.end != End::Hung {
            return Err("high hangs where low ends".to_owned());
        }
        let helps = self.is_stored && matches!(self.high.status, 200 | 206 | 304 | 416);
        let lies = !matches!(
            self.row.behaviour.ranges,
            Ranges::Honoured | Ranges::Untold | Ranges::Ignored | Ranges::Refused(_)
        );
        // A 416 of the store's own has the fields of no body.
        let has_own_fields = lies && self.high.status == 206 || self.high.status == 416;
        let is_told_right = has_own_fields && !is_passed_on(self.high);
        if helps && (self.low.status != self.high.status || is_told_right) {
            return Ok(());
        }
        if is_delivered(self.low) && self.low.status != self.high.status {
            return Err("high answers with another status".to_owned());
        }
        if is_delivered(self.low) && self.fields(self.low) != self.fields(self.high) {
            return Err("high shows other fields".to_owned());
        }
        Ok(())
    }
}
