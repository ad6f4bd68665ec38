//! Plugins written with the unmodified `proxy-wasm` crate, through the native door.

#![cfg(feature = "native")]
#![expect(clippy::unwrap_used, reason = "a plugin of a test may panic")]

use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};
use wasmplugin_host::lint::FindingKind;
use wasmplugin_host::test::{Answer, Failure, Proxy};

/// What the plugin does is asked for in the request's `x-do` header.
struct Stream {
    id: u32,
    doing: String,
}

struct Root {
    greeting: String,
}

fn register() {
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| Box::new(Root { greeting: String::new() }));
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        self.greeting = String::from_utf8(bytes).unwrap();
        log::info!("configured with {:?}", self.greeting);
        self.greeting != "bad"
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { id, doing: String::new() }))
    }

    fn on_tick(&mut self) {
        log::info!("tick");
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _token: u32, headers: usize, body_size: usize, _trailers: usize) {
        let status = self.get_http_call_response_header(":status").unwrap_or_else(|| "none".to_owned());
        let body = self.get_http_call_response_body(0, body_size).unwrap_or_default();
        log::info!("callout: {headers} {status} {}", String::from_utf8_lossy(&body));
        match self.doing.as_str() {
            "callout-response" => {
                self.add_http_response_header("x-callout", &status);
                self.resume_http_response();
            }
            _ if status == "200" => {
                self.add_http_request_header("x-callout", &status);
                self.resume_http_request();
            }
            _ => self.send_http_response(403, vec![("x-why", &status)], Some(b"denied")),
        }
    }
}

impl Stream {
    fn call(&self) {
        let headers = vec![(":method", "GET"), (":path", "/check"), (":authority", "auth")];
        self.dispatch_http_call("auth", headers, None, vec![], Duration::from_millis(50)).unwrap();
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.doing = self.get_http_request_header("x-do").unwrap_or_default();
        match self.doing.as_str() {
            "reply" => {
                self.send_http_response(403, vec![("x-a", "1"), ("x-b", "2")], Some(b"hello"));
                Action::Pause
            }
            "callout" => {
                self.call();
                Action::Pause
            }
            "hang" => Action::Pause,
            "path" => {
                let path = self.get_property(vec!["request", "path"]).unwrap();
                self.set_property(vec!["seen"], Some(&path));
                Action::Continue
            }
            _ => Action::Continue,
        }
    }

    fn on_http_request_body(&mut self, _size: usize, end: bool) -> Action {
        if self.doing == "upper" {
            if !end {
                return Action::Pause;
            }
            let body = self.get_http_request_body(0, usize::MAX).unwrap_or_default();
            self.set_http_request_body(0, usize::MAX, &body.to_ascii_uppercase());
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.add_http_response_header("x-stream", &self.id.to_string());
        match self.doing.as_str() {
            "callout-response" => {
                self.call();
                Action::Pause
            }
            "rewrite" => {
                self.set_http_response_header("content-length", None);
                Action::Continue
            }
            "path" => {
                let seen = self.get_property(vec!["seen"]).unwrap();
                self.add_http_response_header("x-seen", &String::from_utf8(seen).unwrap());
                Action::Continue
            }
            _ => Action::Continue,
        }
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.doing == "rewrite" || self.doing == "rewrite-badly" {
            if !end {
                return Action::Pause;
            }
            self.set_http_response_body(0, size, b"another body");
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        log::info!("log {}", self.doing);
    }
}

fn proxy() -> Proxy {
    Proxy::native(register).config("hi").trace(true).cluster("auth", |_| Answer::new(200).body("ok")).start().unwrap()
}

#[test]
fn headers_and_configuration() {
    let mut proxy = proxy();
    let answer = proxy.get("/").send().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text(), "upstream");
    assert_eq!(answer.header("server"), Some("envoy"));
    assert!(answer.header("x-stream").is_some());
    let logs: Vec<String> = proxy.logs().into_iter().map(|line| line.text).collect();
    assert_eq!(logs, ["configured with \"\\\"hi\\\"\"", "log "]);
    assert!(proxy.leaks().is_empty());
    assert_eq!(proxy.findings(), []);
}

#[test]
fn the_trace_is_envoys() {
    let mut proxy = proxy();
    proxy.get("/").send().unwrap();
    let callbacks: Vec<String> =
        proxy.trace().into_iter().filter(|line| line.is_callback()).map(|line| line.to_string()).collect();
    let expected = [
        "[host->vm] proxy_on_context_create(1, 0)",
        "[host<-vm] proxy_on_context_create return: void",
        "[host->vm] proxy_on_vm_start(1, 0)",
        "[host<-vm] proxy_on_vm_start return: 1",
        "[host->vm] proxy_on_configure(1, 4)",
        "[host<-vm] proxy_on_configure return: 1",
        "[host->vm] proxy_on_context_create(2, 1)",
        "[host<-vm] proxy_on_context_create return: void",
        "[host->vm] proxy_on_request_headers(2, 6, 1)",
        "[host<-vm] proxy_on_request_headers return: 0",
        "[host->vm] proxy_on_response_headers(2, 3, 0)",
        "[host<-vm] proxy_on_response_headers return: 0",
        "[host->vm] proxy_on_response_body(2, 8, 0)",
        "[host<-vm] proxy_on_response_body return: 0",
        "[host->vm] proxy_on_response_body(2, 0, 1)",
        "[host<-vm] proxy_on_response_body return: 0",
        "[host->vm] proxy_on_log(2)",
        "[host<-vm] proxy_on_log return: void",
        "[host->vm] proxy_on_done(2)",
        "[host<-vm] proxy_on_done return: 1",
        "[host->vm] proxy_on_delete(2)",
        "[host<-vm] proxy_on_delete return: void",
    ];
    assert_eq!(callbacks, expected);
}

#[test]
fn a_local_reply() {
    let mut proxy = proxy();
    let answer = proxy.get("/").header("x-do", "reply").send().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "hello"));
    assert_eq!(answer.header("x-b"), Some("2"));
    assert!(answer.header("x-stream").is_some(), "it passes the plugin's own response callback");
    assert_eq!(proxy.upstream_requests(), []);
}

