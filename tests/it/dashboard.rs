//! The dashboard in a real browser.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, SystemTime},
};

use fileproxy::{
    app::browser::is_refused,
    settings::Settings,
    traffic::published::{Retune, Retuned},
};

use crate::support::{
    browser::Browser,
    origin::Origin,
    program::Program,
    proxy::{Proxy, TOKEN},
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfilm";

/// The demo, and what it printed up to its dashboard's link.
fn demo(local: &str) -> (Child, String) {
    let any = "127.0.0.1:0";
    let mut demo = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .args(["demo", "--listen", any, "--origin", any])
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env("FILEPROXY__ADMIN__LOCAL", local)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let link = lines
        .find_map(|line| {
            let line = line.unwrap();
            let link = line.trim().strip_prefix("monitor")?.trim();
            Some(link.split(' ').next()?.to_owned())
        })
        .unwrap();
    thread::spawn(move || lines.for_each(drop));
    (demo, link)
}

#[test]
fn the_link_that_is_printed_opens_in_a_browser_whoever_has_the_usual_port() {
    let browser = Browser::start(1280, 900);
    browser.open("http://127.0.0.1:10080/monitor");
    browser.until_text("body", "ERR_UNSAFE_PORT");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for local in ["127.0.0.1:10081", &taken.local_addr().unwrap().to_string()] {
        let (mut demo, link) = demo(local);
        browser.open(&link);
        browser.until_text("#link", "live");
        demo.kill().unwrap();
        demo.wait().unwrap();
    }
    let origin = Origin::saying(ANSWER);
    let program = Program::local(&format!("http://{}", origin.address()), "127.0.0.1:0");
    browser.open(program.serving()["monitor"].as_str().unwrap());
    browser.until_text("#link", "live");
}

#[test]
fn every_link_for_a_browser_in_the_documents_has_a_port_that_browsers_take() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = ["README.md", "docker-compose.yml", "settings/base.toml"]
        .map(|file| root.join(file))
        .into();
    files.extend(
        fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|file| file.unwrap().path()),
    );
    let mut links = 0;
    for file in files.iter().filter(|file| file.is_file()) {
        let Ok(text) = fs::read_to_string(file) else {
            // a picture
            continue;
        };
        for page in ["/monitor", "/docs"] {
            for (at, _) in text.match_indices(page) {
                let before = &text[..at];
                let start =
                    before.rfind(|c: char| !(c.is_ascii_alphanumeric() || ":/.-".contains(c)));
                let link = &before[start.map_or(0, |at| at + 1)..];
                let Some(port) = link
                    .strip_prefix("http://")
                    .and_then(|host| host.rsplit_once(':')?.1.parse().ok())
                else {
                    continue;
                };
                links += 1;
                assert!(!is_refused(port), "{}: {link}{page}", file.display());
            }
        }
    }
    assert!(links > 0);
    let settings = Settings::base().unwrap();
    assert!(!is_refused(settings.admin.local.unwrap().port()));
}

fn monitor(proxy: &Proxy) -> String {
    format!("http://{}/monitor", proxy.address())
}

