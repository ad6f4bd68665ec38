//! Reads the properties that its configuration lists, in every phase, and logs what the host answers.

use std::rc::Rc;

use wasmplugin::filter_state::{Declaration, FilterState, Kind};
use wasmplugin::{Done, Flow, Http, LogEntry, Request, RequestHead, ResponseHead, Result, attributes, sys};

const VERDICT: FilterState = FilterState::of("verdict");

#[derive(serde::Deserialize)]
struct Config {
    /// Paths, with `|` between the segments.
    paths: Vec<String>,
    /// Values to store first, in the request's headers callback.
    #[serde(default)]
    store: Vec<(String, String)>,
    /// Whether to clear the route cache after the first reading, and to read again.
    #[serde(default)]
    clear: bool,
    /// A request header to set after the first reading, before the second.
    #[serde(default)]
    header: Option<(String, String)>,
    /// Foreign functions to call in the request phase: the name, and the argument in hexadecimal.
    #[serde(default)]
    calls: Vec<(String, String)>,
    /// Whether to say what the typed interface answers.
    #[serde(default)]
    typed: bool,
    /// The same while the plugin is configured.
    #[serde(default)]
    root_calls: Vec<(String, String)>,
}

struct AttributeProbe {
    config: Config,
}

impl AttributeProbe {
    fn read(&self, phase: &str) {
        for path in &self.config.paths {
            let answer = match sys::property(&path.replace('|', "\0")) {
                Ok(bytes) => format!("0 {}", hex(&bytes)),
                Err(error) => error.status.0.to_string(),
            };
            log::info!("@{phase} {path} {answer}");
        }
    }

    fn call(phase: &str, calls: &[(String, String)]) {
        for (name, argument) in calls {
            let answer = match sys::call_foreign_function(name, &unhex(argument)) {
                Ok(bytes) => format!("0 {}", hex(&bytes)),
                Err(error) => error.status.0.to_string(),
            };
            log::info!("@{phase} {name}({argument}) {answer}");
        }
    }
}

impl From<Config> for AttributeProbe {
    fn from(config: Config) -> Self {
        let plugin = Self { config };
        Self::call("root", &plugin.config.root_calls);
        plugin.read("root");
        if plugin.config.typed {
            say("root node id", &attributes::NODE_ID.read());
            let labels = attributes::NODE_METADATA.field::<attributes::Map>("LABELS").read();
            say("root label", &labels.map(|labels| labels.and_then(|labels| labels.get::<String>("app"))));
            say("root declared", &VERDICT.declare(&Declaration::new().readonly().kind(Kind::Text)));
            say("root again", &VERDICT.declare(&Declaration::new()));
        }
        plugin
    }
}

impl Http for AttributeProbe {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        for (path, value) in &self.config.store {
            let answer = sys::set_property(&path.replace('|', "\0"), value.as_bytes());
            log::info!("@store {path} {}", answer.map_or_else(|error| error.status.0, |()| 0));
        }
        Self::call("request", &self.config.calls);
        self.read("request");
        if self.config.typed {
            typed_request(request);
        }
        if let Some((name, value)) = &self.config.header {
            request.set_header(name, value)?;
        }
        if self.config.clear {
            Self::call("cleared", &[("clear_route_cache".to_owned(), String::new())]);
        }
        if self.config.clear || self.config.header.is_some() {
            self.read("again");
        }
        Ok(Flow::Continue)
    }

    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        if !self.config.typed {
            return request.pass();
        }
        let body = request.into_body(1 << 10).await?;
        say("body path", &body.attribute(attributes::REQUEST_PATH));
        say("body size", &body.attribute(attributes::REQUEST_TOTAL_SIZE));
        body.pass()
    }

    fn on_response(&self, response: &mut ResponseHead) -> Result<Flow> {
        self.read("response");
        if self.config.typed {
            say("response code", &response.attribute(attributes::RESPONSE_CODE));
            say("response path", &response.attribute(attributes::REQUEST_PATH));
            say("response verdict", &response.filter_state(&VERDICT).map(text));
        }
        Ok(Flow::Continue)
    }

    fn on_log(&self, entry: &LogEntry) {
        self.read("log");
        if self.config.typed {
            say("log path", &entry.attribute(attributes::REQUEST_PATH));
            say("log took time", &entry.attribute(attributes::REQUEST_DURATION).map(|time| time.is_some()));
            say("log headers", &entry.attribute(attributes::REQUEST_HEADERS).map(|map| map.map(|map| !map.is_empty())));
        }
    }
}

fn typed_request(request: &RequestHead) {
    say("client", &request.attribute(attributes::SOURCE_ADDRESS).map(|address| address.map(|a| a.to_string())));
    say("port", &request.attribute(attributes::SOURCE_PORT));
    say("mtls", &request.attribute(attributes::CONNECTION_MTLS));
    say("sni", &request.attribute(attributes::CONNECTION_REQUESTED_SERVER_NAME));
    say("peer", &request.attribute(attributes::CONNECTION_URI_SAN_PEER_CERTIFICATE));
    say("code", &request.attribute(attributes::RESPONSE_CODE));
    say("route", &request.attribute(attributes::ROUTE_NAME));
    say(
        "path as number",
        &request.attribute(attributes::Attribute::<u64>::named("request\0path", attributes::Phases::ALL)),
    );
    let number = attributes::DYNAMIC_METADATA.field::<attributes::Map>("dyn").field::<f64>("n");
    say("metadata", &request.attribute(number));
    say("verdict", &request.filter_state(&VERDICT).map(text));
    say("set", &request.set_filter_state(&VERDICT, "yes"));
    say("set again", &request.set_filter_state(&VERDICT, "no"));
    say("hidden", &request.set_filter_state(&FilterState::of("request"), "x"));
    say("object", &request.set_envoy_object("envoy.string", "x"));
    say("no object", &request.set_envoy_object("acme.object", "x"));
    say("bad object", &request.set_envoy_object("envoy.upstream.dynamic_port", "x"));
}

fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Logs what an answer is, and an error in its words.
fn say<T: std::fmt::Debug>(what: &str, answer: &Result<T>) {
    match answer {
        Ok(value) => log::info!("{what}: {value:?}"),
        Err(error) => log::info!("{what}: {error}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect()
}

wasmplugin::plugin!(AttributeProbe, config = Config);
