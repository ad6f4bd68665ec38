//! Envoy's `PluginConfig`, as Istio's resources carry it, and the module that it wants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wasmplugin_deploy::cache::PullPolicy;
use wasmplugin_deploy::envoy::RESERVED_ENV;
use wasmplugin_deploy::fetch::{ModuleRequest, TIMEOUT};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::resource::FailStrategy;
use wasmplugin_host::sandbox::Sandbox;
use wasmplugin_host::worker::FailPolicy;

use super::description::Origin;
use super::envoy_filter::field;
use super::terms::{self, seconds};

/// What the agent gives a module of an EnvoyFilter that names no time.
const PATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A module that a plugin needs.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// A plugin or example of this workspace, by the name of its folder.
    Build(String),
    /// A file.
    File(PathBuf),
    /// Something to fetch.
    Fetch(Box<ModuleRequest>),
    /// None: the script of this filter of Envoy's own, which only a real Envoy runs.
    Script(Box<Value>),
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Build(one), Self::Build(other)) => one == other,
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Fetch(one), Self::Fetch(other)) => {
                one.url == other.url && one.sha256 == other.sha256 && one.resource_version == other.resource_version
            }
            (Self::Script(one), Self::Script(other)) => one == other,
            _ => false,
        }
    }
}

impl From<&Origin> for Wanted {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin { build: Some(name), .. } => Self::Build(name.clone()),
            Origin { file: Some(file), .. } => Self::File(file.clone()),
            Origin { url: Some(url), .. } => Self::of_url(url),
            Origin { .. } => Self::Build(String::new()),
        }
    }
}

impl Wanted {
    /// Something behind a URL, without further wishes.
    pub(crate) fn of_url(url: &str) -> Self {
        match url.strip_prefix("file://") {
            Some(file) => Self::File(file.into()),
            None => Self::Fetch(Box::new(ModuleRequest::of(url))),
        }
    }

    /// The URL that a resource gives it.
    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::Build(_) | Self::Script(_) => None,
            Self::File(file) => Some(format!("file://{}", file.display())),
            Self::Fetch(request) => Some(request.url.clone()),
        }
    }
}

/// A plugin of a chain: Envoy's `PluginConfig` with the module still to be had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    /// What logs and properties call it.
    pub(crate) name: String,
    /// Its resource in ECDS, or its filter's name.
    pub(crate) resource: String,
    pub(crate) module: Wanted,
    pub(crate) root_id: String,
    pub(crate) vm_id: String,
    pub(crate) configuration: String,
    pub(crate) vm_configuration: String,
    pub(crate) environment: Vec<(String, String)>,
    /// Its functions, and how much it may use.
    pub(crate) sandbox: Sandbox,
    pub(crate) fail: FailPolicy,
    pub(crate) allow_on_headers_stop_iteration: bool,
    /// Why Envoy would not take this configuration, whatever the module is.
    pub(crate) flaw: Option<String>,
}

impl Plugin {
    /// A filter of Envoy's own with a script.
    pub(crate) fn scripted(name: &str, filter: Value) -> Self {
        let named = Self::read(&json!({"name": name}), name, false, &BTreeMap::new());
        Self { module: Wanted::Script(Box::new(filter)), flaw: None, ..named }
    }

