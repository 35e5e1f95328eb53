//! The content of the built-in origin: an index page, files of any size, and their checksums.

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use fileproxy_testbed::{
    content::Content,
    representation::{Body, Representation},
};
use ring::digest::{Context, SHA256};

use super::hls;

/// The files on the index page and in the checksums, smallest first.
pub const LISTED: [&str; 5] = ["1KB.bin", "64KB.bin", "1MB.bin", "10MB.bin", "100MB.bin"];

/// Path of the checksums, in the format of `sha256sum`. Computed on the first request, which takes a moment.
pub const CHECKSUMS: &str = "/files/SHA256SUMS";

/// Largest file: 10 GB.
const LARGEST: u64 = 10 * 1024 * 1024 * 1024;

/// Bytes that are hashed at a time.
const PIECE: u64 = 64 * 1024;

/// All resources of the origin.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    checksums: Arc<OnceLock<Bytes>>,
}

impl Catalogue {
    /// The resource at `path`, if there is one.
    pub fn find(&self, path: &str) -> Option<Representation> {
        match path {
            "/" | "/index.html" => Some(Representation {
                body: Body::Held(index().into()),
                media_type: "text/html; charset=utf-8",
            }),
            CHECKSUMS => Some(Representation {
                body: Body::Held(self.checksums.get_or_init(checksums).clone()),
                media_type: "text/plain; charset=utf-8",
            }),
            _ => hls::find(path).or_else(|| file(path)),
        }
    }
}

fn file(path: &str) -> Option<Representation> {
    let size = path.strip_prefix("/files/")?.strip_suffix(".bin")?;
    Some(Representation {
        body: Body::Made(Content::of(path), size_of(size)?),
        media_type: "application/octet-stream",
    })
}

/// Parses `10`, `10KB`, `10MB` or `10GB` as bytes, up to 10 GB; 1 KB is 1,024 bytes.
pub fn size_of(text: &str) -> Option<u64> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    let size = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (size <= LARGEST).then_some(size)
}

/// SHA-256 of a body, in hexadecimal.
pub fn sha256(body: &Body) -> String {
    let mut context = Context::new(&SHA256);
    let mut at = 0;
    while at < body.len() {
        let piece = body.read(at..at + PIECE);
        at += piece.len() as u64;
        context.update(&piece);
    }
    hex(context.finish().as_ref())
}

/// `bytes` in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

fn checksums() -> Bytes {
    let mut text = String::new();
    for name in LISTED {
        if let Some(file) = file(&format!("/files/{name}")) {
            text += &format!("{}  {name}\n", sha256(&file.body));
        }
    }
    text.into()
}

fn index() -> String {
    let files = LISTED.map(|name| format!("<li><a href=\"/files/{name}\">{name}</a></li>"));
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <head><meta charset=\"utf-8\"><title>fileproxy demo origin</title></head>\n\
         <body>\n\
         <h1>fileproxy demo origin</h1>\n\
         <h2>Files</h2>\n\
         <ul>\n{}\n</ul>\n\
         <p>Any size up to 10 GB works: <code>/files/250MB.bin</code>. \
         Check with <a href=\"{CHECKSUMS}\">SHA256SUMS</a>.</p>\n\
         <h2>Stream</h2>\n\
         <ul>\n\
         <li><a href=\"/hls/master.m3u8\">/hls/master.m3u8</a></li>\n\
         <li><a href=\"/hls/stream.m3u8\">/hls/stream.m3u8</a></li>\n\
         </ul>\n\
         <h2>To try things with</h2>\n\
         <ul>\n\
         <li><code>/slow?ms=2000</code>: answers after that many milliseconds</li>\n\
         <li><code>/status/503</code>: answers with that status</li>\n\
         <li><code>/chunked/1MB</code>: a body without a length</li>\n\
         <li><code>POST</code> or <code>PUT /upload</code>: answers with the length and SHA-256 of what came</li>\n\
         </ul>\n\
         </body>\n\
         </html>\n",
        files.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_an_end() {
        assert_eq!(size_of("0"), Some(0));
        assert_eq!(size_of("1KB"), Some(1024));
        assert_eq!(size_of("10GB"), Some(LARGEST));
        for wrong in [
            "",
            "KB",
            "11GB",
            "-1KB",
            "+1KB",
            "1kB",
            "1 KB",
            "99999999999999999999",
        ] {
            assert_eq!(size_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_that_is_no_file_has_nothing() {
        for path in [
            "/files/",
            "/files/.bin",
            "/files/1KB",
            "/x",
            "/files/../1KB.bin",
        ] {
            assert!(Catalogue::default().find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_index_names_every_listed_file() {
        let index = index();
        assert!(
            LISTED
                .iter()
                .all(|name| index.contains(&format!("/files/{name}")))
        );
    }
}
