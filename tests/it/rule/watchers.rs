//! Nothing that watches the service can stop it, whatever becomes of the watcher.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use crate::{
    log::{ends, logging_with},
    support::{
        client::{Client, little_room},
        origin::{Origin, ok},
    },
};

/// More lines than the pipe and all buffers of the log hold, if each carries a path of 8 KiB.
const REQUESTS: usize = 400;
const DASHBOARDS: usize = 20;

/// Takes connections, and never says a word.
fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn goes_on_whoever_watches(level: &str) {
    let origin = Origin::answering(|_| ok("file"));
    let (_log, stderr) = std::io::pipe().unwrap();
    let (_redis, redis) = mute();
    let (_collector, collector) = mute();
    let settings = [
        ("FILEPROXY__OPTIMIZATION__LEVEL", level),
        ("FILEPROXY__REDIS__URL", &format!("redis://{redis}")),
        (
            "FILEPROXY__TRACES__COLLECTOR",
            &format!("http://{collector}"),
        ),
        ("FILEPROXY__TRACES__SHARE", "1.0"),
    ];
    let (mut child, address) = logging_with(stderr, &origin, &settings);
    let dashboards: Vec<_> = (0..DASHBOARDS)
        .map(|_| {
            let mut socket = little_room(address);
            let get = b"GET /stats/stream HTTP/1.1\r\nhost: proxy\r\n\r\n";
            std::io::Write::write_all(&mut socket, get).unwrap();
            socket
        })
        .collect();
    let over = AtomicBool::new(false);
    let path = format!("/{}", "x".repeat(8 * 1024));
    thread::scope(|scope| {
        for target in ["/metrics", "/stats", "/health"] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    assert!(Client::to(address).get(target).status > 0);
                }
            });
        }
        let clients = (0..2).map(|_| {
            scope.spawn(|| {
                let mut client = Client::to(address);
                for _ in 0..REQUESTS / 2 {
                    assert_eq!(client.patient().get(&path).text(), "file");
                }
            })
        });
        let clients: Vec<_> = clients.collect();
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        over.store(true, SeqCst);
        assert!(ended.iter().all(Result::is_ok), "requests do not go on");
    });
    drop(dashboards);
    ends(&mut child);
}

#[test]
fn at_level_low_requests_go_on_and_it_ends_whoever_watches() {
    goes_on_whoever_watches("low");
}

#[test]
fn at_level_high_requests_go_on_and_it_ends_whoever_watches() {
    goes_on_whoever_watches("high");
}
