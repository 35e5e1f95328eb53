//! Limits: disk space, and memory for the disk tier.

use bytesize::ByteSize;

use super::bench::*;
use crate::store::{
    body::BLOCK,
    disk::{
        KeepFree,
        id::Id,
        index::{COST, Index},
        line::Line,
        new::New,
    },
    object_fill::Fill,
};

#[tokio::test]
async fn a_flood_stays_within_the_bound_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        disk: 8 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    for n in 0..600 {
        bench.put(&format!("/{n}"), n, 10_000 + n * 100);
        if n % 20 == 0 {
            let written = n + 1;
            bench.until("it is written", |figures| figures.blocks_written >= written);
            assert!(bench.size() <= options.disk, "{}", bench.size());
        }
    }
    let bench = bench.reopen(&options);
    let mut found = 0;
    for n in 0..600 {
        if let Some(got) = bench.get(&format!("/{n}")).await {
            let length = 10_000 + n * 100;
            assert!(matches!(got, (v, Body::Whole(l)) if v == n && l == length) || length > BLOCK);
            found += 1;
        }
    }
    assert!((80..400).contains(&found), "{found}");
    assert!(bench.size() <= options.disk);
}

#[tokio::test]
async fn a_large_body_goes_piece_by_piece_and_small_ones_in_use_stay() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        disk: 50 << 20,
        memory: 16 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    for n in 0..10 {
        bench.put(&format!("/{n}"), n, 100_000);
    }
    let bench = bench.reopen(&options);
    for n in 0..10 {
        assert!(bench.get(&format!("/{n}")).await.is_some());
    }
    let length = 80 << 20;
    let object = bench.begin("/large", head(99, true, &[]), Some(length));
    let fill = Fill::of(&object, 0..u64::MAX).unwrap();
    let mut at = 0;
    while at < length {
        let piece: Vec<u8> = (at..at + BLOCK).map(|at| byte(99, at)).collect();
        assert!(bench.shelf.write(&fill, at, &piece.into()));
        at += BLOCK;
        let so_far = 20 + at / BLOCK;
        bench.until("it is written", |figures| {
            figures.blocks_written + figures.not_written + 20 >= so_far
        });
        if at % (8 << 20) == 0 {
            assert!(bench.size() <= options.disk, "{}", bench.size());
        }
    }
    drop((fill, object));
    let bench = bench.reopen(&options);
    let Some((99, Body::Part(missing))) = bench.get("/large").await else {
        panic!("nothing is left of the large one");
    };
    assert!((20 << 20..70 << 20).contains(&missing), "{missing}");
    for n in 0..10 {
        let got = bench.get(&format!("/{n}")).await;
        assert_eq!(got, Some((n, Body::Whole(100_000))));
    }
    assert_eq!(bench.figures().checksum_failures, 0);
}

#[tokio::test]
async fn room_that_others_need_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::open(folder.path(), &Options::default());
    for n in 0..50 {
        bench.put(&format!("/{n}"), n, 100_000);
    }
    bench.until("all is written", |figures| {
        figures.blocks_written + figures.not_written == 100
    });
    let disk = bench.shelf.disk().unwrap();
    disk.set_bounds(ByteSize::mib(3), KeepFree::Percent(0.0));
    bench.until("less is kept", |figures| figures.bytes < 2 << 20);
    disk.set_bounds(ByteSize::gib(1), KeepFree::Percent(99.0));
    bench.until("nothing is kept", |figures| figures.objects == 0);
    assert!(bench.bodies().is_empty());
}

#[tokio::test]
async fn an_object_that_must_be_whole_and_is_too_large_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        disk: 4 << 20,
        ..Options::default()
    };
    let bench = Bench::open(folder.path(), &options);
    let length = 2 << 20;
    bench.put_head("/a", head(1, false, &[]), 1, Some(length), length);
    assert_eq!(bench.figures().objects, 0);
}

/// An index with this many objects of one block.
fn index(objects: u64) -> Index {
    let mut index = Index::default();
    for n in 0..objects {
        let spread =
            |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 32 | u128::from(n);
        let place = index.insert(New {
            hash: spread(n),
            variant: n,
            id: Id(spread(n + 7)),
            serial: n,
            length: Some(20_000),
            resumable: true,
        });
        let line = Line {
            at: n * 400,
            len: 400,
        };
        index.set_head(place, line, 0, n);
        assert!(index.set_block(place, 0, n + 1));
    }
    index
}

#[test]
fn an_object_on_disk_costs_at_most_300_bytes_of_memory() {
    for objects in [50_000, 120_000, 200_000, 300_000] {
        let mut index = index(objects);
        let each = index.memory() as u64 / objects;
        assert!(each <= COST, "{each} at {objects}");
        // With entries of evicted objects in the queues, too.
        for _ in 0..objects / 3 {
            index.evict().unwrap();
        }
        let each = index.memory() as u64 / (objects - objects / 3);
        assert!(each <= 300 + 150, "{each} after evictions");
        assert_eq!(index.cost(), index.objects() as u64 * COST);
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn what_the_system_counts_is_no_more_than_what_is_charged() {
    const ALONE: &str = "FILEPROXY_TEST_INDEX";
    if std::env::var_os(ALONE).is_none() {
        // In a separate process, because other tests use memory too.
        let own = std::env::current_exe().unwrap();
        let name =
            "store::disk::tests::bounds::what_the_system_counts_is_no_more_than_what_is_charged";
        let run = std::process::Command::new(own)
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        return;
    }
    let before = resident();
    let index = index(300_000);
    let each = (resident() - before) / 300_000;
    eprintln!(
        "{each} bytes each, of {} by count",
        index.memory() / 300_000
    );
    assert!(each <= 300, "{each}");
}

#[test]
fn what_comes_and_goes_for_ever_leaves_nothing_behind() {
    let mut index = Index::default();
    for n in 0..200_000_u64 {
        let place = index.insert(New {
            hash: u128::from(n % 3),
            variant: 0,
            id: Id(u128::from(n)),
            serial: n,
            length: Some(40 << 20),
            resumable: true,
        });
        index.set_head(place, Line { at: 0, len: 9 }, 0, n);
        for block in [0, 300, 600] {
            index.set_block(place, block, 1);
        }
        let bytes = index.doom(place).unwrap().unwrap();
        assert!(index.on_disk() == bytes && bytes > 3 * BLOCK);
        index.left(bytes);
    }
    assert_eq!((index.objects(), index.bytes()), (0, 0));
    assert!(index.memory() < 1 << 20, "{}", index.memory());
}

#[test]
fn blocks_that_lie_far_apart_are_charged_for_what_they_take() {
    let mut index = Index::default();
    let place = index.insert(New {
        hash: 1,
        variant: 0,
        id: Id(1),
        serial: 1,
        length: Some(1 << 40),
        resumable: true,
    });
    let before = index.memory() as u64;
    for extent in 0..500 {
        // The last block of each extent.
        assert!(index.set_block(place, extent * 256 + 255, 7));
    }
    let taken = index.memory() as u64 - before;
    assert!(
        taken > 500 * 2048 && index.cost() + 64 * 1024 > taken,
        "{taken}"
    );
    index.remove(place);
    assert_eq!((index.cost(), index.bytes()), (0, 0));
}
