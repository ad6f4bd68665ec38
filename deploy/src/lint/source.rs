//! Rules about where the module comes from.

use super::{Findings, Plugin, rule};
use crate::source::{self, Remote, Source};

pub(super) fn check(plugin: &Plugin<'_>, findings: &mut Findings) {
    let Some((wasm, path)) = plugin.wasm else { return };
    let url = plugin.wasm_text("url");
    let field = Field { plugin, path };
    if wasm.get("verificationKey").is_some() {
        field.add(
            findings,
            &rule::VERIFICATION_KEY,
            "verificationKey",
            "Istio accepts `verificationKey` and never reads it",
        );
    }
    if source::admit(url).is_err() {
        if let Some(host) = host_with_port(url) {
            let message = format!("`{host}` is read as a scheme, because no scheme stands before it");
            field.add(findings, &rule::URL_PORT, "url", message);
        }
        return;
    }
    match Source::resolve(url) {
        Err(error) => {
            let message = format!(
                "istiod admits this url, cannot read it later ({error}), and drops the plugin: nothing is enforced, \
                    and only its log says so"
            );
            field.add(findings, &rule::URL_DROPPED, "url", message);
        }
        Ok(Source::Local { filename }) => local(&field, url, &filename, findings),
        Ok(Source::Remote(remote)) => remote_source(&field, url, &remote, findings),
    }
}

/// The fields of the module.
struct Field<'a> {
    plugin: &'a Plugin<'a>,
    path: &'static str,
}

impl Field<'_> {
    fn add(&self, findings: &mut Findings, rule: &rule::Rule, name: &str, message: impl Into<String>) {
        let node = self.plugin.wasm.map(|(wasm, _)| wasm.get(name).unwrap_or(wasm));
        let at = node.map(|node| node.at).unwrap_or_default();
        findings.add(rule, at, format!("{}.{name}", self.path), message);
    }

    fn has(&self, name: &str) -> bool {
        !self.plugin.wasm_text(name).is_empty()
    }
}

fn local(field: &Field<'_>, url: &str, filename: &str, findings: &mut Findings) {
    if !url.starts_with("file://") {
        let message =
            format!("only the literal `file://` is taken off: Envoy would look for a file named `{filename}`");
        field.add(findings, &rule::URL_FILE_PREFIX, "url", message);
    } else if !filename.starts_with('/') {
        let message = format!("`{filename}` is looked for in the folder that Envoy was started in");
        field.add(findings, &rule::URL_FILE_RELATIVE, "url", message);
    }
    if field.has("sha256") {
        field.add(findings, &rule::SHA256_FILE, "sha256", "the checksum of a `file://` module is never checked");
    }
    if field.has("imagePullSecret") {
        let message = "the agent does not touch `file://` modules: the plugin can read the registry's credentials in \
            its environment";
        field.add(findings, &rule::SECRET_FILE, "imagePullSecret", message);
    }
}

fn remote_source(field: &Field<'_>, url: &str, remote: &Remote, findings: &mut Findings) {
    if !remote.is_image() {
        if field.has("imagePullSecret") {
            let message = "a module over HTTP is fetched without credentials: the Secret is not used";
            field.add(findings, &rule::SECRET_HTTP, "imagePullSecret", message);
        }
        if !field.has("sha256") {
            let message = "whoever answers for this address decides what runs in the proxy";
            field.add(findings, &rule::HTTP_UNPINNED, "url", message);
        }
        return;
    }
    if is_path(url) {
        let message = format!(
            "this is read as the image `{}`: the fetch fails, and every request is answered with 403",
            remote.reference
        );
        return field.add(findings, &rule::URL_PATH, "url", message);
    }
    if remote.host.is_empty() && !remote.reference.contains('/')
        || remote.reference.ends_with('/') && remote.reference.len() < 2
    {
        return field.add(findings, &rule::URL_UNFETCHABLE, "url", "the agent cannot fetch this: it names no image");
    }
    if url.contains(['?', '#'])
        || url.split("://").nth(1).and_then(|rest| rest.split('/').next()).is_some_and(|host| host.contains('@'))
    {
        let message = format!("the agent asks for `{}` and ignores the rest", remote.reference);
        field.add(findings, &rule::URL_IGNORED_PART, "url", message);
    }
    pinned(field, remote, findings);
}

fn pinned(field: &Field<'_>, remote: &Remote, findings: &mut Findings) {
    let digest = remote.reference.split_once("@sha256:").map(|(_, digest)| digest);
    let checksum = field.plugin.wasm_text("sha256");
    let policy = field.plugin.wasm_text("imagePullPolicy");
    if let Some(digest) = digest.filter(|digest| !checksum.is_empty() && *digest != checksum) {
        let message =
            format!("the url asks for the manifest `{digest}`, and `sha256` for another one: no image is both");
        field.add(findings, &rule::SHA256_CONFLICT, "sha256", message);
    }
    if digest.is_some() || !checksum.is_empty() {
        if policy == "Always" {
            let message = "an image that is pinned by digest is taken from the cache, whatever the policy";
            field.add(findings, &rule::POLICY_IGNORED, "imagePullPolicy", message);
        }
        return;
    }
    let name = remote.reference.rsplit('/').next().unwrap_or_default();
    match name.split_once(':').map(|(_, tag)| tag) {
        None => {
            let message = "without a tag the registry is asked for `latest`, but only once: unlike in Kubernetes, the \
                answer is kept as long as it is cached";
            field.add(findings, &rule::TAG_MISSING, "url", message);
        }
        Some("latest") => {
            let message = "pods that start at different times run different builds of `latest`";
            field.add(findings, &rule::TAG_LATEST, "url", message);
        }
        Some(tag) => {
            let message = format!(
                "whoever moves the tag `{tag}` changes what new pods run: an unused module is forgotten after a day \
                    and asked for again"
            );
            field.add(findings, &rule::TAG_MUTABLE, "url", message);
        }
    }
}

/// `/opt/x.wasm`, `./x.wasm`
fn is_path(url: &str) -> bool {
    !url.contains("://") && (url.starts_with('/') || url.starts_with("./") || url.starts_with("../"))
}

/// The host of `host:5000/image`, if this is one.
fn host_with_port(url: &str) -> Option<&str> {
    let (host, rest) = url.split_once(':')?;
    let port = rest.split('/').next()?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_tag = !rest.contains('/') && !rest.starts_with("//");
    (is_port || is_tag).then_some(host)
}
