//! The Range field (RFC 9110, section 14.2): which parts of a file are asked for.

use std::ops::Range;

/// What of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it. A field that cannot be read, or has too many ranges, is as if it were not there.
    Whole,
    /// These parts, in this order; at least one, and none of them empty.
    Parts(Vec<Range<u64>>),
    /// Parts, but none that it has.
    Nothing,
}

impl Wanted {
    /// What a field's value asks for of a file of `len` bytes, where up to `most` ranges are answered.
    #[must_use]
    pub fn of(value: &str, len: u64, most: usize) -> Self {
        let specs = value.strip_prefix("bytes=").unwrap_or_default().split(',');
        let specs: Option<Vec<_>> = specs
            .map(str::trim)
            .filter(|spec| !spec.is_empty())
            .map(|spec| part(spec, len))
            .collect();
        let Some(parts) = specs.filter(|specs| (1..=most).contains(&specs.len())) else {
            return Self::Whole;
        };
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            Self::Nothing
        } else {
            Self::Parts(parts)
        }
    }
}

/// One range; outer none: it is no range; inner none: the file has nothing there.
fn part(spec: &str, len: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
    let range = match (first, last) {
        ("", suffix) => len.saturating_sub(number(suffix)?)..len,
        (first, "") => number(first)?..len,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(len)
        }
    };
    Some((range.start < range.end).then_some(range))
}

/// The value of Content-Range for a part of a file of `len` bytes.
#[must_use]
pub fn content_range(part: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", part.start, part.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_its_part() {
        let one = |value| match Wanted::of(value, 1000, 3) {
            Wanted::Parts(parts) if parts.len() == 1 => parts[0].clone(),
            other => panic!("{value}: {other:?}"),
        };
        assert_eq!(one("bytes=0-0"), 0..1);
        assert_eq!(one("bytes=990-"), 990..1000);
        assert_eq!(one("bytes=-20"), 980..1000);
        assert_eq!(one("bytes=-2000"), 0..1000);
        assert_eq!(one("bytes=900-5000"), 900..1000);
        assert_eq!(one("bytes=0-18446744073709551615"), 0..1000);
        let several = Wanted::of("bytes=0-1, 5-6,,5000-", 1000, 3);
        assert_eq!(several, Wanted::Parts(vec![0..2, 5..7]));
    }

    #[test]
    fn what_the_file_does_not_have_is_nothing() {
        for value in ["bytes=1000-", "bytes=5000-6000", "bytes=-0"] {
            assert_eq!(Wanted::of(value, 1000, 3), Wanted::Nothing, "{value}");
        }
        assert_eq!(Wanted::of("bytes=0-", 0, 3), Wanted::Nothing);
        assert_eq!(Wanted::of("bytes=-5", 0, 3), Wanted::Nothing);
    }

    #[test]
    fn what_is_no_range_gives_the_whole() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "lines=1-2",
            "bytes=5-2",
            "bytes=x-y",
            "bytes=-",
            "bytes=+1-2",
            "bytes=0-1,x",
            "bytes=0-0,1-1,2-2,3-3",
        ] {
            assert_eq!(Wanted::of(value, 1000, 3), Wanted::Whole, "{value}");
        }
    }
}
