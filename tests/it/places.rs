//! Origins that have only so many places: nobody loses one to the parts of somebody else's body.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fileproxy::{settings::Settings, traffic::level::Level};

use super::{
    refusals::No,
    support::{client::Ending, origin::Origin, proxy::Proxy, until},
    transfers::{count, object, several, trickle},
};

/// An origin with so many places, which turns away whoever comes beyond them.
fn with_places(object: Vec<u8>, places: usize, no: No) -> (Origin, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(AtomicUsize::new(0));
    let plain_refused = Arc::clone(&refused);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let goes_on = if taken.fetch_add(1, SeqCst) < places {
                trickle(connection, &request, &object)
            } else {
                if request.field("range").is_none() {
                    refused.fetch_add(1, SeqCst);
                }
                no.say(connection)
            };
            taken.fetch_sub(1, SeqCst);
            if !goes_on {
                return;
            }
        }
    });
    (origin, plain_refused)
}

/// How many of so many clients, each a moment after the one before, get the whole body.
fn whole_bodies(proxy: &Proxy, clients: usize, object: &[u8]) -> Vec<String> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|n| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(600) * n as u32);
                    let response = proxy.client().patient().get("/film.mp4");
                    let is_whole = response.ending == Ending::Whole && response.body == object;
                    (response.status, is_whole)
                })
            })
            .collect();
        let answers = clients.into_iter().map(|client| client.join().unwrap());
        answers
            .filter(|&(status, is_whole)| status != 200 || !is_whole)
            .map(|(status, _)| status.to_string())
            .collect()
    })
}

#[test]
fn nobody_is_turned_away_for_the_places_that_parts_take() {
    for (places, clients, no) in [
        (4, 2, No::Status(503)),
        (4, 4, No::Status(429)),
        (3, 3, No::Status(403)),
        (2, 2, No::Status(503)),
        (5, 3, No::Close),
        (4, 2, No::Reset),
    ] {
        let object = object(7, 6_000_000);
        let (origin, _) = with_places(object.clone(), places, no);
        let proxy = Proxy::before(&origin, several);
        let lost = whole_bodies(&proxy, clients, &object);
        assert!(
            lost.is_empty(),
            "{places} places, {clients} clients, {no:?}: {lost:?}"
        );
    }
}

#[test]
fn several_who_come_at_once_find_the_places_that_parts_had() {
    let object = object(17, 6_000_000);
    let (origin, _) = with_places(object.clone(), 4, No::Status(503));
    let proxy = Proxy::before(&origin, several);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| proxy.client().patient().get("/film.mp4").body == object);
        until("parts are under way", || {
            (count(&proxy, "parts") > 2).then_some(())
        });
        let three: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| proxy.client().patient().get("/film.mp4").body == object))
            .collect();
        for client in three {
            assert!(client.join().unwrap(), "a body differs");
        }
        assert!(first.join().unwrap(), "the body differs");
    });
}

#[test]
fn a_limit_that_was_seen_is_kept_under_with_room_for_others() {
    let object = object(8, 8_000_000);
    let (origin, turned_away) = with_places(object.clone(), 6, No::Status(503));
    let proxy = Proxy::before(&origin, several);
    assert!(proxy.client().patient().get("/film.mp4").body == object);
    assert!(
        count(&proxy, "parts_refused") > 0,
        "the limit was never met"
    );
    let bears = count(&proxy, "origin_bears");
    assert!((1..=6).contains(&bears), "{bears}");
    let lost = whole_bodies(&proxy, 2, &object);
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(turned_away.load(SeqCst), 0, "there was no room left");
}

#[test]
fn what_is_refused_whatever_else_goes_on_is_not_asked_for_again_and_again() {
    let object = object(9, 16_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let goes_on = if request.target() == b"/private" {
                No::Status(403).say(connection)
            } else {
                trickle(connection, &request, &object)
            };
            if !goes_on {
                return;
            }
        }
    });
    let private = || {
        let requests = origin.requests();
        requests
            .iter()
            .filter(|request| request.target() == b"/private")
            .count()
    };
    let proxy = Proxy::before(&origin, several);
    std::thread::scope(|scope| {
        let film = scope.spawn(|| proxy.client().patient().get("/film.mp4").body == whole);
        until("parts are under way", || {
            (count(&proxy, "parts") > 3).then_some(())
        });
        for _ in 0..10 {
            assert_eq!(proxy.get("/private").status, 403);
        }
        assert!(film.join().unwrap(), "the body differs");
    });
    assert!(private() <= 13, "{} requests", private());
    let asked = private();
    for _ in 0..3 {
        assert_eq!(proxy.get("/private").status, 403);
    }
    assert_eq!(private(), asked + 3);
}

#[test]
fn an_upload_that_is_turned_away_is_never_made_again() {
    let object = object(10, 6_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let goes_on = if request.method() == "GET" {
                trickle(connection, &request, &object)
            } else {
                No::Status(503).say(connection)
            };
            if !goes_on {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, several);
    std::thread::scope(|scope| {
        let film = scope.spawn(|| proxy.client().patient().get("/film.mp4").body == whole);
        until("parts are under way", || {
            (count(&proxy, "parts") > 3).then_some(())
        });
        for head in ["PUT /a", "POST /a", "DELETE /a"] {
            let mut client = proxy.client();
            client.send(format!(
                "{head} HTTP/1.1\r\nhost: p\r\ncontent-length: 1\r\n\r\nx"
            ));
            assert_eq!(client.response().status, 503);
        }
        assert!(film.join().unwrap(), "the body differs");
    });
    let uploads = origin.requests();
    let uploads = uploads.iter().filter(|request| request.method() != "GET");
    assert_eq!(uploads.count(), 3);
}

/// What level low delivers whole, level high delivers whole, whatever the origin thinks of parts.
#[test]
fn level_high_delivers_whole_what_level_low_does() {
    std::thread::scope(|scope| {
        for (places, good_for) in [(1, 1), (1, 3), (2, 9), (3, 2), (4, 30), (8, 5)] {
            for no in [No::Status(503), No::Status(403), No::Reset] {
                scope.spawn(move || {
                    for level in [Level::Low, Level::High] {
                        let object = object(15, 2_000_000);
                        let origin = choosy(object.clone(), places, good_for, no);
                        let proxy = Proxy::before(&origin, |settings: &mut Settings| {
                            several(settings);
                            settings.optimization.level = level;
                        });
                        let response = proxy.client().patient().get("/film.mp4");
                        let what =
                            format!("{places} places, good for {good_for}, {no:?}, {level:?}");
                        assert_eq!(
                            (response.status, response.ending),
                            (200, Ending::Whole),
                            "{what}"
                        );
                        assert!(response.body == object, "the body differs: {what}");
                    }
                });
            }
        }
    });
}

/// So many places, and good for so many requests.
fn choosy(object: Vec<u8>, places: usize, good_for: usize, no: No) -> Origin {
    let (taken, asked_for) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let is_given =
                taken.fetch_add(1, SeqCst) < places && asked_for.fetch_add(1, SeqCst) < good_for;
            let goes_on = if is_given {
                trickle(connection, &request, &object)
            } else {
                no.say(connection)
            };
            taken.fetch_sub(1, SeqCst);
            if !goes_on {
                return;
            }
        }
    })
}
