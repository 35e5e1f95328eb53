//! A headless Chromium, steered by chromedriver over the W3C WebDriver protocol: plain HTTP and JSON.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::message;

/// A browser takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// What an element is called in JSON (W3C WebDriver, section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one page. Dropped, it ends.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

/// A running chromedriver and its port; none where it ended at once.
fn driver() -> Option<(Child, u16)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver, of the Debian package chromium-driver");
    let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = said.find_map(|line| {
        let line = line.unwrap();
        let (_, port) = line.split_once("successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    let Some(port) = port else {
        driver.wait().unwrap();
        return None;
    };
    // what else it says is of no interest, but must not block it
    std::thread::spawn(move || said.for_each(drop));
    Some((driver, port))
}

impl Browser {
    /// Starts a browser with a window of this size.
    pub fn start(width: u32, height: u32) -> Self {
        // It takes a free port of IPv4, and ends where another test has the same one of IPv6.
        let (driver, port) = (0..5)
            .find_map(|_| driver())
            .expect("chromedriver must say its port");
        let mut browser = Self {
            driver,
            address: ([127, 0, 0, 1], port).into(),
            session: String::new(),
        };
        let session = browser.ask(
            "POST",
            "",
            json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"args": [
                    "--headless=new",
                    // there is no sandbox for root, and little shared memory in a container
                    "--no-sandbox",
                    "--disable-dev-shm-usage",
                    "--disable-gpu",
                    format!("--window-size={width},{height}"),
                ]},
                "goog:loggingPrefs": {"browser": "ALL"},
            }}}),
        );
        browser.session = format!("/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        self.try_ask(method, path, body)
            .unwrap_or_else(|why| panic!("{method} {path}: {why}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut socket = TcpStream::connect(self.address).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        write!(
            socket,
            "{method} /session{}{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.session,
            self.address,
            body.len()
        )
        .map_err(failed)?;
        // it does not close the connection, whatever it is asked
        let (mut bytes, mut body) = (Vec::new(), Vec::new());
        let mut framing = None;
        loop {
            let mut piece = [0; 16 * 1024];
            match socket.read(&mut piece).map_err(failed)? {
                0 => return Err("the driver closed".to_owned()),
                n => bytes.extend_from_slice(&piece[..n]),
            }
            if framing.is_none()
                && let Some(end) = message::head_end(&bytes)
            {
                let head: Vec<_> = bytes.drain(..end).collect();
                framing = Some(message::framing(&head));
            }
            if let Some(framing) = &mut framing
                && message::take(framing, &mut bytes, &mut body)
            {
                break;
            }
        }
        let mut body: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let value = body["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    /// Goes to a page and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", json!({"url": url}));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask(
            "POST",
            "/execute/sync",
            json!({"script": script, "args": []}),
        )
    }

    /// The text of the element that a CSS selector finds, as a person sees it.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.run(&script).as_str().unwrap().to_owned()
    }

    /// Waits until the script returns true.
    pub fn until(&self, what: &str, script: &str) {
        let began = Instant::now();
        while self.run(script) != Value::Bool(true) {
            assert!(
                began.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}; the page says: {}",
                self.text("body")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the element's text contains these words.
    pub fn until_text(&self, selector: &str, words: &str) {
        self.until(
            &format!("{selector} says {words:?}"),
            &format!(
                "return (document.querySelector({selector:?})?.innerText ?? '').includes({words:?})"
            ),
        );
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask(
            "POST",
            "/element",
            json!({"using": "css selector", "value": selector}),
        );
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Types into the element, as from a keyboard: "\u{e007}" is Enter, "\u{e00d}" the space bar.
    pub fn type_into(&self, selector: &str, keys: &str) {
        let path = format!("/element/{}/value", self.element(selector));
        self.ask("POST", &path, json!({"text": keys}));
    }

    /// Gives the window this size.
    pub fn resize(&self, width: u32, height: u32) {
        self.ask(
            "POST",
            "/goog/cdp/execute",
            json!({"cmd": "Emulation.setDeviceMetricsOverride", "params":
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}}),
        );
    }

    /// Light or dark, as the system asks for.
    pub fn prefer(&self, scheme: &str) {
        self.ask(
            "POST",
            "/goog/cdp/execute",
            json!({"cmd": "Emulation.setEmulatedMedia", "params":
                {"features": [{"name": "prefers-color-scheme", "value": scheme}]}}),
        );
    }

    /// What the console said since it was last asked: warnings and errors, the browser's own among them.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", json!({"type": "browser"}));
        log.as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What is seen, as a PNG in base64.
    pub fn screenshot(&self) -> String {
        let shot = self.ask("GET", "/screenshot", Value::Null);
        shot.as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends its browser with the session
        _ = self.try_ask("DELETE", "", Value::Null);
        _ = self.driver.kill();
        _ = self.driver.wait();
    }
}
