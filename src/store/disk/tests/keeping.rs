//! Stored objects are found again: after eviction from memory, and after a restart.

use std::time::SystemTime;

use super::bench::*;
use crate::store::{
    body::BLOCK,
    disk::{Room, What},
    object_fill::Fill,
};

const LENGTHS: [u64; 9] = [
    0,
    1,
    5000,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    2 * BLOCK,
    MANY_BLOCKS,
    3 << 20,
];

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let mut blocks = 0;
    for (n, length) in LENGTHS.into_iter().enumerate() {
        bench.put(&format!("/{n}"), n as u64, length);
        // Without a validator, and without a declared length.
        let head = head(n as u64, false, &[]);
        bench.put_head(&format!("/own/{n}"), head, n as u64, None, length);
        blocks += 2 * length.div_ceil(BLOCK);
        bench.until("all is written", |figures| figures.blocks_written == blocks);
    }
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.shelf.objects(), 0);
    for _ in 0..2 {
        for (n, length) in LENGTHS.into_iter().enumerate() {
            for target in [format!("/{n}"), format!("/own/{n}")] {
                let got = bench.get(&target).await;
                assert_eq!(got, Some((n as u64, Body::Whole(length))), "{target}");
            }
        }
    }
    let figures = bench.figures();
    assert_eq!(figures.objects, 2 * LENGTHS.len() as u64);
    assert_eq!((figures.checksum_failures, figures.not_read), (0, 0));
}

#[tokio::test]
async fn what_memory_has_no_room_for_is_read_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        memory: 16 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    for n in 0..60 {
        bench.put(&format!("/{n}"), n, 500_000);
        bench.until("it is written", |figures| {
            figures.blocks_written == 8 * (n + 1)
        });
    }
    for n in 0..60 {
        let got = bench.get(&format!("/{n}")).await;
        assert_eq!(got, Some((n, Body::Whole(500_000))));
        assert!(bench.shelf.memory().used() <= options.memory);
    }
    assert!(bench.figures().blocks_read > 200);
}

#[tokio::test]
async fn a_part_is_kept_and_what_is_missing_of_it_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let length = 10 * BLOCK;
    let object = bench.begin("/a", head(1, true, &[]), Some(length));
    // From the middle of a block to the middle of another, with complete blocks between them.
    let fill = Fill::of(&object, BLOCK + 10..4 * BLOCK + 10).unwrap();
    let part: Vec<u8> = (BLOCK + 10..4 * BLOCK + 10).map(|at| byte(1, at)).collect();
    assert!(bench.shelf.write(&fill, BLOCK + 10, &part.into()));
    drop((fill, object));
    let bench = bench.reopen(&Options::default());
    let got = bench.get("/a").await;
    assert_eq!(got, Some((1, Body::Part(length - 2 * BLOCK))));
    let object = bench.find("/a").await.unwrap();
    assert!(Fill::of(&object, 2 * BLOCK..3 * BLOCK).is_none());
    // A fill of the gap before it ends where the blocks on disk begin.
    let fill = Fill::of(&object, 0..u64::MAX).unwrap();
    assert_eq!(fill.left(), Some(0..2 * BLOCK));
    let part: Vec<u8> = (0..length).map(|at| byte(1, at)).collect();
    assert!(bench.shelf.write(&fill, 0, &part.into()));
    assert_eq!(bench.read(&object).await, Body::Part(length - 4 * BLOCK));
}

#[tokio::test]
async fn what_came_in_another_order_is_kept_where_a_block_of_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let length = 10 * BLOCK + 5;
    let object = bench.begin("/a", head(1, true, &[]), Some(length));
    let fill = Fill::of(&object, 0..u64::MAX).unwrap();
    let piece =
        |at: u64| -> Vec<u8> { (at..length.min(at + 9999)).map(|at| byte(1, at)).collect() };
    // The last ones first, and one in the middle of two blocks not at all.
    let last = length / 9999;
    let pieces = (0..=last).map(|n| (last - n) * 9999);
    for at in pieces.filter(|at| at / BLOCK != 5) {
        assert!(bench.shelf.write(&fill, at, &piece(at).into()));
    }
    drop((fill, object));
    let bench = bench.reopen(&Options::default());
    let got = bench.get("/a").await;
    assert_eq!(got, Some((1, Body::Part(2 * BLOCK))));
    let object = bench.find("/a").await.unwrap();
    let fill = Fill::of(&object, 5 * BLOCK..u64::MAX).unwrap();
    let missing = 5 * BLOCK..7 * BLOCK;
    assert_eq!(fill.left(), Some(missing.clone()));
    let part: Vec<u8> = missing.map(|at| byte(1, at)).collect();
    // The second half before the first.
    for half in [BLOCK, 0] {
        let bytes = part[half as usize..][..BLOCK as usize].to_vec();
        assert!(bench.shelf.write(&fill, 5 * BLOCK + half, &bytes.into()));
    }
    drop((fill, object));
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/a").await, Some((1, Body::Whole(length))));
}

