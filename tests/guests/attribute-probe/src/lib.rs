//! Reads the properties that its configuration lists, in every phase, and logs what the host answers.

use wasmplugin::{Flow, Http, LogEntry, RequestHead, ResponseHead, Result, sys};

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

    fn on_response(&self, _: &mut ResponseHead) -> Result<Flow> {
        self.read("response");
        Ok(Flow::Continue)
    }

    fn on_log(&self, _: &LogEntry) {
        self.read("log");
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
