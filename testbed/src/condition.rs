//! The conditions of a request (RFC 9110, section 13), judged for a file with this entity tag, quotes included, and this
//! date of its last change. Each argument is the value of a field, where the request has it; a date that cannot be read is
//! as if the field were not there.

use std::time::SystemTime;

use httpdate::parse_http_date;

/// If-Match and If-Unmodified-Since (section 13.2.2, steps 1 and 2): whether to go on.
#[must_use]
pub fn holds(
    if_match: Option<&str>,
    if_unmodified_since: Option<&str>,
    tag: &str,
    modified: SystemTime,
) -> bool {
    match (if_match, if_unmodified_since.map(parse_http_date)) {
        (Some(list), _) => tags(list).any(|(weak, own)| own == "*" || (!weak && own == tag)),
        (None, Some(Ok(date))) => modified <= date,
        (None, _) => true,
    }
}

/// If-None-Match and If-Modified-Since (steps 3 and 4): whether the client has the file already.
#[must_use]
pub fn is_known(
    if_none_match: Option<&str>,
    if_modified_since: Option<&str>,
    tag: &str,
    modified: SystemTime,
) -> bool {
    match (if_none_match, if_modified_since.map(parse_http_date)) {
        (Some(list), _) => tags(list).any(|(_, own)| own == "*" || own == tag),
        (None, Some(Ok(date))) => modified <= date,
        (None, _) => false,
    }
}

/// If-Range (step 5): whether a range may be given. A weak tag is never the same.
#[must_use]
pub fn is_same(if_range: Option<&str>, tag: &str, modified: SystemTime) -> bool {
    let date = |value| parse_http_date(value).ok();
    if_range.is_none_or(|value| value == tag || date(value) == Some(modified))
}

/// The entity tags of a list, with their quotes, and whether each is weak. No tag here has a comma.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    list.split(',').map(str::trim).map(|tag| {
        let strong = tag.strip_prefix("W/");
        (strong.is_some(), strong.unwrap_or(tag))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TAG: &str = "\"a-1\"";
    const DATE: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
    const BEFORE: &str = "Mon, 01 Jan 2001 00:00:00 GMT";

    fn modified() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_067_200)
    }

    #[test]
    fn a_known_file_is_one_with_the_tag_however_weak_or_else_the_date() {
        let known = |tags, date| is_known(tags, date, TAG, modified());
        for tags in [TAG, "*", "\"x\", W/\"a-1\""] {
            assert!(known(Some(tags), Some(BEFORE)), "{tags}");
        }
        assert!(known(None, Some(DATE)));
        assert!(!known(Some("\"x\""), Some(DATE)));
        for date in [Some(BEFORE), Some("yesterday"), None] {
            assert!(!known(None, date), "{date:?}");
        }
    }

    #[test]
    fn a_wanted_file_is_one_with_the_strong_tag_or_else_no_later_than_the_date() {
        let holds = |tags, date| holds(tags, date, TAG, modified());
        for (tags, date) in [
            (Some(TAG), Some(BEFORE)),
            (Some("*"), None),
            (None, Some(DATE)),
            (None, None),
        ] {
            assert!(holds(tags, date), "{tags:?} {date:?}");
        }
        assert!(!holds(Some("W/\"a-1\", \"x\""), None));
        assert!(!holds(None, Some(BEFORE)));
    }

    #[test]
    fn a_range_is_for_exactly_this_version() {
        for value in [None, Some(TAG), Some(DATE)] {
            assert!(is_same(value, TAG, modified()), "{value:?}");
        }
        for value in ["W/\"a-1\"", "\"x\"", BEFORE, "yesterday"] {
            assert!(!is_same(Some(value), TAG, modified()), "{value}");
        }
    }
}
