//! Segments of HLS streams are fetched before players ask for them, where that costs nobody anything.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::support::{
    origin::{Origin, response},
    proxy::Proxy,
    until,
};

/// A stream of six segments beside its playlist, which names so many; responses have these fields.
fn stream(named: &Arc<AtomicUsize>, lines: &'static str, ended: bool) -> Origin {
    let named = Arc::clone(named);
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let target = String::from_utf8(request.target()).unwrap();
            let body = if target.ends_with(".m3u8") {
                let mut list = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n".to_owned();
                for n in 1..=named.load(SeqCst) {
                    list += &format!("#EXTINF:4,\nseg/{n}.ts\n");
                }
                list + if ended { "#EXT-X-ENDLIST\n" } else { "" }
            } else {
                target.clone()
            };
            let lines = match target.ends_with(".m3u8") {
                true => "cache-control: max-age=0\r\n",
                false => lines,
            };
            connection.send(response("200 OK", lines, body));
        }
    })
}

fn proxy(origin: &Origin) -> Proxy {
    Proxy::before(origin, |settings| settings.levels.high.store = true)
}

fn hits(origin: &Origin, target: &str) -> usize {
    let requests = origin.requests();
    requests
        .iter()
        .filter(|request| request.target() == target.as_bytes())
        .count()
}

fn until_fetched(origin: &Origin, target: &str) {
    until(target, || (hits(origin, target) == 1).then_some(()));
}

const FOR_ALL: &str = "cache-control: max-age=60\r\n";

#[test]
fn what_follows_the_segment_asked_for_is_fetched_and_counted_as_used() {
    let named = Arc::new(AtomicUsize::new(6));
    let origin = stream(&named, FOR_ALL, true);
    let proxy = proxy(&origin);
    proxy.get("/live/list.m3u8");
    // It says that it is for all, and so are those beside it.
    assert_eq!(proxy.get("/live/seg/1.ts").text(), "/live/seg/1.ts");
    assert_eq!(proxy.get("/live/seg/2.ts").text(), "/live/seg/2.ts");
    for next in ["/live/seg/3.ts", "/live/seg/4.ts", "/live/seg/5.ts"] {
        until_fetched(&origin, next);
    }
    assert_eq!(hits(&origin, "/live/seg/6.ts"), 0);
    let next = proxy.get("/live/seg/3.ts");
    assert_eq!(next.text(), "/live/seg/3.ts");
    assert!(next.field("cache-status").unwrap().contains("hit"));
    until_fetched(&origin, "/live/seg/6.ts");
    assert_eq!(hits(&origin, "/live/seg/3.ts"), 1);
    until("it is counted", || {
        let prefetch = &proxy.stats()["store"]["prefetch"];
        (prefetch["fetched"] == 5 && prefetch["used"] == 2).then_some(())
    });
}

#[test]
fn the_newest_segment_of_a_live_stream_is_fetched_as_soon_as_it_is_named() {
    let named = Arc::new(AtomicUsize::new(3));
    let origin = stream(&named, FOR_ALL, false);
    let proxy = proxy(&origin);
    proxy.get("/live/seg/3.ts");
    proxy.get("/live/list.m3u8");
    named.store(4, SeqCst);
    proxy.get("/live/list.m3u8");
    until_fetched(&origin, "/live/seg/4.ts");
}

#[test]
fn a_link_that_may_be_good_for_one_download_is_not_used_up() {
    for lines in [
        "",
        "cache-control: no-store\r\n",
        "cache-control: private\r\n",
    ] {
        let named = Arc::new(AtomicUsize::new(6));
        let origin = stream(&named, lines, true);
        let proxy = proxy(&origin);
        proxy.get("/live/list.m3u8");
        for n in 1..=3 {
            proxy.get(&format!("/live/seg/{n}.ts"));
        }
        // What would be fetched would be by now.
        thread::sleep(Duration::from_millis(200));
        assert_eq!(hits(&origin, "/live/seg/4.ts"), 0, "{lines}");
        assert_eq!(proxy.stats()["store"]["prefetch"]["fetched"], 0);
    }
}
