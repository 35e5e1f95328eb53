//! Purges: purged objects are not found any more, neither at once nor after a crash.

use std::time::SystemTime;

use super::bench::*;
use crate::store::disk::{Purged, What};

/// Opens a copy as a crash right after the reply would leave it, after a restart.
async fn after_a_crash(bench: &Bench) -> Bench {
    let folder = tempfile::tempdir().unwrap().keep();
    copy(&bench.path, &folder);
    Bench::open(&folder, &Options::default())
}

/// A store with these targets on disk only.
async fn filled(path: &std::path::Path, targets: &[&str]) -> Bench {
    let bench = Bench::open(path, &Options::default());
    for (n, target) in targets.iter().enumerate() {
        let tags = format!("all n{n}");
        let head = head(n as u64, true, &[("surrogate-key", &tags)]);
        bench.put_head(target, head, n as u64, Some(MANY_BLOCKS), MANY_BLOCKS);
    }
    bench.reopen(&Options::default())
}

async fn is_there(bench: &Bench, target: &str) -> bool {
    bench.find(target).await.is_some()
}

const TARGETS: [&str; 4] = ["/live/0", "/live/1", "/vod/2", "/live"];

#[tokio::test]
async fn what_is_purged_is_gone_at_once_and_after_a_crash() {
    let tag = |tag: &str| What::Tag(tag.as_bytes().into());
    for (what, gone) in [
        (What::All, &TARGETS[..]),
        (What::Url(key("/live/1")), &["/live/1"]),
        (What::Url(key("/liv")), &[]),
        (
            What::Prefix("http://h/live/".to_owned()),
            &["/live/0", "/live/1"],
        ),
        (
            What::Prefix("http://h/live".to_owned()),
            &["/live/0", "/live/1", "/live"],
        ),
        (tag("n2"), &["/vod/2"]),
        (tag("n"), &[]),
        (tag("all"), &TARGETS[..]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let bench = filled(folder.path(), &TARGETS).await;
        let disk = bench.shelf.disk().unwrap();
        let purged = disk
            .purge(what.clone(), false, SystemTime::now())
            .await
            .unwrap();
        assert_eq!(purged.objects, gone.len() as u64, "{what:?}");
        assert!(purged.complete);
        assert_eq!(purged.bytes == 0, gone.is_empty());
        let restarted = after_a_crash(&bench).await;
        for bench in [&bench, &restarted] {
            for target in TARGETS {
                let is_gone = gone.contains(&target);
                assert_eq!(is_there(bench, target).await, !is_gone, "{what:?} {target}");
            }
        }
        std::fs::remove_dir_all(restarted.close()).unwrap();
        // Objects stored after the purge stay.
        for target in gone {
            bench.put(target, 50, 10);
        }
        let bench = bench.reopen(&Options::default());
        for target in TARGETS {
            assert!(is_there(&bench, target).await, "{what:?} {target}");
        }
        assert_eq!(bench.figures().purges, 0);
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale_and_what_is_validated_then_is_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let bench = filled(folder.path(), &TARGETS).await;
    let disk = bench.shelf.disk().unwrap();
    let prefix = What::Prefix("http://h/live/".to_owned());
    let purged = disk.purge(prefix, true, SystemTime::now()).await.unwrap();
    assert_eq!(purged.objects, 2);
    let restarted = after_a_crash(&bench).await;
    for bench in [&bench, &restarted] {
        for (n, target) in TARGETS.into_iter().enumerate() {
            let object = bench.find(target).await.unwrap();
            let ttl = object.head().freshness.ttl(SystemTime::now());
            assert_eq!(ttl > 0, n >= 2, "{target}: {ttl}");
            assert_eq!(bench.read(&object).await, Body::Whole(MANY_BLOCKS));
        }
    }
    std::fs::remove_dir_all(restarted.close()).unwrap();
    let object = bench.find("/live/0").await.unwrap();
    object.set_head(head(0, true, &[]));
    drop(object);
    let bench = bench.reopen(&Options::default());
    let object = bench.find("/live/0").await.unwrap();
    assert!(object.head().freshness.ttl(SystemTime::now()) > 0);
}

#[tokio::test]
async fn a_purge_before_the_journal_is_read_means_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    for n in 0..300 {
        bench.put(&format!("/{n}"), n, 10);
    }
    let path = bench.close();
    // Without waiting: the journal may still be being read.
    let shelf = crate::store::shelf::Shelf::new(crate::store::memory::Memory::new(64 << 20));
    let settings = crate::store::disk::Settings::new(
        path.clone(),
        bytesize::ByteSize::gib(1),
        "0%".parse().unwrap(),
    );
    shelf.open_disk(&settings).unwrap();
    let disk = shelf.disk().unwrap();
    disk.remove(&key("/7"));
    let prefix = What::Prefix("http://h/1".to_owned());
    let purged = disk.purge(prefix, false, SystemTime::now()).await.unwrap();
    assert_eq!((purged.objects, purged.complete), (111, true));
    disk.close();
    let bench = Bench::open(&path, &Options::default());
    for n in 0..300 {
        let target = format!("/{n}");
        let is_gone = target.starts_with("/1") || n == 7;
        assert_eq!(is_there(&bench, &target).await, !is_gone, "{n}");
    }
}

#[tokio::test]
async fn what_a_request_changed_is_gone_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = filled(folder.path(), &TARGETS).await;
    assert_eq!(bench.shelf.disk().unwrap().remove(&key("/live")), 1);
    assert!(!is_there(&bench, "/live").await);
    let bench = bench.reopen(&Options::default());
    assert!(!is_there(&bench, "/live").await && is_there(&bench, "/vod/2").await);
}

#[tokio::test]
async fn what_left_memory_by_a_purge_does_not_come_back_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/a", 1, MANY_BLOCKS);
    bench.shelf.purge(false, SystemTime::now(), |_| true);
    assert!(!is_there(&bench, "/a").await);
    let all = bench
        .shelf
        .disk()
        .unwrap()
        .purge(What::All, false, SystemTime::now());
    assert_eq!(
        all.await.unwrap(),
        Purged {
            objects: 0,
            bytes: 0,
            complete: true
        }
    );
    let bench = bench.reopen(&Options::default());
    assert!(!is_there(&bench, "/a").await);
    assert!(bench.bodies().is_empty());
}
