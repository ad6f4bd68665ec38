//! A headless Chromium, driven over WebDriver in plain HTTP.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clients::Client;

/// How long a page may take for anything, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A window of a browser; it closes when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// Opens a window of that size with a page.
    pub(crate) fn open(url: &str) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("`chromedriver` is not installed: `apt-get install chromium chromium-driver`");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| line.rsplit_once("successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok());
        // The rest of what it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let address = SocketAddr::from(([127, 0, 0, 1], port.expect("the driver says where it listens")));
        let mut browser = Self { driver, address, session: String::new() };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,860"];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser.tell("url", &json!({"url": url}));
        browser
    }

    /// Runs a script in the page; what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.tell("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until the page has an element for which this is true, and clicks on it.
    pub(crate) fn click(&self, selector: &str, text: &str) {
        let began = Instant::now();
        loop {
            let found = self.tell("elements", &json!({"using": "css selector", "value": selector}));
            for element in found.as_array().unwrap() {
                let element = element.as_object().unwrap().values().next().unwrap().as_str().unwrap();
                let path = format!("/session/{}/element/{element}", self.session);
                let shown = self.try_ask("GET", &format!("{path}/text"), &Value::Null);
                // The list may have been drawn anew in between.
                if shown.is_ok_and(|shown| shown.as_str().unwrap().contains(text))
                    && self.try_ask("POST", &format!("{path}/click"), &json!({})).is_ok()
                {
                    return;
                }
            }
            assert!(began.elapsed() < PATIENCE, "there is no `{selector}` with `{text}`: {}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the page shows a text somewhere.
    pub(crate) fn wait_for(&self, text: &str) {
        let began = Instant::now();
        while !self.text().contains(text) {
            assert!(began.elapsed() < PATIENCE, "`{text}` is not shown: {}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What a reader sees.
    pub(crate) fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    fn tell(&self, what: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{what}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n\r\n{body}", self.address);
        let answer = Client::patient(self.address, PATIENCE).send(request).answer();
        let mut said: Value = serde_json::from_str(&answer.body).unwrap();
        if answer.status == 200 { Ok(said["value"].take()) } else { Err(said) }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends with its session, the driver here; a test that fails may leave either in any state.
        if !self.session.is_empty() {
            let request = format!("DELETE /session/{} HTTP/1.1\r\nhost: {}\r\n\r\n", self.session, self.address);
            let _ended = Client::patient(self.address, PATIENCE).send(request).try_answer();
        }
        let _killed = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}