    /// Reads it. What came over ECDS has been through the agent, which fetches the module and takes out what istiod has
    /// told it; `host` is the environment of the proxy, before that of this process.
    pub(crate) fn read(config: &Value, resource: &str, discovered: bool, host: &BTreeMap<String, String>) -> Self {
        let text = |value: &Value, snake: &str, camel: &str| {
            field(value, snake, camel).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let vm = field(config, "vm_config", "vmConfig").cloned().unwrap_or_default();
        let variables = field(&vm, "environment_variables", "environmentVariables").cloned().unwrap_or_default();
        let (module, mut flaw) = module(&vm, &variables, discovered);
        let strip = discovered && matches!(module, Wanted::Fetch(_));
        let mut read = |flawed: String| _ = flaw.get_or_insert(flawed);
        let environment = environment(&variables, strip, host).map_err(&mut read).unwrap_or_default();
        let configuration = unpacked(config, "configuration").map_err(&mut read).unwrap_or_default();
        let vm_configuration = unpacked(&vm, "vm_config.configuration").map_err(&mut read).unwrap_or_default();
        let fail = terms::fail_policy(config).map_err(&mut read).unwrap_or_default();
        let capabilities = terms::capabilities(config, &vm).map_err(read).unwrap_or_default();
        let flag = |snake, camel| field(config, snake, camel).and_then(Value::as_bool).unwrap_or_default();
        Self {
            name: text(config, "name", "name"),
            resource: resource.to_owned(),
            module,
            root_id: text(config, "root_id", "rootId"),
            vm_id: text(&vm, "vm_id", "vmId"),
            configuration,
            vm_configuration,
            environment,
            sandbox: capabilities.into(),
            fail,
            allow_on_headers_stop_iteration: flag("allow_on_headers_stop_iteration", "allowOnHeadersStopIteration"),
            flaw,
        }
    }

    /// What becomes of requests where the agent cannot have the module; it looks at nothing but Istio's own strategies.
    pub(crate) fn strategy(&self) -> FailStrategy {
        match self.fail {
            FailPolicy::OpenLater => FailStrategy::FailOpen,
            FailPolicy::Reload { .. } => FailStrategy::FailReload,
            FailPolicy::Open | FailPolicy::Closed => FailStrategy::FailClose,
        }
    }
}

/// Where a module is, and what Envoy would have against it.
fn module(vm: &Value, variables: &Value, discovered: bool) -> (Wanted, Option<String>) {
    let code = vm.get("code").cloned().unwrap_or_default();
    if let Some(file) = code.pointer("/local/filename").and_then(Value::as_str) {
        return (Wanted::File(file.into()), None);
    }
    let Some(remote) = code.get("remote") else {
        return (Wanted::File(PathBuf::new()), Some("the plugin has no `code`".to_owned()));
    };
    let sha256 = remote.get("sha256").and_then(Value::as_str).unwrap_or_default();
    let uri = field(remote, "http_uri", "httpUri").cloned().unwrap_or_default();
    let mut request = ModuleRequest::of(uri.get("uri").and_then(Value::as_str).unwrap_or_default());
    let mut flaw = None;
    if !sha256.is_empty() {
        match sha256.parse::<Digest>().or_else(|_| format!("sha256:{sha256}").parse()) {
            Ok(digest) => request.sha256 = Some(digest),
            Err(_) => flaw = Some(format!("`sha256` is `{sha256}`, which are not 64 hexadecimal digits")),
        }
    } else if !discovered {
        flaw = Some("a remote module needs its `sha256`, unless it comes over ECDS".to_owned());
    }
    let own = |name: &str| variables.pointer(&format!("/key_values/{RESERVED_ENV}{name}")).and_then(Value::as_str);
    request.pull_policy = match own("WASM_IMAGE_PULL_POLICY") {
        Some("Always") => PullPolicy::Always,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ => PullPolicy::Unspecified,
    };
    request.pull_secret = own("WASM_IMAGE_PULL_SECRET").map(|secret| secret.as_bytes().to_vec());
    own("WASM_PLUGIN_RESOURCE_VERSION").unwrap_or_default().clone_into(&mut request.resource_version);
    request.timeout = match uri.get("timeout").and_then(Value::as_str).and_then(seconds) {
        Some(timeout) => timeout.min(TIMEOUT),
        None => PATCH_TIMEOUT,
    };
    (Wanted::Fetch(Box::new(request)), flaw)
}

/// The variables that the module sees; a name that has two sources, or a value that is no text, is an error.
fn environment(
    variables: &Value,
    strip: bool,
    host: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, String> {
    let mut environment = Vec::new();
    let values = field(variables, "key_values", "keyValues").and_then(Value::as_object);
    for (name, value) in values.into_iter().flatten() {
        if !(strip && name.starts_with(RESERVED_ENV)) {
            let text = value.as_str().ok_or_else(|| format!("the variable `{name}` in `key_values` is no text"))?;
            environment.push((name.clone(), text.to_owned()));
        }
    }
    let keys = field(variables, "host_env_keys", "hostEnvKeys").and_then(Value::as_array);
    for name in keys.into_iter().flatten().filter_map(Value::as_str) {
        if environment.iter().any(|(known, _)| known == name) {
            return Err(format!("the variable `{name}` is both in `key_values` and in `host_env_keys`"));
        }
        // One that is not there is passed by.
        if let Some(value) = host.get(name).cloned().or_else(|| std::env::var(name).ok()) {
            environment.push((name.to_owned(), value));
        }
    }
    Ok(environment)
}

/// A configuration out of its message: text as it is, bytes that are text, a `Struct` as JSON.
fn unpacked(config: &Value, place: &str) -> Result<String, String> {
    let Some(any) = config.get("configuration").filter(|any| !any.is_null()) else { return Ok(String::new()) };
    let kind = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    let kind = kind.rsplit(['.', '/']).next().unwrap_or_default();
    match (kind, any.get("value")) {
        ("" | "StringValue" | "BytesValue" | "Struct", None | Some(Value::Null)) => Ok(String::new()),
        ("StringValue", Some(Value::String(text))) => Ok(text.clone()),
        ("BytesValue", Some(Value::String(text))) => {
            let bytes = STANDARD.decode(text).map_err(|error| format!("`{place}` is no base64: {error}"))?;
            String::from_utf8(bytes)
                .map_err(|_| format!("`{place}` has bytes that are no text, which is not done here"))
        }
        ("Struct", Some(value @ Value::Object(_))) => Ok(value.to_string()),
        _ => Err(format!("`{place}` is neither a `StringValue`, a `BytesValue` nor a `Struct`, each with its `value`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a configuration of this type and value; or its flaw.
    fn read(kind: &str, value: Value) -> Result<String, String> {
        let configuration = json!({"@type": format!("type.googleapis.com/google.protobuf.{kind}"), "value": value});
        let code = json!({"local": {"filename": "a.wasm"}});
        let config = json!({"configuration": configuration, "vm_config": {"code": code}});
        let plugin = Plugin::read(&config, "a", false, &BTreeMap::new());
        plugin.flaw.map_or(Ok(plugin.configuration), Err)
    }

    #[test]
    fn a_configuration_is_text_whatever_message_it_is_in() {
        assert_eq!(read("StringValue", json!("{a}")).as_deref(), Ok("{a}"));
        assert_eq!(read("BytesValue", json!("e2F9")).as_deref(), Ok("{a}"));
        assert_eq!(read("Struct", json!({"a": 1})).as_deref(), Ok("{\"a\":1}"));
        assert_eq!(read("Struct", Value::Null).as_deref(), Ok(""));
        let empty = json!({"configuration": {}, "vm_config": {"code": {"local": {"filename": "a.wasm"}}}});
        assert_eq!(Plugin::read(&empty, "a", false, &BTreeMap::new()).flaw, None);
        for (kind, value) in [("BytesValue", "/w=="), ("BytesValue", "e"), ("Struct", "{}"), ("UInt32Value", "1")] {
            assert!(read(kind, json!(value)).unwrap_err().contains("`configuration`"), "{kind} {value}");
        }
        assert!(read("StringValue", json!({"a": 1})).is_err());
    }

    #[test]
    fn a_variable_that_is_no_text_is_a_flaw() {
        let vm = json!({"code": {"local": {"filename": "a.wasm"}}, "environment_variables": {"key_values": {"A": 1}}});
        let plugin = Plugin::read(&json!({"vm_config": vm}), "a", false, &BTreeMap::new());
        assert!(plugin.flaw.unwrap().contains("`A` in `key_values`"));
    }
}
