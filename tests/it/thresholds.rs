//! What the dashboard's charts hold the numbers against, in a real browser.

use std::{thread, time::Duration};

use fileproxy::traffic::quality::Class;

use crate::support::{browser::Browser, origin::Origin, proxy::Proxy, until_within};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";

/// A browser that shows the proxy's dashboard.
fn dashboard(proxy: &Proxy) -> Browser {
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/monitor", proxy.address()));
    browser.until_text("#link", "live");
    browser
}

#[test]
fn bounds_are_drawn_where_the_numbers_reach_them_and_hours_can_be_looked_at() {
    let origin = Origin::answering(|_| {
        thread::sleep(Duration::from_millis(180));
        ANSWER.as_bytes().to_vec()
    });
    let proxy = Proxy::before(&origin, |_| {});
    let browser = dashboard(&proxy);
    for _ in 0..8 {
        proxy.get("/film");
    }
    browser.until(
        "the bounds of the classes are drawn",
        "return [...document.querySelectorAll('[data-thresholds]')].some((plot) => plot.dataset.thresholds === 'medium, poor')",
    );
    let hours = proxy.json("/stats/history");
    assert_eq!(hours["kept"], 6 * 3600 / 15);
    let later = until_within(
        Duration::from_secs(40),
        "there is a row for 15 seconds",
        || {
            let hours = proxy.json("/stats/history");
            (!hours["rows"].as_array().unwrap().is_empty()).then_some(hours)
        },
    );
    let row = later["rows"][0].as_array().unwrap();
    assert_eq!(row.len(), later["columns"].as_array().unwrap().len());
    browser.run("document.querySelector('#span [value=\"21600\"]').click()");
    browser.until(
        "only the rows of the last hours are drawn",
        "return ['1', '2', '3'].includes(document.querySelector('figure.wide .plot').dataset.points)",
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_bounds_and_limits_of_the_charts_are_those_in_force() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let browser = dashboard(&proxy);
    let plot = |title: &str| {
        format!(
            "[...document.querySelectorAll('figure')].find((figure) => figure.querySelector('h2').innerText.startsWith({title:?}))"
        )
    };
    browser.until(
        "the chart of the first byte is drawn",
        &format!(
            "return {}.querySelector('.plot').dataset.bounds?.length > 2",
            plot("Time to first byte")
        ),
    );
    let bounds = browser.run(&format!(
        "return JSON.parse({}.querySelector('.plot').dataset.bounds)",
        plot("Time to first byte")
    ));
    let bounds = bounds.as_array().unwrap();
    assert_eq!(bounds.len(), Class::ALL.len() - 1);
    for (classes, bound) in Class::ALL.windows(2).zip(bounds) {
        let at = Duration::from_millis(bound["at"].as_u64().unwrap());
        let step = Duration::from_micros(1);
        assert_eq!(Class::of(at - step), classes[0], "{bound}");
        assert_eq!(Class::of(at + step), classes[1], "{bound}");
        let label = classes[1].as_str().replace('_', " ");
        assert_eq!(bound["label"], label.as_str());
    }
    // A line that has no number shows a dash.
    let stats = proxy.stats();
    let limit = stats["concurrency"]["limit"].as_u64().unwrap();
    for (title, limit) in [
        ("Origin connections", limit.to_string()),
        ("Rate limit", "/s".to_owned()),
    ] {
        browser.until(
            &format!("{title}: the limit's line has {limit}"),
            &format!(
                "return [...{}.querySelectorAll('.legend button')].some((line) => \
                   line.querySelector('span').innerText === 'limit' && line.querySelector('b').innerText.includes({limit:?}))",
                plot(title)
            ),
        );
    }
    proxy.set_level("low");
    browser.until(
        "no limit is drawn where none is in force",
        &format!(
            "return [...{}.querySelectorAll('.legend b')][0].innerText === '–'",
            plot("Rate limit")
        ),
    );
    assert_eq!(browser.complaints(), [""; 0]);
}