#[tokio::test]
async fn what_broke_and_cannot_be_gone_on_with_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let object = bench.begin("/a", head(1, false, &[]), None);
    let fill = Fill::of(&object, 0..u64::MAX).unwrap();
    assert!(bench.shelf.write(&fill, 0, &bytes(1, 3 * BLOCK).into()));
    drop(fill);
    object.give_up();
    drop(object);
    let bench = bench.reopen(&Options::default());
    assert!(bench.find("/a").await.is_none());
    bench.until("its file is removed", |figures| figures.orphans == 1);
    assert!(bench.bodies().is_empty());
}

#[tokio::test]
async fn readers_of_a_version_that_was_replaced_end_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/a", 1, MANY_BLOCKS);
    let bench = bench.reopen(&Options::default());
    let old = bench.find("/a").await.unwrap();
    bench.put("/a", 2, MANY_BLOCKS);
    assert_eq!(bench.read(&old).await, Body::Whole(MANY_BLOCKS));
    assert_eq!(version(&old), 1);
    assert_eq!(bench.get("/a").await, Some((2, Body::Whole(MANY_BLOCKS))));
    drop(old);
    bench.until("the old one is gone", |figures| figures.objects == 1);
    let bench = bench.reopen(&Options::default());
    assert_eq!(bench.get("/a").await, Some((2, Body::Whole(MANY_BLOCKS))));
    assert_eq!(bench.bodies().len(), 1);
}

#[tokio::test]
async fn what_was_validated_has_its_new_head_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let object = bench.put("/a", 7, MANY_BLOCKS);
    // Often enough that the journal is rewritten.
    for n in 0..10_000 {
        let text = n.to_string();
        object.set_head(head(7, true, &[("x-count", &text)]));
        if n % 1000 == 999 {
            // Everything queued before this purge is written first.
            let url = What::Url(key("/nothing"));
            let disk = bench.shelf.disk().unwrap();
            disk.purge(url, false, SystemTime::now()).await.unwrap();
            bench.until("the journal is short", |figures| {
                figures.journal_bytes < 3 << 20
            });
        }
    }
    drop(object);
    let bench = bench.reopen(&Options::default());
    let object = bench.find("/a").await.unwrap();
    assert_eq!(object.head().fields.get("x-count").unwrap(), "9999");
    assert_eq!(bench.read(&object).await, Body::Whole(MANY_BLOCKS));
    assert_eq!(bench.figures().not_written, 0);
}

#[tokio::test]
async fn many_readers_of_one_block_get_it_by_one_read() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/a", 7, 1000);
    let bench = bench.reopen(&Options::default());
    let object = bench.find("/a").await.unwrap();
    let first = bench.shelf.load(&object, 10);
    let others = futures_util::future::join_all((0..50).map(|_| bench.shelf.load(&object, 0)));
    let (first, others) = futures_util::future::join(first, others).await;
    assert_eq!(first.unwrap(), bytes(7, 1000)[10..]);
    // They wait for it, and then look again.
    assert!(others.iter().all(Option::is_none));
    assert_eq!(bench.read(&object).await, Body::Whole(1000));
    assert_eq!(bench.figures().blocks_read, 1);
}

#[tokio::test]
async fn a_reader_that_leaves_lets_another_one_load() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    bench.put("/a", 7, 1000);
    let bench = bench.reopen(&Options::default());
    let object = bench.find("/a").await.unwrap();
    let mut first = Box::pin(bench.shelf.load(&object, 0));
    // It may have its block already.
    _ = futures_util::poll!(&mut first);
    drop(first);
    assert_eq!(bench.read(&object).await, Body::Whole(1000));
}