#[test]
fn the_dashboard_shows_traffic_and_a_change_of_level_without_a_complaint() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#link", "live");
    browser.until_text("[data-name='Error rate'] .more", "0 of 0");
    browser.until_text("[data-name='Level']", "high");

    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                proxy.get("/film");
                thread::sleep(Duration::from_millis(20));
            }
        });
        browser.until(
            "the rate of requests is not zero",
            "return parseFloat(document.querySelector(\"[data-name='Requests'] dd\").innerText) > 0",
        );
        // it moves on
        let first = browser.text("[data-name='Error rate'] .more");
        browser.until(
            "the number of requests grows",
            &format!(
                "return document.querySelector(\"[data-name='Error rate'] .more\").innerText !== {first:?}"
            ),
        );
        over.store(true, Relaxed);
    });
    assert_eq!(
        browser.run("return document.querySelectorAll('figure canvas').length"),
        13
    );

    proxy.set_level("low");
    browser.until_text("[data-name='Level']", "low");
    browser.until_text("#retunes", "high → low");
    browser.until_text("[data-name='Rate limit']", "off");
    browser.until(
        "the mark on the time line tells what was changed and why",
        "const line = document.querySelector('figure.wide .u-over'); \
         const { left, right, top } = line.getBoundingClientRect(); \
         for (let clientX = right - 1; clientX > left; clientX -= 4) { \
           line.dispatchEvent(new MouseEvent('mousemove', { clientX, clientY: top + 5, bubbles: true })); \
           const told = document.querySelector('figure.wide .legend').innerText; \
           if (told.includes('level high → low: set by the admin endpoint')) return true; \
         } \
         return false",
    );
    browser.until(
        "the form shows the level in force",
        "return document.querySelector('[name=level][value=low]').checked",
    );

    // from a phone to a wall screen, light and dark
    for (width, scheme) in [(360, "light"), (1280, "dark"), (3840, "light")] {
        browser.resize(width, 900);
        browser.prefer(scheme);
        browser.until(
            &format!("nothing is wider than {width}"),
            "return document.documentElement.scrollWidth <= innerWidth",
        );
        // a PNG of more than a blank page
        assert!(browser.screenshot().len() > 10_000, "{width}");
    }
    browser.open(&format!("http://{}/docs", proxy.address()));
    assert!(browser.text("main").contains("/admin/optimization"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_dashboard_says_what_is_wrong_and_what_the_process_takes() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    assert_eq!(proxy.get("/film").status, 200);
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("[data-name='Responses'] .more", "0 4xx, 0 5xx");
    browser.until_text("[data-name='CPU'] .more", env!("CARGO_PKG_VERSION"));
    browser.until(
        "memory, files and CPU have numbers",
        "const of = (name) => document.querySelector(`[data-name='${name}']`).innerText; \
         return /\\d+ MB/.test(of('Memory').replaceAll('\\n', ' ')) && /\\d of [\\d,]+ files open/.test(of('Memory')) \
           && /\\d %/.test(of('CPU').replaceAll('\\n', ' ')) && /idle/.test(of('Origin connections'))",
    );
    assert_eq!(
        browser.run("return document.getElementById('reasons').hidden"),
        true
    );
    drop(origin);
    browser.until(
        "the reason stands at the top",
        &format!(
            "fetch('/film').catch(() => 0); \
         const told = document.getElementById('reasons'); \
         return !told.hidden && told.innerText.includes({:?})",
            "the origin cannot be reached"
        ),
    );
    browser.until_text("[data-name='Responses'] .more", "5xx");
    let stats = proxy.stats();
    assert_eq!(stats["reasons"][0], "the origin cannot be reached");
    assert!(stats["responses"]["5xx"].as_u64().unwrap() > 0, "{stats}");
    assert!(stats["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    assert!(stats["process"]["open_files"].as_u64().unwrap() > 3);
}

/// Makes docs/monitor*.png anew: `cargo test --workspace --test it -- --ignored pictures`.
#[test]
#[ignore = "it makes the pictures of the documents"]
fn the_pictures_of_the_documents() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .args(["demo", "--network", "poor", "--viewers", "8"])
        .args(["--listen", "127.0.0.1:0", "--origin", "127.0.0.1:0"])
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env("FILEPROXY__ADMIN__LOCAL", "127.0.0.1:10081")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Long enough for the outage of the demo, and what follows.
    thread::sleep(Duration::from_secs(75));
    for (name, width, height) in [
        ("monitor", 1400, 1900),
        ("monitor-phone", 390, 1457),
        ("monitor-wall", 1920, 1080),
    ] {
        let browser = Browser::start(width, height);
        browser.open("http://127.0.0.1:10081/monitor");
        browser.until_text("#link", "live");
        thread::sleep(Duration::from_secs(3));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/{name}.png"));
        let mut decode = Command::new("base64")
            .arg("-d")
            .stdin(Stdio::piped())
            .stdout(fs::File::create(file).unwrap())
            .spawn()
            .unwrap();
        let text = browser.screenshot();
        decode
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(decode.wait().unwrap().success());
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn the_level_is_set_from_the_dashboard_by_keyboard_and_the_token_is_kept_nowhere() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#link", "live");
    let enter = "\u{e007}";
    browser.type_into("[name=level][value=low]", "\u{e00d}");
    browser.type_into("[name=token]", &format!("wrong{enter}"));
    browser.until_text("#steered", "Not set: the token is wrong");
    assert_eq!(proxy.stats()["retunes"], serde_json::json!([]));

    browser.run("document.querySelector('[name=token]').value = ''");
    browser.type_into("[name=token]", &format!("{TOKEN}{enter}"));
    browser.until_text("#steered", "Set: level low");
    browser.until_text("[data-name='Level']", "low");
    let kept = browser.run(
        "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])",
    );
    assert!(!kept.as_str().unwrap().contains(TOKEN), "{kept}");
    browser.open(&monitor(&proxy));
    assert_eq!(
        browser.run("return document.querySelector('[name=token]').value"),
        ""
    );
}

#[test]
fn the_store_is_shown_and_purged_from_the_dashboard() {
    let origin = Origin::saying(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nfilm",
    );
    let proxy = Proxy::before(&origin, |settings| settings.levels.high.store = true);
    for _ in 0..4 {
        assert_eq!(proxy.get("/film").text(), "film");
    }
    assert_eq!(origin.hits(), 1);
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#link", "live");
    browser.until_text("#stored", "75.0 %");
    browser.type_into("#purge [name=what]", "http://proxy/film");
    browser.type_into("#purge [name=token]", "wrong\u{e007}");
    browser.until_text("#purged", "Not purged: the token is wrong");
    browser.run("document.querySelector('#purge [name=token]').value = ''");
    browser.type_into("#purge [name=token]", &format!("{TOKEN}\u{e007}"));
    browser.until_text("#purged", "Purged: in memory 1");
    assert_eq!(proxy.get("/film").text(), "film");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_canary_is_begun_and_taken_back_on_the_dashboard_with_both_groups_side_by_side() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#link", "live");
    browser.type_into("[name=level][value=low]", "\u{e00d}");
    browser.type_into("[name=percent]", "10");
    browser.type_into("[name=token]", &format!("{TOKEN}\u{e007}"));
    browser.until_text("#steered", "Set: level low for 10 % of the clients");
    browser.until_text("#canary-summary", "10 % of the clients have level low");
    browser.until_text("[data-name='Level']", "high");
    for text in ["Stable", "Candidate", "Goodput", "too few samples"] {
        browser.until_text("#canary-groups", text);
    }
    // the buttons follow: Give it to 50 %, Give it to all, Roll back
    browser.run("document.querySelector('#canary-buttons button:last-child').focus()");
    browser.type_into("#canary-buttons button:last-child", "\u{e007}");
    browser.until_text("#steered", "Set: level low for 0 % of the clients");
    browser.until_text("#canary-summary", "The last candidate was taken back");
    browser.until(
        "the groups are gone",
        "return document.querySelector('#canary .scroll').hidden",
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_button_pressed_before_the_token_is_typed_does_what_it_says_and_not_what_the_form_says() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    assert_eq!(
        proxy
            .post_level(r#"{"level": "low", "percent": 10}"#)
            .status,
        200
    );
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#canary-buttons", "Give it to 50 %");
    let enter = "\u{e007}";
    browser.type_into("#canary-buttons button:first-child", enter);
    browser.until_text(
        "#steered",
        "Type the admin token, then Enter sets level low for 50 % of the clients",
    );
    browser.type_into("[name=token]", &format!("{TOKEN}{enter}"));
    browser.until_text("#steered", "Set: level low for 50 % of the clients");
    browser.until_text("#canary-summary", "50 % of the clients have level low");

    // what is not there any more is not done
    browser.run("document.querySelector('[name=token]').value = ''");
    browser.type_into("#canary-buttons button:first-child", enter);
    browser.until_text("#steered", "Enter sets level low for 100 %");
    proxy.set_level("medium");
    browser.until_text("#steered", "that candidate does not run any more");
}

#[test]
fn no_text_can_run_in_the_dashboard() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let markup =
        "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>";
    proxy.published().retunes.push(Retune {
        at: SystemTime::now(),
        what: Retuned::Rate,
        origin: Some("default".to_owned()),
        from: markup.to_owned(),
        to: markup.to_owned(),
        why: markup.to_owned(),
    });
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#retunes", markup);
    assert_eq!(
        browser.run("return document.querySelectorAll('#retunes img').length"),
        0
    );
    assert_eq!(browser.complaints(), [""; 0]);
    // and if a text did become markup, the policy would not let it run
    let refused = browser.run(
        "try { document.body.innerHTML = '<b>x</b>'; return 'taken'; } catch (error) { return error.name; }",
    );
    assert_eq!(refused, "TypeError");
    browser.run(
        "const b = document.createElement('b'); document.body.append(b); \
         try { b.setAttribute('onclick', \"document.title = 'run'\"); b.click(); } catch {}",
    );
    assert_eq!(browser.run("return document.title"), "fileproxy");
}

#[test]
fn a_broken_stream_is_told_and_taken_up_again() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |_| {});
    let address = proxy.address();
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#link", "live");
    drop(proxy);
    browser.until_text("#link", "not connected");
    browser.until_text("#broken", "The proxy does not answer");
    let proxy = Proxy::before(&origin, |s| s.server.listen = address.into());
    browser.until_text("#link", "live");
    browser.until(
        "the warning is gone",
        "return document.querySelector('#broken').hidden",
    );
    drop(proxy);
}

#[test]
fn a_dashboard_too_many_is_told_that_the_proxy_answers() {
    let origin = Origin::saying(ANSWER);
    let proxy = Proxy::before(&origin, |s| s.monitor.streams = 0);
    let browser = Browser::start(1280, 900);
    browser.open(&monitor(&proxy));
    browser.until_text("#broken", "too many dashboards");
}
