//! A store with a disk tier in its own folder, and objects whose bytes identify their version.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use actix_http::{
    Method, StatusCode,
    header::{HeaderMap, HeaderName},
};
use bytes::Bytes;
use bytesize::ByteSize;

use crate::store::{
    body::{BLOCK, Found},
    directives::RequestDirectives,
    disk::{DiskFigures, KeepFree, Settings},
    freshness::{Asked, Exchanged, Freshness, Rules},
    head::Head,
    key::Key,
    memory::Memory,
    object::Object,
    object_fill::Fill,
    object_reader::Reader,
    place::Place,
    shelf::Shelf,
    variant::Variant,
    version::Version,
};

/// A store.
pub struct Bench {
    pub shelf: Arc<Shelf>,
    pub path: PathBuf,
}

/// How a store is opened.
pub struct Options {
    pub memory: u64,
    pub disk: u64,
    pub keep_free: KeepFree,
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memory: 64 << 20,
            disk: 1 << 30,
            keep_free: KeepFree::Bytes(ByteSize::b(0)),
            pause: Duration::from_millis(50),
        }
    }
}

pub fn key(target: &str) -> Key {
    Key::new(&"default".into(), false, "h", target)
}

/// The byte at `at` of a version's body.
pub fn byte(version: u64, at: u64) -> u8 {
    let mixed = (version.wrapping_mul(0x9e37_79b9) ^ (at / 7)).wrapping_mul(0x85eb_ca6b) + at;
    (mixed >> 8) as u8
}

pub fn bytes(version: u64, length: u64) -> Vec<u8> {
    (0..length).map(|at| byte(version, at)).collect()
}

/// A head that names its version, with a strong or weak ETag.
pub fn head(version: u64, strong: bool, more: &[(&'static str, &str)]) -> Head {
    let mut fields = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        fields.append(HeaderName::from_static(name), value.parse().unwrap());
    };
    add("x-version", &version.to_string());
    add("cache-control", "max-age=3600");
    if strong {
        add("etag", &format!("\"{version}\""));
    }
    more.iter().for_each(|(name, value)| add(name, value));
    let now = SystemTime::now();
    let asked = Asked {
        method: &Method::GET,
        credentials: false,
        directives: &RequestDirectives::default(),
    };
    let exchanged = Exchanged {
        asked: now,
        answered: now,
    };
    let rules = Rules {
        targeted: Vec::new(),
        heuristic_max: Duration::ZERO,
        error_max: Duration::ZERO,
        stale_if_error: Duration::from_secs(3600),
    };
    Head {
        status: StatusCode::OK,
        freshness: Freshness::of(asked, StatusCode::OK, &fields, exchanged, &rules).unwrap(),
        fields,
        validated: now,
    }
}

/// The version named by an object's head.
pub fn version(object: &Object) -> u64 {
    let head = object.head();
    let value = head.fields.get("x-version").unwrap();
    value.to_str().unwrap().parse().unwrap()
}

/// What a reader gets of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Body {
    Whole(u64),
    /// This many bytes were missing; the others were right.
    Part(u64),
}

impl Bench {
    pub fn open(path: &Path, options: &Options) -> Self {
        let shelf = Shelf::new(Memory::new(options.memory));
        let settings = Settings {
            pause: options.pause,
            ..Settings::new(
                path.to_owned(),
                ByteSize::b(options.disk),
                options.keep_free,
            )
        };
        shelf.open_disk(&settings).unwrap();
        let bench = Bench {
            shelf,
            path: path.to_owned(),
        };
        bench.until("the journal is read", |figures| !figures.loading);
        bench
    }

