//! EnvoyFilter, as far as it carries Wasm: filters for requests, what ECDS hands them, and singletons in the bootstrap.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The type of a Wasm filter for requests.
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// The type of a Wasm filter for connections.
const NETWORK_WASM: &str = "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm";
/// The type of a singleton.
const SERVICE: &str = "type.googleapis.com/envoy.extensions.wasm.v3.WasmService";

/// What one EnvoyFilter says about Wasm.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EnvoyFilter {
    /// Its namespace; that of the root is for everybody.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The pods that it is for; all if empty.
    pub(crate) labels: BTreeMap<String, String>,
    /// Filters, in the order of the patches.
    pub(crate) filters: Vec<Filter>,
    /// Plugins that run once per proxy: Envoy's `PluginConfig` each.
    pub(crate) singletons: Vec<Value>,
}

/// A Wasm filter that a patch puts into a chain.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter {
    /// Its name in the chain.
    pub(crate) name: String,
    /// In which listeners.
    pub(crate) context: Context,
    /// In listeners with this port only.
    pub(crate) port: Option<u16>,
    /// Where in the chain.
    pub(crate) place: Place,
    /// Whether it is for bytes.
    pub(crate) network: bool,
    /// Envoy's `PluginConfig`.
    pub(crate) config: Value,
    /// Whether it comes over ECDS, so that the agent fetches its module.
    pub(crate) discovered: bool,
}

/// In which listeners a patch applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    Any,
    Inbound,
    Outbound,
    Gateway,
}

/// Where a filter goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before everything else.
    First,
    /// Before the filter of that name.
    Before(String),
    /// Behind the filter of that name.
    After(String),
}

impl EnvoyFilter {
    /// Reads an object; what is not about Wasm is told in notes.
    pub(crate) fn read(object: &Value) -> Result<(Self, Vec<String>)> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").unwrap_or_default().to_owned();
        if object.pointer("/spec/targetRefs").and_then(Value::as_array).is_some_and(|targets| !targets.is_empty()) {
            bail!("EnvoyFilter `{name}`: `spec.targetRefs` is not done here; use `spec.workloadSelector`");
        }
        let labels = object.pointer("/spec/workloadSelector/labels").filter(|labels| !labels.is_null()).cloned();
        let labels = labels.map(serde_json::from_value).transpose();
        let mut filter = Self {
            namespace: text("/metadata/namespace").filter(|name| !name.is_empty()).unwrap_or("default").to_owned(),
            labels: labels
                .with_context(|| format!("EnvoyFilter `{name}`: `spec.workloadSelector.labels` cannot be read"))?
                .unwrap_or_default(),
            filters: Vec::new(),
            singletons: Vec::new(),
            name,
        };
        let patches = object.pointer("/spec/configPatches").and_then(Value::as_array).cloned().unwrap_or_default();
        let discovered = discovered(&patches);
        let mut notes = Vec::new();
        for (index, patch) in patches.iter().enumerate() {
            let place = format!("EnvoyFilter `{}`, `spec.configPatches[{index}]`", filter.name);
            let kind = patch.get("applyTo").and_then(Value::as_str).unwrap_or_default();
            let value = patch.pointer("/patch/value").cloned().unwrap_or_default();
            match kind {
                "HTTP_FILTER" | "NETWORK_FILTER" => match plugin(&value, &discovered) {
                    Found::Wasm(config, discovered) => {
                        let network = kind == "NETWORK_FILTER";
                        filter.filters.push(Filter::read(patch, &value, config, discovered, network, &place)?);
                    }
                    Found::Missing(name) => {
                        bail!(
                            "{place}: the filter `{name}` comes over ECDS, and no patch of `EXTENSION_CONFIG` has that name"
                        )
                    }
                    Found::Other => notes.push(format!("{place} is passed by: it is no Wasm filter")),
                },
                "EXTENSION_CONFIG" => {}
                "BOOTSTRAP" => {
                    let extensions = value.get("bootstrap_extensions").or_else(|| value.get("bootstrapExtensions"));
                    for extension in extensions.and_then(Value::as_array).into_iter().flatten() {
                        filter.singletons.extend(singleton(extension));
                    }
                }
                other => notes.push(format!("{place} is passed by: `{other}` is not about Wasm")),
            }
        }
        Ok((filter, notes))
    }

    /// Whether it is for a workload.
    pub(crate) fn takes(&self, namespace: &str, labels: &BTreeMap<String, String>, root: &str) -> bool {
        (self.namespace == namespace || self.namespace == root)
            && self.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

/// What a patch's filter turns out to be.
enum Found {
    Wasm(Value, bool),
    /// It asks ECDS for something that is not there.
    Missing(String),
    Other,
}

/// The configurations that patches give to ECDS, by name.
fn discovered(patches: &[Value]) -> BTreeMap<String, Value> {
    let configs =
        patches.iter().filter(|patch| patch.get("applyTo").and_then(Value::as_str) == Some("EXTENSION_CONFIG"));
    let named = configs.filter_map(|patch| {
        let value = patch.pointer("/patch/value")?;
        Some((value.get("name")?.as_str()?.to_owned(), value.clone()))
    });
    named.collect()
}

fn plugin(value: &Value, discovered: &BTreeMap<String, Value>) -> Found {
    if let Some(config) = wasm(value) {
        return Found::Wasm(config, false);
    }
    if field(value, "config_discovery", "configDiscovery").is_none() {
        return Found::Other;
    }
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
    match discovered.get(name) {
        Some(found) => wasm(found).map_or(Found::Other, |config| Found::Wasm(config, true)),
        None => Found::Missing(name.to_owned()),
    }
}

/// The `PluginConfig` in a filter, if it is one of Wasm.
fn wasm(value: &Value) -> Option<Value> {
    let typed = unwrapped(field(value, "typed_config", "typedConfig")?);
    let kind = typed.get("@type").and_then(Value::as_str)?;
    matches!(kind, WASM | NETWORK_WASM).then(|| typed.get("config").cloned())?
}

fn singleton(extension: &Value) -> Option<Value> {
    let typed = unwrapped(field(extension, "typed_config", "typedConfig")?);
    let service = typed.get("@type").and_then(Value::as_str)? == SERVICE;
    service.then(|| typed.get("config").cloned())?
}

/// Older EnvoyFilters put the message into a `TypedStruct`.
fn unwrapped(typed: &Value) -> Value {
    let of_struct = typed.get("@type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with(".TypedStruct"));
    if !of_struct {
        return typed.clone();
    }
    let mut inner = typed.get("value").cloned().unwrap_or_default();
    let url = field(typed, "type_url", "typeUrl").cloned();
    if let (Some(fields), Some(url)) = (inner.as_object_mut(), url) {
        fields.insert("@type".to_owned(), url);
    }
    inner
}

/// A field by its name in protobuf, or as JSON writes it.
pub(crate) fn field<'a>(value: &'a Value, snake: &str, camel: &str) -> Option<&'a Value> {
    value.get(snake).or_else(|| value.get(camel))
}

