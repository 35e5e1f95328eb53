//! As much of HTTP/1.1 as both ends of a test need, apart from what the proxy itself uses to read it.

/// Where the head ends, its empty line included.
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// A response's status.
pub fn status(head: &[u8]) -> u16 {
    let line = String::from_utf8_lossy(head);
    line.split(' ')
        .nth(1)
        .and_then(|code| code.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {line:?}"))
}

/// The values of the fields of this name, in order.
pub fn fields(head: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(head);
    text.split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

/// Takes a body apart as its head says.
#[derive(Debug)]
pub enum Decoder {
    /// So many bytes are left.
    Length(usize),
    /// Chunked; the bytes left in the chunk, its line end included.
    Chunked(usize),
    /// After the last chunk: trailers.
    Trailers,
    /// To the close.
    Close,
}

impl Decoder {
    /// By a response's head.
    pub fn of(head: &[u8]) -> Self {
        if fields(head, "transfer-encoding")
            .iter()
            .any(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            return Decoder::Chunked(0);
        }
        match fields(head, "content-length").first() {
            Some(length) => Decoder::Length(length.parse().unwrap()),
            None => Decoder::Close,
        }
    }

    /// Moves what belongs to the body; whether it is whole.
    pub fn step(&mut self, from: &mut Vec<u8>, body: &mut Vec<u8>) -> bool {
        loop {
            match self {
                Decoder::Length(left) => {
                    let n = from.len().min(*left);
                    body.extend(from.drain(..n));
                    *left -= n;
                    return *left == 0;
                }
                Decoder::Close => {
                    body.append(from);
                    return false;
                }
                Decoder::Chunked(0) => {
                    let Some(end) = from.windows(2).position(|w| w == b"\r\n") else {
                        return false;
                    };
                    let line = String::from_utf8_lossy(&from[..end]).into_owned();
                    let size = line.split(';').next().unwrap().trim();
                    let size = usize::from_str_radix(size, 16)
                        .unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
                    from.drain(..end + 2);
                    *self = match size {
                        0 => Decoder::Trailers,
                        size => Decoder::Chunked(size + 2),
                    };
                }
                Decoder::Chunked(left) => {
                    if from.is_empty() {
                        return false;
                    }
                    let data = left.saturating_sub(2).min(from.len());
                    body.extend(from.drain(..data));
                    *left -= data;
                    let line_end = if *left <= 2 { from.len().min(*left) } else { 0 };
                    from.drain(..line_end);
                    *left -= line_end;
                }
                Decoder::Trailers => {
                    let Some(end) = from.windows(2).position(|w| w == b"\r\n") else {
                        return false;
                    };
                    from.drain(..end + 2);
                    if end == 0 {
                        return true;
                    }
                }
            }
        }
    }
}
