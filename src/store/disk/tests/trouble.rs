//! A failing disk: readers only see misses, each error is counted, and writing resumes once the disk works.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use super::bench::*;
use crate::store::{body::BLOCK, disk::What};

#[tokio::test]
async fn a_directory_that_vanishes_is_a_miss_and_is_used_again_once_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let bench = Bench::open(&path, &Options::default());
    for n in 0..5 {
        bench.put(&format!("/{n}"), n, MANY_BLOCKS);
    }
    let bench = bench.reopen(&Options::default());
    let reader = bench.find("/0").await.unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(bench.read(&reader).await, Body::Part(MANY_BLOCKS));
    for n in 1..5 {
        let got = bench.get(&format!("/{n}")).await;
        assert!(matches!(got, None | Some((_, Body::Part(_)))), "{got:?}");
        bench.put(&format!("/{n}"), 10 + n, MANY_BLOCKS);
        assert_eq!(
            bench.get(&format!("/{n}")).await,
            Some((10 + n, Body::Whole(MANY_BLOCKS)))
        );
    }
    bench.until("it is noticed", |figures| figures.write_errors > 0);
    // Opened again at the same path, on the same file system.
    bench.until("it works again", |figures| figures.trouble.is_none());
    bench.put("/new", 9, MANY_BLOCKS);
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/new").await, Some((9, Body::Whole(MANY_BLOCKS))));
    assert_eq!(bench.get("/0").await, None);
}

/// A mounted file system; none if this user may not mount.
struct Mount(PathBuf);

impl Mount {
    /// A file system of limited size.
    fn small(path: &Path) -> Option<Self> {
        let path = path.to_owned();
        let done = mount(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &path);
        done.then_some(Mount(path))
    }

    /// A read-only bind mount of the folder.
    fn read_only(path: PathBuf) -> Option<Self> {
        let text = path.to_string_lossy().into_owned();
        let done = mount(&["--bind", &text], &path);
        let mounted = done.then_some(Mount(path.clone()))?;
        assert!(mount(&["-o", "remount,bind,ro"], &path));
        Some(mounted)
    }
}

fn mount(args: &[&str], path: &Path) -> bool {
    let done = Command::new("mount").args(args).arg(path).output();
    let done = done.is_ok_and(|done| done.status.success());
    if !done {
        eprintln!("skipped: nothing can be mounted here");
    }
    done
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because files may still be open.
        _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_stops_writing_and_what_is_there_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::small(folder.path()) else {
        return;
    };
    let path = folder.path().join("store");
    // With a limit above the real size, and nothing to keep free.
    let bench = Bench::open(&path, &Options::default());
    bench.put("/0", 0, MANY_BLOCKS);
    bench.until("it is written", |figures| figures.blocks_written == 6);
    // Another process fills the disk.
    let filler = folder.path().join("filler");
    _ = fs::write(&filler, vec![0; 8 << 20]);
    for n in 1..30 {
        bench.put(&format!("/{n}"), n, MANY_BLOCKS);
        assert_eq!(
            bench.get(&format!("/{n}")).await,
            Some((n, Body::Whole(MANY_BLOCKS)))
        );
    }
    let figures = bench.until("it is noticed", |figures| figures.write_errors > 0);
    assert!(figures.not_written > 0);
    fs::remove_file(&filler).unwrap();
    bench.until("it works again", |figures| figures.trouble.is_none());
    bench.put("/new", 9, MANY_BLOCKS);
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/new").await, Some((9, Body::Whole(MANY_BLOCKS))));
    for n in 0..30 {
        let got = bench.get(&format!("/{n}")).await;
        assert!(got.is_none_or(|(version, _)| version == n));
    }
    assert_eq!(bench.figures().checksum_failures, 0);
    bench.close();
    drop(mount);
}

#[tokio::test]
async fn a_disk_that_is_read_only_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/0", 0, MANY_BLOCKS);
    bench.put("/1", 1, MANY_BLOCKS);
    let bench = bench.reopen(&Options::default());
    let Some(mount) = Mount::read_only(folder.path().join("bodies")) else {
        return;
    };
    for n in 2..20 {
        bench.put(&format!("/{n}"), n, MANY_BLOCKS);
        assert_eq!(
            bench.get(&format!("/{n}")).await,
            Some((n, Body::Whole(MANY_BLOCKS)))
        );
    }
    let figures = bench.until("it is noticed", |figures| figures.trouble.is_some());
    assert!(figures.trouble.unwrap().reason.contains("Read-only"));
    assert_eq!(bench.get("/0").await, Some((0, Body::Whole(MANY_BLOCKS))));
    let disk = bench.shelf.disk().unwrap();
    let url = What::Url(key("/1"));
    assert!(disk.purge(url, false, SystemTime::now()).await.is_ok());
    assert_eq!(bench.get("/1").await, None);
    drop(mount);
    bench.until("it works again", |figures| figures.trouble.is_none());
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/0").await, Some((0, Body::Whole(MANY_BLOCKS))));
    assert_eq!(bench.get("/1").await, None);
    bench.until("what was purged is removed", |_| bench.bodies().len() < 20);
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_miss_after_a_while_and_then_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    for n in 0..6 {
        bench.put(&format!("/{n}"), n, 1000);
    }
    let bench = bench.reopen(&Options::default());
    let mut objects = Vec::new();
    for n in 0..6 {
        objects.push(bench.find(&format!("/{n}")).await.unwrap());
    }
    // FIFOs without a writer: opening one blocks.
    let files = bench.bodies();
    for file in &files {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }
    let reads = objects[..3].iter().map(|object| bench.read(object));
    for body in futures_util::future::join_all(reads).await {
        assert_eq!(body, Body::Part(1000));
    }
    let began = Instant::now();
    for object in &objects[3..] {
        assert_eq!(bench.read(object).await, Body::Part(1000));
    }
    assert!(bench.find("/none").await.is_none());
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
    assert!(bench.figures().slow_reads >= 2);
    // Unblocks the readers.
    bench.until("all reads are over", |figures| {
        for file in &files {
            _ = fs::OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(file);
        }
        figures.not_read >= 3
    });
    bench.close();
}

#[tokio::test]
async fn blocks_that_cannot_be_opened_are_missing_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/0", 0, MANY_BLOCKS);
    let bench = bench.reopen(&Options::default());
    // A file in place of a folder: neither written nor read.
    let bodies = bench.path.join("bodies");
    let aside = bench.path.join("aside");
    fs::rename(&bodies, &aside).unwrap();
    fs::write(&bodies, "").unwrap();
    assert_eq!(bench.get("/0").await, Some((0, Body::Part(MANY_BLOCKS))));
    bench.put("/1", 1, 3 * BLOCK);
    bench.until("it is noticed", |figures| figures.trouble.is_some());
    assert_eq!(bench.get("/1").await, Some((1, Body::Whole(3 * BLOCK))));
    fs::remove_file(&bodies).unwrap();
    fs::rename(&aside, &bodies).unwrap();
    bench.until("it works again", |figures| figures.trouble.is_none());
    bench.put("/2", 2, 3 * BLOCK);
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/2").await, Some((2, Body::Whole(3 * BLOCK))));
}