#[tokio::test]
async fn variants_of_a_key_are_told_apart_and_bounded() {
    use actix_http::header::HeaderMap;
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    let asked = |n: u64| {
        let mut asked = HeaderMap::new();
        let value = n.to_string().parse().unwrap();
        asked.insert(actix_http::header::USER_AGENT, value);
        asked
    };
    let disk = bench.shelf.disk().unwrap();
    for n in 0..40 {
        let object = bench.begin("/x", head(n, true, &[("vary", "user-agent")]), Some(0));
        let mut stored = object.stored_head();
        stored.key = key("/a");
        let fields = &object.head().fields;
        stored.variant = crate::store::variant::Variant::of(&asked(n), fields, true, &[]);
        disk.keep(stored, Room::Any).unwrap();
    }
    assert_eq!(bench.figures().objects, 17);
    let bench = bench.reopen(&Options::default());
    let disk = bench.shelf.disk().unwrap();
    let found = disk.recall(&key("/a"), &asked(39), &[]).await.unwrap();
    assert_eq!(found.head.fields.get("x-version").unwrap(), "39");
    assert!(disk.recall(&key("/a"), &asked(99), &[]).await.is_none());
    assert!(disk.recall(&key("/a"), &asked(0), &[]).await.is_none());
}

#[tokio::test]
async fn what_is_in_use_and_not_on_disk_any_more_is_kept_there_before_it_goes_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        memory: 16 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    let used = bench.put("/used", 1, 3 * BLOCK);
    used.hit();
    let unused = bench.put("/unused", 2, 3 * BLOCK);
    bench.until("both are written", |figures| figures.blocks_written == 6);
    let disk = bench.shelf.disk().unwrap();
    assert_eq!(disk.remove(&key("/used")) + disk.remove(&key("/unused")), 2);
    drop((used, unused));
    for n in 0..40 {
        bench.put(&format!("/{n}"), n, 500_000);
    }
    assert!(bench.shelf.variants(&key("/used")).is_empty());
    let bench = bench.reopen(&options);
    assert_eq!(bench.get("/used").await, Some((1, Body::Whole(3 * BLOCK))));
    assert_eq!(bench.get("/unused").await, None);
}

/// One of several threads: it writes its own targets, and reads all.
async fn crowd(bench: &Bench, own: u64) {
    for n in 0..150 {
        let target = format!("/{}", fastrand::u64(..8) * 4 + own);
        match fastrand::u8(..10) {
            0..4 => {
                let version = own * 1_000_000 + n;
                let length = fastrand::u64(..8 * BLOCK);
                let strong = n % 3 > 0;
                let head = head(version, strong, &[]);
                let told = (n % 4 > 0).then_some(length);
                bench.put_head(&target, head, version, told, length);
            }
            4 => {
                let disk = bench.shelf.disk().unwrap();
                let prefix = What::Prefix(format!("http://h{target}"));
                disk.purge(prefix, n % 2 == 0, SystemTime::now())
                    .await
                    .unwrap();
            }
            5 => {
                let of_key = |object: &crate::store::object::Object| object.key == key(&target);
                bench.shelf.purge(n % 2 == 0, SystemTime::now(), of_key);
            }
            _ => {
                let any = format!("/{}", fastrand::u64(..32));
                if let Some(object) = bench.find(&any).await {
                    object.hit();
                    bench.read_some(&object).await;
                }
            }
        }
    }
}

#[test]
fn many_threads_that_write_read_and_purge_get_right_bytes_within_the_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        memory: 6 << 20,
        disk: 3 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    std::thread::scope(|scope| {
        for own in 0..4 {
            let bench = &bench;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build();
                runtime.unwrap().block_on(crowd(bench, own));
            });
        }
    });
    assert!(bench.shelf.memory().used() <= options.memory);
    let disk = bench.shelf.disk().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    // After everything queued is written: files change while they are counted.
    let nothing = What::Url(key("/nothing"));
    let purged = runtime.block_on(disk.purge(nothing, false, SystemTime::now()));
    assert_eq!(purged.unwrap().objects, 0);
    let figures = bench.figures();
    assert!(
        bench.size() <= options.disk,
        "{}: {figures:?}",
        bench.size()
    );
    assert!(
        figures.evictions > 0 && figures.checksum_failures == 0,
        "{figures:?}"
    );
    assert!(figures.trouble.is_none() && figures.purges == 0);
    // Nothing is kept for readers that are gone.
    bench.shelf.purge(false, SystemTime::now(), |_| true);
    let all = disk.purge(What::All, false, SystemTime::now());
    runtime.block_on(all).unwrap();
    let figures = bench.until("all is removed", |_| bench.bodies().is_empty());
    assert_eq!((figures.objects, figures.bytes), (0, 0));
}
