//! The schemas of `spec`, as tables.

use super::rules::{self, Pattern, Rule};

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A text; lengths count characters.
    Text(Text),
    /// A whole number.
    Integer { min: i64, max: i64, nullable: bool },
    /// A mapping with any fields.
    Free,
    /// A mapping from label names to label values.
    Labels,
    /// A list; with a key its members differ in that field.
    List { of: &'static Shape, max: usize, key: Option<&'static str> },
    /// A mapping with these fields.
    Object(Object),
}

#[derive(Debug)]
pub(crate) struct Text {
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) pattern: Option<Pattern>,
    /// The only texts that may be; any if empty.
    pub(crate) words: &'static [&'static str],
    pub(super) rules: &'static [Rule],
}

#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) fields: &'static [(&'static str, Shape)],
    pub(super) required: &'static [&'static str],
    pub(super) rules: &'static [Rule],
}

const ANY: Text = Text { min: 0, max: usize::MAX, pattern: None, words: &[], rules: &[] };

const fn text(min: usize, max: usize) -> Shape {
    Shape::Text(Text { min, max, ..ANY })
}

const fn words(words: &'static [&'static str]) -> Shape {
    Shape::Text(Text { words, ..ANY })
}

const fn object(fields: &'static [(&'static str, Shape)], required: &'static [&'static str]) -> Shape {
    Shape::Object(Object { fields, required, rules: &[] })
}

const SELECTOR: Shape = object(&[("matchLabels", Shape::Labels)], &[]);

static TARGET_REF: Shape = TARGET;
const TARGET: Shape = object(
    &[
        ("group", Shape::Text(Text { max: 253, pattern: Some(rules::DOMAIN), ..ANY })),
        ("kind", Shape::Text(Text { min: 1, max: 63, pattern: Some(rules::KIND), ..ANY })),
        ("name", text(1, 253)),
        ("namespace", Shape::Text(Text { rules: &[rules::NO_NAMESPACE], ..ANY })),
    ],
    &["kind", "name"],
);

const TARGET_REFS: Shape = Shape::List { of: &TARGET_REF, max: 16, key: None };

const PRIORITY: Shape = Shape::Integer { min: i32::MIN as i64, max: i32::MAX as i64, nullable: true };

static PORT: Shape = object(&[("number", Shape::Integer { min: 1, max: 65535, nullable: false })], &["number"]);

static TRAFFIC: Shape = object(
    &[
        ("mode", words(&["UNDEFINED", "CLIENT", "SERVER", "CLIENT_AND_SERVER"])),
        ("ports", Shape::List { of: &PORT, max: usize::MAX, key: Some("number") }),
    ],
    &[],
);

const MATCH: Shape = Shape::List { of: &TRAFFIC, max: usize::MAX, key: None };

static ENV: Shape = Shape::Object(Object {
    fields: &[("name", text(1, 256)), ("value", text(0, 2048)), ("valueFrom", words(&["INLINE", "HOST"]))],
    required: &["name"],
    rules: &[rules::HOST_WITHOUT_VALUE],
});

const URL: Shape = Shape::Text(Text { min: 1, rules: &[rules::URL_SCHEME], ..ANY });
const SHA256: Shape = Shape::Text(Text { pattern: Some(rules::SHA256), ..ANY });
const PULL_POLICY: Shape = words(&["UNSPECIFIED_POLICY", "IfNotPresent", "Always"]);
const PULL_SECRET: Shape = text(1, 253);
const PLUGIN_NAME: Shape = text(1, 256);
const FAIL_STRATEGY: Shape = words(&["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"]);
const VM_CONFIG: Shape = Shape::Object(Object {
    fields: &[("env", Shape::List { of: &ENV, max: 256, key: Some("name") })],
    required: &[],
    rules: &[],
});
const TYPE: Shape = words(&["UNSPECIFIED_PLUGIN_TYPE", "HTTP", "NETWORK"]);

/// `spec` of a WasmPlugin.
pub(crate) static WASM_PLUGIN: Shape = Shape::Object(Object {
    fields: &[
        ("failStrategy", FAIL_STRATEGY),
        ("imagePullPolicy", PULL_POLICY),
        ("imagePullSecret", PULL_SECRET),
        ("match", MATCH),
        ("phase", words(&["UNSPECIFIED_PHASE", "AUTHN", "AUTHZ", "STATS"])),
        ("pluginConfig", Shape::Free),
        ("pluginName", PLUGIN_NAME),
        ("priority", PRIORITY),
        ("selector", SELECTOR),
        ("sha256", SHA256),
        ("targetRef", TARGET),
        ("targetRefs", TARGET_REFS),
        ("type", TYPE),
        ("url", URL),
        ("verificationKey", Shape::Text(ANY)),
        ("vmConfig", VM_CONFIG),
    ],
    required: &["url"],
    rules: &[rules::ONE_TARGETING],
});

/// `spec` of a TrafficExtension.
pub(crate) static TRAFFIC_EXTENSION: Shape = Shape::Object(Object {
    fields: &[
        ("lua", object(&[("inlineCode", text(1, 65536))], &["inlineCode"])),
        ("match", MATCH),
        ("phase", words(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"])),
        ("priority", PRIORITY),
        ("selector", SELECTOR),
        ("targetRefs", TARGET_REFS),
        (
            "wasm",
            object(
                &[
                    ("failStrategy", FAIL_STRATEGY),
                    ("imagePullPolicy", PULL_POLICY),
                    ("imagePullSecret", PULL_SECRET),
                    ("pluginConfig", Shape::Free),
                    ("pluginName", PLUGIN_NAME),
                    ("sha256", SHA256),
                    ("type", TYPE),
                    ("url", URL),
                    ("verificationKey", Shape::Text(ANY)),
                    ("vmConfig", VM_CONFIG),
                ],
                &["url"],
            ),
        ),
    ],
    required: &[],
    rules: &[rules::ONE_TARGETING, rules::ONE_PROGRAM],
});
