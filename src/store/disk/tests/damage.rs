//! Damaged files: what is served is right, and the rest is missing.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    time::SystemTime,
};

use super::bench::*;
use crate::store::{body::BLOCK, disk::What, object_fill::Fill};

/// A closed store with `/0` to `/9`.
fn filled(path: &Path) {
    let bench = Bench::open(path, &Options::default());
    for n in 0..10 {
        bench.put(&format!("/{n}"), n, MANY_BLOCKS);
    }
    bench.close();
}

fn cut(path: &Path, len: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

#[tokio::test]
async fn a_bit_that_turned_over_costs_one_block() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    for file in bodies(folder.path()) {
        flip(&file, BLOCK + 77);
    }
    let bench = Bench::open(folder.path(), &Options::default());
    for n in 0..10 {
        let got = bench.get(&format!("/{n}")).await;
        assert_eq!(got, Some((n, Body::Part(BLOCK))));
    }
    assert_eq!(bench.figures().checksum_failures, 10);
    // It is written again when it is fetched again.
    let object = bench.find("/3").await.unwrap();
    let fill = Fill::of(&object, BLOCK..2 * BLOCK).unwrap();
    let part: Vec<u8> = (BLOCK..2 * BLOCK).map(|at| byte(3, at)).collect();
    assert!(bench.shelf.write(&fill, BLOCK, &part.into()));
    drop((fill, object));
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/3").await, Some((3, Body::Whole(MANY_BLOCKS))));
    assert_eq!(bench.get("/4").await, Some((4, Body::Part(BLOCK))));
    // Known bad blocks are not read again.
    assert_eq!(bench.figures().checksum_failures, 0);
}

#[tokio::test]
async fn files_that_are_short_or_not_there_or_anothers_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let files = bodies(folder.path());
    cut(&files[0], 2 * BLOCK + 5);
    cut(&files[1], 0);
    fs::remove_file(&files[2]).unwrap();
    fs::copy(&files[4], &files[3]).unwrap();
    fs::remove_file(&files[5]).unwrap();
    fs::create_dir(&files[5]).unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let mut whole = 0;
    for n in 0..10 {
        let (version, body) = bench.get(&format!("/{n}")).await.unwrap();
        assert_eq!(version, n);
        whole += usize::from(body == Body::Whole(MANY_BLOCKS));
    }
    assert_eq!(whole, 5);
    let figures = bench.figures();
    assert!(
        figures.read_errors >= 3 && figures.checksum_failures >= 1,
        "{figures:?}"
    );
}

#[tokio::test]
async fn a_journal_that_was_cut_anywhere_gives_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let journal = folder.path().join("journal");
    let len = fs::metadata(&journal).unwrap().len();
    let mut most = 0;
    for cut_at in (0..=len).step_by(len as usize / 40) {
        let other = tempfile::tempdir().unwrap();
        copy(folder.path(), other.path());
        cut(&other.path().join("journal"), cut_at);
        let bench = Bench::open(other.path(), &Options::default());
        let mut found = 0;
        for n in 0..10 {
            if let Some((version, _)) = bench.get(&format!("/{n}")).await {
                assert_eq!(version, n);
                found += 1;
            }
        }
        assert!(found >= most, "{found} after {most}");
        most = found;
        // Appending continues after the part that was cut off.
        bench.put("/new", 77, MANY_BLOCKS);
        let bench = bench.reopen(&Options::default());
        assert_eq!(
            bench.get("/new").await,
            Some((77, Body::Whole(MANY_BLOCKS)))
        );
        assert_eq!(bench.figures().journal_damages, 0);
        bench.close();
    }
    assert_eq!(most, 10);
}

#[tokio::test]
async fn a_journal_with_a_bit_turned_over_brings_nothing_back_that_was_purged() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let disk = bench.shelf.disk().unwrap();
    bench.put("/live/0", 0, MANY_BLOCKS);
    bench.put("/1", 1, MANY_BLOCKS);
    bench.until("all is written", |figures| figures.blocks_written == 12);
    bench.shelf.purge(false, SystemTime::now(), |object| {
        object.key == key("/live/0")
    });
    let prefix = What::Prefix("http://h/live/".to_owned());
    disk.purge(prefix, false, SystemTime::now()).await.unwrap();
    bench.put("/2", 2, MANY_BLOCKS);
    bench.close();
    let journal = folder.path().join("journal");
    let len = fs::metadata(&journal).unwrap().len();
    let mut kept = 0;
    for at in (0..len).step_by(61) {
        let other = tempfile::tempdir().unwrap();
        copy(folder.path(), other.path());
        flip(&other.path().join("journal"), at);
        let bench = Bench::open(other.path(), &Options::default());
        assert!(bench.find("/live/0").await.is_none(), "{at}");
        for n in 1..3 {
            if let Some((version, _)) = bench.get(&format!("/{n}")).await {
                assert_eq!(version, n);
                kept += 1;
            }
        }
        assert_eq!(bench.figures().journal_damages, 1);
        bench.close();
    }
    assert!(kept > 0);
}

#[tokio::test]
async fn a_journal_of_nothing_but_noise_is_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    let journal = folder.path().join("journal");
    let noise: Vec<u8> = bytes(5, 3 << 20);
    for noise in [&noise[..], &[0; 5000], &[b'\n'; 5000], b"{}"] {
        fs::write(&journal, noise).unwrap();
        let bench = Bench::open(folder.path(), &Options::default());
        assert!(bench.find("/0").await.is_none());
        assert_eq!(bench.figures().objects, 0);
        bench.close();
    }
}

#[tokio::test]
async fn bodies_that_no_record_names_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    fs::remove_file(folder.path().join("journal")).unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/new", 1, MANY_BLOCKS);
    bench.until("they are removed", |figures| {
        figures.orphans == 10 && figures.blocks_written == 6
    });
    assert_eq!(bench.bodies().len(), 1);
}

#[tokio::test]
async fn a_read_that_fails_is_missing_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path());
    for file in bodies(folder.path()) {
        fs::remove_file(&file).unwrap();
        // Reading unmapped memory gives EIO.
        std::os::unix::fs::symlink("/proc/self/mem", &file).unwrap();
    }
    let bench = Bench::open(folder.path(), &Options::default());
    for _ in 0..2 {
        for n in 0..10 {
            let got = bench.get(&format!("/{n}")).await;
            assert!(
                matches!(got, None | Some((_, Body::Part(MANY_BLOCKS)))),
                "{got:?}"
            );
        }
        assert_eq!(bench.figures().read_errors, 60);
    }
}