    /// Waits until the figures satisfy a condition.
    pub fn until(&self, what: &str, is_so: impl Fn(&DiskFigures) -> bool) -> DiskFigures {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let figures = self.figures();
            if is_so(&figures) {
                return figures;
            }
            assert!(Instant::now() < end, "not until now: {what}: {figures:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn figures(&self) -> DiskFigures {
        self.shelf.disk().unwrap().figures()
    }

    /// Closes it, after everything queued is written.
    pub fn close(self) -> PathBuf {
        assert!(self.shelf.disk().unwrap().close());
        self.path
    }

    /// Closes it and opens the same directory again.
    pub fn reopen(self, options: &Options) -> Self {
        Bench::open(&self.close(), options)
    }

    /// Adds an object with a complete body.
    pub fn put(&self, target: &str, version: u64, length: u64) -> Arc<Object> {
        self.put_head(
            target,
            head(version, true, &[]),
            version,
            Some(length),
            length,
        )
    }

    /// Adds an object, with or without a declared length.
    pub fn put_head(
        &self,
        target: &str,
        head: Head,
        version: u64,
        told: Option<u64>,
        length: u64,
    ) -> Arc<Object> {
        let object = self.begin(target, head, told);
        let fill = Fill::of(&object, 0..u64::MAX);
        if let Some(fill) = fill {
            let mut at = 0;
            // Pieces with arbitrary boundaries.
            for size in [100, 20_000, 65_536, 3000, 40_000].into_iter().cycle() {
                let end = length.min(at + size);
                let piece: Vec<u8> = (at..end).map(|at| byte(version, at)).collect();
                if !self.shelf.write(&fill, at, &Bytes::from(piece)) {
                    return object;
                }
                at = end;
                if at == length {
                    break;
                }
            }
            fill.complete();
        }
        object
    }

    /// Answers a request with an object whose body is still to come.
    pub fn begin(&self, target: &str, head: Head, told: Option<u64>) -> Arc<Object> {
        let fields = HeaderMap::new();
        let ask = loop {
            // Other requests may be looking it up on disk.
            match Place::again(&self.shelf, &key(target), &fields, &[]) {
                Place::Ask(ask) => break ask,
                _ => std::thread::yield_now(),
            }
        };
        let variant = Variant::of(&fields, &head.fields, true, &[]);
        let version = told.and_then(|length| Version::of(&head.fields, length));
        let room = self.shelf.room(Object::cost(&key(target), &variant, &head));
        let object = Object::new(key(target), variant, version, head, told, room.unwrap());
        ask.answer(&object);
        object
    }

    /// The object for a target, from memory or disk.
    pub async fn find(&self, target: &str) -> Option<Arc<Object>> {
        let (key, fields) = (key(target), HeaderMap::new());
        match Place::of(&self.shelf, &key, &fields, &[], Instant::now()) {
            Place::Here(object) => Some(object),
            Place::Ask(ask) => {
                let object = self.shelf.recall(&key, &fields, &[]).await?;
                Some(ask.recalled(object))
            }
            Place::Join(joined) => joined.await.ok().flatten(),
            other @ Place::Alone => panic!("{other:?}"),
        }
    }

    /// Reads an object's body, and checks each byte that is there.
    pub async fn read(&self, object: &Arc<Object>) -> Body {
        let version = version(object);
        let (mut at, mut missing) = (0, 0);
        loop {
            let piece = match look(object, at) {
                Found::Piece(piece) => piece,
                Found::Stored(part) => {
                    assert!(part.start == at && part.end > at);
                    match self.shelf.load(object, at).await {
                        Some(piece) => piece,
                        None => continue,
                    }
                }
                Found::Missing(gap) => {
                    assert!(gap.start == at && gap.end > at);
                    if object.length().is_none() {
                        return Body::Part(u64::MAX);
                    }
                    missing += gap.end - at;
                    at = gap.end;
                    continue;
                }
                Found::End if missing == 0 => return Body::Whole(at),
                Found::End => return Body::Part(missing),
                other => panic!("{other:?}"),
            };
            for &got in &piece {
                assert_eq!(got, byte(version, at), "a wrong byte at {at}");
                at += 1;
            }
        }
    }

    /// Reads what is there of a body that others may fill and evict meanwhile.
    pub async fn read_some(&self, object: &Arc<Object>) {
        let version = version(object);
        let mut at = 0;
        loop {
            let piece = match look(object, at) {
                Found::Piece(piece) => piece,
                Found::Stored(_) => match self.shelf.load(object, at).await {
                    Some(piece) => piece,
                    None => continue,
                },
                Found::Wait(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Found::Missing(_) | Found::End | Found::Broken => return,
            };
            for &got in &piece {
                assert_eq!(got, byte(version, at), "a wrong byte at {at}");
                at += 1;
            }
        }
    }

    /// Version and body for a target, wherever it is stored.
    pub async fn get(&self, target: &str) -> Option<(u64, Body)> {
        let object = self.find(target).await?;
        let body = self.read(&object).await;
        Some((version(&object), body))
    }

    /// Size of the directory, in bytes.
    pub fn size(&self) -> u64 {
        size(&self.path)
    }

    /// The body files.
    pub fn bodies(&self) -> Vec<PathBuf> {
        bodies(&self.path)
    }
}

/// What a reader finds at a position.
fn look(object: &Arc<Object>, at: u64) -> Found {
    let mut cx = Context::from_waker(Waker::noop());
    Reader::of(object, at).look(&mut cx)
}

/// The body files in a store's directory.
pub fn bodies(path: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(path.join("bodies")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let found = entry.metadata().ok()?;
        Some(match found.is_dir() {
            true => size(&entry.path()),
            false => found.blocks() * 512,
        })
    });
    sizes.sum()
}

/// Copies a store's directory to simulate a power failure.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            // Fails for files that are removed meanwhile.
            _ = fs::copy(entry.path(), to);
        }
    }
}

/// Flips one bit.
pub fn flip(path: &Path, at: u64) {
    let mut all = fs::read(path).unwrap();
    all[at as usize] ^= 1;
    fs::write(path, all).unwrap();
}

pub const MANY_BLOCKS: u64 = 5 * BLOCK + 17;
