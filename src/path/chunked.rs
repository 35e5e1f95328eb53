//! Parses the lines of the chunked transfer coding (RFC 9112 §7.1): chunk sizes and trailer fields. Pure.
//!
//! Parsing is strict. After a wrong chunk size the decoder stands inside the data or behind it, and only a strict check of what it
//! then reads as a line detects that.

/// Longest chunk-size line in bytes, with extensions.
const MAX_SIZE_LINE: usize = 4096;
/// Longest trailer field and longest trailer section, in bytes.
pub const MAX_TRAILERS: usize = 16 * 1024;

/// A line that is malformed or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLine;

/// Parses the chunk-size line at the start of `bytes`: the chunk's size in bytes, and the line's length with CRLF; `None` while it
/// is incomplete. Leading zeros and trailing whitespace are accepted, extensions are ignored.
///
/// # Errors
///
/// [`BadLine`] for a missing size, a size over 64 bits, a line end other than CRLF, and anything behind the size but an extension.
pub fn size_line(bytes: &[u8]) -> Result<Option<(usize, u64)>, BadLine> {
    let Some((line, len)) = line(bytes, MAX_SIZE_LINE)? else {
        return Ok(None);
    };
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (digits, behind) = line.split_at(digits);
    if digits.is_empty() {
        return Err(BadLine);
    }
    let size = digits.iter().try_fold(0_u64, |size, &digit| {
        let value = char::from(digit).to_digit(16).unwrap_or_default();
        size.checked_mul(16)?.checked_add(value.into())
    });
    let extension = behind.trim_ascii_start();
    if !extension.is_empty() && !extension.starts_with(b";") {
        return Err(BadLine);
    }
    size.map(|size| Some((len, size))).ok_or(BadLine)
}

/// The length of the trailer line at the start of `bytes` with CRLF, and whether it is the empty line that ends the section; `None`
/// while it is incomplete.
///
/// # Errors
///
/// [`BadLine`] for a missing name or colon, a control character, or a line end other than CRLF.
pub fn trailer_line(bytes: &[u8]) -> Result<Option<(usize, bool)>, BadLine> {
    let Some((line, len)) = line(bytes, MAX_TRAILERS)? else {
        return Ok(None);
    };
    let name = line.iter().take_while(|&&b| is_token(b)).count();
    let is_field = name > 0 && line.get(name) == Some(&b':');
    if !is_field && !line.is_empty() {
        return Err(BadLine);
    }
    Ok(Some((len, line.is_empty())))
}

/// The line at the start of `bytes` without CRLF, and its length with CRLF; `None` while it is incomplete.
fn line(bytes: &[u8], most: usize) -> Result<Option<(&[u8], usize)>, BadLine> {
    let within = &bytes[..bytes.len().min(most)];
    let is_text = |b: u8| b == b'\t' || b >= b' ' && b != 0x7f;
    let Some(end) = within.iter().position(|&b| !is_text(b)) else {
        return if within.len() < most {
            Ok(None)
        } else {
            Err(BadLine)
        };
    };
    match &bytes[end..] {
        [b'\r'] => Ok(None),
        [b'\r', b'\n', ..] => Ok(Some((&bytes[..end], end + 2))),
        _ => Err(BadLine),
    }
}

/// Characters of a field's name (RFC 9110 §5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_zeros_before_it_blanks_behind_it_and_extensions() {
        for (line, size) in [
            ("0\r\n", 0),
            ("5\r\n", 5),
            ("aF\r\nrest", 0xaf),
            ("000000000000000000000005\r\n", 5),
            ("ffffffffffffffff\r\n", u64::MAX),
            ("5  \t\r\n", 5),
            ("5;a=b;c=\"d e\"\r\n", 5),
            ("5 ;a\r\n", 5),
        ] {
            let len = line.find('\n').unwrap() + 1;
            assert_eq!(size_line(line.as_bytes()), Ok(Some((len, size))), "{line}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for line in [
            "\r\n",
            " 5\r\n",
            ";a\r\n",
            "-5\r\n",
            "+5\r\n",
            "0x5\r\n",
            "5 5\r\n",
            "5\n",
            "5\rx",
            "\n9c40\r\n",
            "5;a\nb\r\n",
            "5;a\0b\r\n",
            "10000000000000000\r\n",
            "five\r\n",
        ] {
            assert_eq!(size_line(line.as_bytes()), Err(BadLine), "{line:?}");
        }
    }

    #[test]
    fn a_line_is_incomplete_until_its_lf_and_may_not_grow_for_ever() {
        for begun in ["", "5", "5\r", "5;a", "0000"] {
            assert_eq!(size_line(begun.as_bytes()), Ok(None), "{begun:?}");
        }
        let flood = [b"5;".to_vec(), vec![b'x'; MAX_SIZE_LINE]].concat();
        assert_eq!(size_line(&flood), Err(BadLine));
    }

    #[test]
    fn a_trailer_section_holds_fields_and_an_empty_line() {
        assert_eq!(trailer_line(b"x-sum: 1\r\n"), Ok(Some((10, false))));
        assert_eq!(trailer_line(b"x-sum:\r\n"), Ok(Some((8, false))));
        assert_eq!(trailer_line(b"\r\nHTTP"), Ok(Some((2, true))));
        assert_eq!(trailer_line(b"x-sum: 1\r"), Ok(None));
        for line in [
            &b"\n"[..],
            b"x-sum: 1\n\r\n",
            b"x-sum 1\r\n",
            b": 1\r\n",
            b" folded: 1\r\n",
            b"x y: 1\r\n",
            b"x: \0\r\n",
            b"the rest of a text\r\n",
        ] {
            assert_eq!(trailer_line(line), Err(BadLine), "{line:?}");
        }
    }
}
