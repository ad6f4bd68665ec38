//! What a plugin says about itself when the build runs it natively: its package, its schema, the tags of its metrics.

use std::fmt::Write as _;
use std::marker::PhantomData;

use crate::config::ConfigError;
use crate::metrics;
use crate::plugin::{Configured, Http, has_handler};

/// What cargo knows of the plugin's package.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are cargo's")]
pub struct About {
    pub name: &'static str,
    pub version: &'static str,
    pub license: &'static str,
}

/// Asks which exports a plugin does not need, without demanding that it be one: whoever forgot to implement [`Http`] is
/// told so once, where the plugin is made.
#[derive(Debug)]
pub struct ExportsOf<P>(PhantomData<P>);

impl<P> ExportsOf<P> {
    /// The question.
    #[expect(clippy::new_without_default, reason = "only a macro asks")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// The answer of plugins for HTTP.
pub trait ExportsOfHttp {
    /// The exports that nothing of the plugin needs, so that the build takes them out of its module and the proxy does not
    /// enter it for nothing: without a handler the bytes of a response pass.
    fn unused(&self) -> &'static [&'static str];
}

/// The answer of all other types.
pub trait ExportsOfOthers {
    /// None that is known.
    fn unused(&self) -> &'static [&'static str];
}

impl<P: Http> ExportsOfHttp for ExportsOf<P> {
    fn unused(&self) -> &'static [&'static str] {
        if has_handler::<P>() { &[] } else { &["proxy_on_response_body", "proxy_on_response_trailers"] }
    }
}

impl<P> ExportsOfOthers for &ExportsOf<P> {
    fn unused(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The exports that no [`Observer`](crate::observer::Observer) needs: the proxy does not enter the module for them.
pub const UNUSED_BY_OBSERVERS: &[&str] =
    &["proxy_on_request_trailers", "proxy_on_response_headers", "proxy_on_response_trailers"];

/// The exports that no plugin needs which refuses requests, since it is not for HTTP: there will be no response.
pub const UNUSED_BUT_FOR_HTTP: &[&str] =
    &["proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers"];

/// The exports that none of a module's plugins needs.
#[must_use]
pub fn unused_by_all(plugins: &[&[&'static str]]) -> Vec<&'static str> {
    let (first, others) = plugins.split_first().map_or((&[][..], &[][..]), |(first, others)| (*first, others));
    first.iter().copied().filter(|export| others.iter().all(|unused| unused.contains(export))).collect()
}

/// One line of JSON: `metadata`, `schema` where the configuration has one, and `unused_exports` for the build.
///
/// A plugin is made and dropped for the tags of the metrics in it: from an empty configuration, or from the first of
/// the schema's `examples` that it takes. Where it takes neither, `stats_tags` is absent.
pub fn description(
    about: About,
    schema: Option<String>,
    unused_exports: &[&str],
    factory: fn(&[u8]) -> Result<Configured, ConfigError>,
) -> String {
    let mut made = false;
    let tags = metrics::collect_tags(|| {
        let examples = std::iter::once("{}".to_owned()).chain(examples(schema.as_deref()));
        made = examples.into_iter().any(|example| factory(example.as_bytes()).is_ok());
    });
    let mut text = format!(
        r#"{{"metadata":{{"name":{},"version":{},"license":{},"sdk":{{"name":"wasmplugin","version":{}}}"#,
        quoted(about.name),
        quoted(about.version),
        quoted(about.license),
        quoted(env!("CARGO_PKG_VERSION")),
    );
    if made {
        let tags =
            tags.iter().map(|tag| format!(r#"{{"tag_name":{},"regex":{}}}"#, quoted(&tag.name), quoted(&tag.regex)));
        // Writing to a string cannot fail.
        let _ = write!(text, r#","stats_tags":[{}]"#, tags.collect::<Vec<_>>().join(","));
    }
    text.push('}');
    if let Some(schema) = schema {
        text.push_str(r#","schema":"#);
        text.push_str(&schema);
    }
    let unused = unused_exports.iter().map(|export| quoted(export)).collect::<Vec<_>>().join(",");
    let _ = write!(text, r#","unused_exports":[{unused}]}}"#);
    text
}

/// The schema of a module with several plugins: by itself it takes anything, and under `x-root-ids` it has the schema of each
/// plugin that has one, by root id.
#[must_use]
pub fn schemas(plugins: &[(&str, Option<String>)]) -> Option<String> {
    let known =
        plugins.iter().filter_map(|(root_id, schema)| Some(format!("{}:{}", quoted(root_id), schema.as_ref()?)));
    let known = known.collect::<Vec<_>>().join(",");
    let draft = "https://json-schema.org/draft/2020-12/schema";
    (!known.is_empty()).then(|| format!(r#"{{"$schema":"{draft}","x-root-ids":{{{known}}}}}"#))
}

#[cfg(feature = "json")]
fn examples(schema: Option<&str>) -> Vec<String> {
    let schema: serde_json::Value = schema.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let examples = schema.get("examples").and_then(serde_json::Value::as_array);
    examples.into_iter().flatten().map(ToString::to_string).collect()
}

#[cfg(not(feature = "json"))]
fn examples(_: Option<&str>) -> Vec<String> {
    Vec::new()
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