#[test]
fn a_callout_decides() {
    let mut proxy = proxy();
    let answer = proxy.get("/").header("x-do", "callout").send().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(proxy.upstream_requests()[0].header("x-callout"), Some("200"));
    assert_eq!(proxy.cluster_requests("auth")[0].path(), "/check");
    assert!(proxy.leaks().is_empty());
}

#[test]
fn a_callout_from_the_response() {
    let mut proxy = proxy();
    let answer = proxy.get("/").header("x-do", "callout-response").send().unwrap();
    assert_eq!(answer.header("x-callout"), Some("200"));
    assert_eq!(answer.text(), "upstream");
}

#[test]
fn callouts_go_wrong() {
    for (answer, expected) in [
        (Answer::new(500), "500"),
        (Answer::new(200).after(Duration::from_secs(1)), "504"),
        (Answer::never(), "504"),
        (Answer::unreachable(), "503"),
        (Answer::reset(), "503"),
        (Answer::reset_after_headers(), "none"),
    ] {
        let script = answer.clone();
        let mut proxy = Proxy::native(register).cluster("auth", move |_| script.clone()).start().unwrap();
        let reply = proxy.get("/").header("x-do", "callout").send().unwrap();
        assert_eq!((reply.status(), reply.header("x-why")), (403, Some(expected)), "{answer:?}");
        proxy.advance(Duration::from_secs(5));
        assert!(proxy.leaks().is_empty());
    }
}

#[test]
fn bodies_are_rewritten() {
    let mut proxy = proxy();
    let answer = proxy.post("/").header("x-do", "upper").chunks(["abc", "def"]).send().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(proxy.upstream_requests()[0].text(), "ABCDEF");
    let answer = proxy.get("/").header("x-do", "rewrite").send().unwrap();
    assert_eq!(answer.text(), "another body");
    assert_eq!(proxy.findings(), []);
    proxy.get("/").header("x-do", "rewrite-badly").send().unwrap();
    let kinds: Vec<_> = proxy.findings().into_iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::ContentLength]);
}

#[test]
fn a_stream_that_nobody_continues_hangs() {
    let mut proxy = proxy();
    assert!(matches!(proxy.get("/").header("x-do", "hang").send(), Err(Failure::Hung(_))));
    assert!(proxy.leaks().is_empty());
}

#[test]
fn properties_cross_phases() {
    let mut proxy = proxy();
    let answer = proxy.get("/a?b").header("x-do", "path").send().unwrap();
    assert_eq!(answer.header("x-seen"), Some("/a?b"));
}

#[test]
fn a_refused_configuration_is_an_error() {
    let error = Proxy::native(register).raw_config("bad").start().unwrap_err();
    assert_eq!(error.to_string(), "plugin `plugin` refused its configuration (`proxy_on_configure`)");
    assert_eq!(error.logs()[0].text, "configured with \"bad\"");
}

#[test]
fn a_callout_outlives_its_client() {
    let mut proxy = proxy();
    // The client leaves before the answer: the plugin's own crate panics then only if it finds a context gone.
    let exchange = proxy.get("/").header("x-do", "hang").open().unwrap();
    assert!(proxy.waiting(&exchange));
    proxy.abort(exchange);
    assert!(proxy.leaks().is_empty());
}