/// A condition of a patch that is not looked at here.
fn unknown_condition(patch: &Value) -> Option<String> {
    let known = [
        ("", &["context", "listener"][..]),
        ("listener", &["portNumber", "filterChain"]),
        ("listener/filterChain", &["filter"]),
        ("listener/filterChain/filter", &["name", "subFilter"]),
        ("listener/filterChain/filter/subFilter", &["name"]),
    ];
    known.iter().find_map(|(place, known)| {
        let place = if place.is_empty() { String::new() } else { format!("/{place}") };
        let fields = patch.pointer(&format!("/match{place}"))?.as_object()?;
        let (unknown, _) = fields.iter().find(|(name, value)| !known.contains(&name.as_str()) && !value.is_null())?;
        Some(format!("{place}/{unknown}").trim_start_matches('/').replace('/', "."))
    })
}

impl Filter {
    fn read(patch: &Value, value: &Value, config: Value, discovered: bool, network: bool, place: &str) -> Result<Self> {
        let text = |pointer: &str| patch.pointer(pointer).and_then(Value::as_str);
        if let Some(condition) = unknown_condition(patch) {
            // Passed by, the filter would stand where it is not meant to.
            bail!("{place}: `match.{condition}` is not done here");
        }
        let context = match text("/match/context") {
            None | Some("ANY") => Context::Any,
            Some("SIDECAR_INBOUND") => Context::Inbound,
            Some("SIDECAR_OUTBOUND") => Context::Outbound,
            Some("GATEWAY") => Context::Gateway,
            Some(other) => bail!("{place}: there is no context `{other}`"),
        };
        let neighbour = match network {
            true => text("/match/listener/filterChain/filter/name"),
            false => text("/match/listener/filterChain/filter/subFilter/name"),
        };
        let neighbour = neighbour.map(str::to_owned);
        let end = if network { "envoy.filters.network.tcp_proxy" } else { "envoy.filters.http.router" };
        let position = match (text("/patch/operation"), neighbour) {
            (Some("INSERT_BEFORE"), Some(name)) => Place::Before(name),
            (Some("INSERT_AFTER"), Some(name)) => Place::After(name),
            (Some("INSERT_FIRST" | "INSERT_BEFORE"), None) | (Some("INSERT_FIRST"), Some(_)) => Place::First,
            (Some("ADD"), _) | (Some("INSERT_AFTER"), None) => {
                bail!("{place}: a filter behind the last one never sees a request; use `INSERT_BEFORE` `{end}`")
            }
            (other, _) => bail!(
                "{place}: `{}` is not done here; use `INSERT_BEFORE`, `INSERT_AFTER` or `INSERT_FIRST`",
                other.unwrap_or_default()
            ),
        };
        let port = patch.pointer("/match/listener/portNumber").filter(|port| !port.is_null()).map(|port| {
            let number = port.as_u64().and_then(|port| u16::try_from(port).ok());
            number.with_context(|| format!("{place}: `{port}` is no port"))
        });
        Ok(Self {
            name: value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            context,
            port: port.transpose()?.filter(|port| *port != 0),
            place: position,
            network,
            config,
            discovered,
        })
    }
}
