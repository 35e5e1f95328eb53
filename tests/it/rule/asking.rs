//! What a client asks for, and in which manner.

use super::behaviour::{Access, Instead, Pace, Row, Upload};

/// One kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Get,
    /// Takes gzip.
    Coded,
    First,
    Middle,
    Suffix,
    OpenEnd,
    /// Behind the end of the file.
    Beyond,
    /// If-None-Match with the file's tag.
    Known,
    /// If-None-Match with another one.
    Outdated,
    IfRange,
    /// If-Range with another validator.
    IfRangeOutdated,
    Head,
    Upload,
    /// An upload without a length.
    UploadChunks,
    /// Reads little at a time, with pauses, through a small buffer.
    Slow,
    /// All requests in one packet; over HTTP/2 all streams at once.
    Pipelined,
    /// HTTP/1.0.
    Old,
    /// Leaves in the middle of a body; then another one asks.
    Leaves,
    /// The same three times, one after the other.
    Again,
    /// Two clients at once.
    Two,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

impl Kind {
    pub const ALL: [Kind; 20] = [
        Kind::Get,
        Kind::Coded,
        Kind::First,
        Kind::Middle,
        Kind::Suffix,
        Kind::OpenEnd,
        Kind::Beyond,
        Kind::Known,
        Kind::Outdated,
        Kind::IfRange,
        Kind::IfRangeOutdated,
        Kind::Head,
        Kind::Upload,
        Kind::UploadChunks,
        Kind::Slow,
        Kind::Pipelined,
        Kind::Old,
        Kind::Leaves,
        Kind::Again,
        Kind::Two,
    ];

    /// Whether it shows something of this row that others do not, and what it gets is not a matter of luck.
    pub fn suits(self, row: &Row, over: Http) -> bool {
        let behaviour = &row.behaviour;
        let all_alike = behaviour.breaks.is_none_or(|rule| rule.times == usize::MAX);
        let limited = behaviour.access != Access::Open;
        let is_upload = matches!(self, Kind::Upload | Kind::UploadChunks);
        let odd_upload = behaviour.upload != Upload::Read;
        match self {
            // Size alone changes nothing for the others.
            _ if behaviour.len > 1_000_000 => {
                matches!(self, Kind::Get | Kind::OpenEnd | Kind::Slow | Kind::Again)
            }
            // An upload says nothing of how files are given.
            _ if is_upload => odd_upload || row.name == "plain",
            _ if odd_upload => false,
            Kind::Coded => behaviour.gzip,
            // Which of them comes first is a matter of luck.
            Kind::Two => {
                !behaviour.changes
                    && all_alike
                    && match behaviour.access {
                        Access::Open => true,
                        Access::Places(places, _) => places > 1,
                        _ => false,
                    }
            }
            Kind::Pipelined => {
                !limited
                    && behaviour.instead != Instead::Nothing
                    && (over == Http::One || all_alike)
            }
            Kind::Old => over == Http::One,
            Kind::Leaves => !limited && behaviour.len > 100_000,
            Kind::Slow => {
                behaviour.pace == Pace::AtOnce && !matches!(behaviour.access, Access::For(..))
            }
            // Where a break is mended, that was one of those that the origin gives.
            Kind::Again => {
                !limited
                    || behaviour.breaks.is_none() && !matches!(behaviour.access, Access::For(..))
            }
            Kind::First | Kind::Middle | Kind::Suffix | Kind::OpenEnd | Kind::IfRange => {
                behaviour.len > 100
            }
            _ => true,
        }
    }

    /// What an origin is asked itself where a proxy is asked by such a client: it speaks HTTP/1.1 whatever the client does.
    pub fn direct(self) -> Self {
        match self {
            Kind::Old => Kind::Get,
            kind => kind,
        }
    }

    /// What is asked for, of the file at this path.
    pub fn requests(self, row: &Row, path: &str) -> Vec<Asked> {
        let len = row.behaviour.len;
        let get = |fields: Vec<(&'static str, String)>| Asked {
            method: "GET",
            path: path.to_owned(),
            fields,
            upload: None,
        };
        let range = |range: String| get(vec![("range", format!("bytes={range}"))]);
        let middle = format!("{}-{}", len / 3, len * 2 / 3);
        let validator = row.validator(0).unwrap_or("\"none\"".to_owned());
        let if_range = |validator: String| {
            get(vec![
                ("range", format!("bytes={middle}")),
                ("if-range", validator),
            ])
        };
        let plain = || get(Vec::new());
        let head = || Asked {
            method: "HEAD",
            ..plain()
        };
        let upload = |framed| Asked {
            method: "POST",
            upload: Some(framed),
            ..plain()
        };
        match self {
            Kind::Get | Kind::Slow | Kind::Old => vec![plain()],
            Kind::Coded => vec![get(vec![("accept-encoding", "gzip".to_owned())])],
            Kind::First => vec![range("0-999".to_owned())],
            Kind::Middle => vec![range(middle)],
            Kind::Suffix => vec![range(format!("-{}", len / 2))],
            Kind::OpenEnd => vec![range(format!("{}-", len / 2))],
            Kind::Beyond => vec![range(format!("{}-", len + 10))],
            Kind::Known => vec![get(vec![("if-none-match", validator)])],
            Kind::Outdated => vec![get(vec![("if-none-match", "\"another\"".to_owned())])],
            Kind::IfRange => vec![if_range(validator)],
            Kind::IfRangeOutdated => vec![if_range("\"another\"".to_owned())],
            Kind::Head => vec![head()],
            Kind::Upload => vec![upload(Framed::Length)],
            Kind::UploadChunks => vec![upload(Framed::Chunks)],
            Kind::Pipelined => vec![plain(), head(), range("5-2000".to_owned()), plain()],
            Kind::Leaves => vec![plain(), plain()],
            Kind::Again => vec![plain(), plain(), plain()],
            Kind::Two => vec![plain(), plain()],
        }
    }
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub method: &'static str,
    pub path: String,
    pub fields: Vec<(&'static str, String)>,
    pub upload: Option<Framed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    Length,
    Chunks,
}

/// Bytes of an upload.
pub const UPLOAD: usize = 600_000;

impl Asked {
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The request's head over HTTP/1.
    pub fn head(&self, version: &str) -> String {
        let mut head = format!(
            "{} {} HTTP/{version}\r\nhost: proxy\r\n",
            self.method, self.path
        );
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        match self.upload {
            Some(Framed::Length) => head += &format!("content-length: {UPLOAD}\r\n"),
            Some(Framed::Chunks) => head += "transfer-encoding: chunked\r\n",
            None => {}
        }
        head + "\r\n"
    }
}
