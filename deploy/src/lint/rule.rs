//! The rules: a code that does not change, how bad it is, and what to do.

use crate::finding::{Finding, Severity};
use crate::yaml::Location;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name for scripts.
    pub code: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// What it is about, for a list of all rules.
    pub title: &'static str,
    /// What to do.
    pub help: &'static str,
}

impl Rule {
    /// A finding by this rule.
    #[must_use]
    pub fn finding(&self, at: Location, path: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            severity: self.severity,
            code: self.code,
            path: path.into(),
            at,
            message: message.into(),
            help: self.help.to_owned(),
        }
    }
}

/// Writes each rule once: as a constant, and as a row of [`RULES`].
macro_rules! rules {
    ($($name:ident: $severity:ident, $code:literal, $title:literal, $help:literal;)*) => {
        $(
            #[doc = $title]
            pub const $name: Rule =
                Rule { code: $code, severity: Severity::$severity, title: $title, help: $help };
        )*
        /// Every rule.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    // Where the module comes from.
    URL_PORT: Error, "url-port", "a registry with a port, but no scheme",
        "put `oci://` in front";
    URL_DROPPED: Error, "url-dropped", "a url that is admitted, and that istiod drops later",
        "put `oci://` in front, and write the registry as `host:port`";
    URL_PATH: Error, "url-path", "a file without `file://`",
        "write `file://` and the absolute path";
    URL_FILE_PREFIX: Error, "url-file-prefix", "`file:` without two slashes",
        "write `file:///path/to/plugin.wasm`";
    URL_FILE_RELATIVE: Warning, "url-file-relative", "a relative file",
        "write the absolute path, with three slashes: `file:///path/to/plugin.wasm`";
    URL_UNFETCHABLE: Error, "url-unfetchable", "a url that names nothing to fetch",
        "name the registry and the image: `oci://registry/image@sha256:...`";
    URL_IGNORED_PART: Warning, "url-ignored-part", "a part of the url that is not used",
        "leave it out; credentials belong into the Secret that `imagePullSecret` names";
    TAG_LATEST: Warning, "tag-latest", "an image tagged `latest`",
        "pin the image by digest, as `cargo wasmplugin deploy` does";
    TAG_MISSING: Warning, "tag-missing", "an image without tag or digest",
        "pin the image by digest, as `cargo wasmplugin deploy` does";
    TAG_MUTABLE: Warning, "tag-mutable", "an image pinned by nothing but a tag",
        "pin the image by digest, as `cargo wasmplugin deploy` does";
    HTTP_UNPINNED: Warning, "http-unpinned", "a module over HTTP without a checksum",
        "set `sha256` to the checksum of the unpacked `.wasm`";
    SHA256_FILE: Warning, "sha256-file", "a checksum of a file, which nobody checks",
        "leave `sha256` out";
    SHA256_CONFLICT: Error, "sha256-conflict", "two digests of one image",
        "leave `sha256` out: the digest in the url is enough";
    POLICY_IGNORED: Info, "policy-ignored", "a pull policy that has no effect",
        "leave `imagePullPolicy` out: what is pinned is never asked for again";
    SECRET_FILE: Error, "secret-file", "registry credentials in the plugin's sight",
        "leave `imagePullSecret` out: a file needs none";
    SECRET_HTTP: Error, "secret-http", "registry credentials for an HTTP source, which uses none",
        "leave `imagePullSecret` out, or serve the module from a registry";
    SECRET_MISSING: Warning, "secret-missing", "a Secret that is not among the documents",
        "give the Secret too, in the plugin's namespace, or check that it is there: `kubectl get secret`";
    SECRET_TYPE: Error, "secret-type", "a Secret of the wrong type",
        "make it with `kubectl create secret docker-registry`";
    VERIFICATION_KEY: Warning, "verification-key", "a key that nobody looks at",
        "verify with `cargo wasmplugin verify` before deploying, and leave the field out";

    // When it runs.
    PRIORITY_UNSET: Warning, "priority-unset", "no priority",
        "write `priority: 0`, or the number you mean";
    FAIL_OPEN_SECURITY: Warning, "fail-open-security", "a plugin for security that opens when it fails",
        "leave `failStrategy` out: requests are then refused while the plugin is down";
    FIELD_TOO_NEW: Error, "field-too-new", "something that the target version does not have",
        "leave it out, or render for a later version";
    NETWORK_TLS: Warning, "network-tls", "a plugin for connections on a gateway with several TLS servers on a port",
        "give each server a port of its own";

    // Whom it is for.
    SINGULAR_TARGET_REF: Error, "singular-target-ref", "`targetRef` in a TrafficExtension",
        "make it a list: `targetRefs: [...]`";
    SELECTOR_WAYPOINT: Error, "selector-waypoint", "a selector for a waypoint",
        "name the waypoint, or services behind it, in `targetRefs`";
    SELECTOR_GATEWAY: Warning, "selector-gateway", "a selector for a gateway of the Gateway API",
        "name the Gateway in `targetRefs`";
    PORTS_WAYPOINT: Error, "ports-waypoint", "ports for a waypoint",
        "leave `ports` out; to tell ports apart, ask for `destination.port` in the plugin";
    CLIENT_WAYPOINT: Error, "client-waypoint", "client traffic of a waypoint",
        "write `mode: SERVER`, or leave `match` out";
    CLASS_NAMESPACE: Error, "class-namespace", "a GatewayClass targeted from an ordinary namespace",
        "put the resource into the root namespace, or name a Gateway";

    // Its environment.
    ENV_NAME: Warning, "env-name", "a variable whose name is no identifier",
        "use letters, digits and `_`, and begin with a letter";
    ENV_RESERVED: Error, "env-reserved", "a variable with a name that Istio keeps for itself",
        "choose a name that does not begin with `ISTIO_META_`";
    ENV_SHARED: Error, "env-shared", "two plugins from one module with different environments",
        "configure them through `pluginConfig`, or make the modules differ: `cargo wasmplugin build --salt`";

    // The image, once its registry was asked.
    IMAGE_MISSING: Error, "image-missing", "an image that is not in its registry",
        "push it: `cargo wasmplugin push`, which prints the url to write here";
    IMAGE_FORM: Error, "image-form", "an image without a module for the proxy",
        "push the module anew: `cargo wasmplugin push`";
    IMAGE_INDEX: Error, "image-index", "the digest of an index",
        "pin the digest of its image for linux/amd64; `cargo wasmplugin deploy` does so";
    IMAGE_UNREACHABLE: Warning, "image-unreachable", "an image that could not be asked for",
        "try it with the credentials of the cluster: `cargo wasmplugin doctor --image IMAGE --secret NAMESPACE/NAME`";

    // Its module and configuration.
    CONFIG_SCHEMA: Error, "config-schema", "a configuration that the module will refuse",
        "";
    CONFIG_INTEGER: Warning, "config-integer", "a number that loses digits on its way",
        "write it as a text, in quotes";
    MODULE_SIZE: Error, "module-size", "a module beyond the limit of the agent",
        "make it smaller: `cargo wasmplugin build` strips what is not needed";
    MODULE_COMPONENT: Error, "module-component", "a component instead of a module",
        "build for `wasm32-wasip1`, as a `cdylib`";

    // The text, and EnvoyFilters.
    DUPLICATE_KEY: Warning, "duplicate-key", "a field that is given twice",
        "leave one of them out";
    FILTER_REMOTE: Warning, "filter-remote", "a module that Envoy itself shall fetch",
        "use `config_discovery` and a second patch with `applyTo: EXTENSION_CONFIG`, so that the agent fetches it";
    FILTER_FALLBACK: Error, "filter-fallback", "a discovered filter that may not fall back",
        "add `type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC` to `type_urls`";
    FILTER_BOOTSTRAP: Info, "filter-bootstrap", "a change to the bootstrap",
        "restart the pods after applying it: it is read at their start only";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_words_and_used_once() {
        for (place, rule) in RULES.iter().enumerate() {
            assert!(rule.code.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
            assert!(RULES[..place].iter().all(|other| other.code != rule.code), "{}", rule.code);
        }
    }
}
