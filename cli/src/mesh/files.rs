//! The files that one would `kubectl apply`, and `mesh.yaml` among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use wasmplugin_deploy::document::{self, Document, Kind};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::pull_secret::{self, BadSecret};
use wasmplugin_deploy::resource::{Extension, Metadata, Program};
use wasmplugin_deploy::yaml::Node;

use super::description::{KIND, Mesh};
use super::envoy_filter::EnvoyFilter;
use crate::engine::Engine;

/// Everything that the files say.
#[derive(Debug)]
pub(crate) struct Resources {
    /// The workloads.
    pub(crate) mesh: Mesh,
    /// WasmPlugins and TrafficExtensions.
    pub(crate) extensions: Vec<Extension>,
    /// EnvoyFilters, of which only what concerns Wasm is taken.
    pub(crate) envoy_filters: Vec<EnvoyFilter>,
    /// RequestAuthentications as they are: `metadata` and `spec`.
    pub(crate) authentications: Vec<Value>,
    /// AuthorizationPolicies as they are.
    pub(crate) authorizations: Vec<Value>,
    /// Pull secrets by namespace and name.
    pub(crate) secrets: BTreeMap<(String, String), String>,
    /// What was passed by, and why; for people.
    pub(crate) notes: Vec<String>,
    /// The files that were read.
    pub(crate) files: Vec<PathBuf>,
}

/// An object on its way to [`Resources`].
#[derive(Debug, Default)]
struct Reading {
    mesh: Option<(Mesh, String)>,
    extensions: Vec<Extension>,
    envoy_filters: Vec<EnvoyFilter>,
    authentications: Vec<Value>,
    authorizations: Vec<Value>,
    secrets: BTreeMap<(String, String), String>,
    notes: Vec<String>,
}

/// Reads files, and of folders all that end with `.yaml`, `.yml` or `.json`.
pub(crate) fn read(paths: &[PathBuf], engine: Engine) -> Result<Resources> {
    let files = listed(paths)?;
    let mut reading = Reading::default();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        for document in document::read(&text) {
            let document = document.map_err(|error| anyhow!("`{}:{error}`", file.display()))?;
            reading.take(&document, file, engine).with_context(|| format!("`{}:{}`", file.display(), document.at()))?;
        }
    }
    let Some((mesh, _)) = reading.mesh else {
        bail!("none of the files describes the mesh: one object of `kind: {KIND}` has to say which workloads run");
    };
    let Reading { extensions, envoy_filters, authentications, authorizations, secrets, notes, .. } = reading;
    Ok(Resources { mesh, extensions, envoy_filters, authentications, authorizations, secrets, notes, files })
}

fn listed(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("cannot read the folder `{}`", path.display()))?;
        let mut inside: Vec<_> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_text(path)).collect();
        inside.sort();
        if inside.is_empty() {
            bail!("the folder `{}` has no `.yaml` file", path.display());
        }
        files.extend(inside);
    }
    Ok(files)
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    path.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
}

impl Reading {
    fn take(&mut self, document: &Document, file: &Path, engine: Engine) -> Result<()> {
        match document.kind() {
            Some(Kind::WasmPlugin | Kind::TrafficExtension) => return self.extension(document, engine),
            Some(Kind::EnvoyFilter) => {
                let (filter, notes) = EnvoyFilter::read(&document.root.to_json())?;
                self.notes.extend(notes);
                self.envoy_filters.push(filter);
                return Ok(());
            }
            None => {}
        }
        let group = document.root.get("apiVersion").and_then(Node::text).unwrap_or_default().split('/').next();
        match (group, document.kind_name()) {
            (_, KIND) => {
                let folder = file.parent().unwrap_or(Path::new("."));
                if let Some((_, other)) = &self.mesh {
                    bail!("there is a second `kind: {KIND}`; the first one is in `{other}`");
                }
                let mesh = Mesh::read(document.root.to_json(), folder)?;
                self.mesh = Some((mesh, file.display().to_string()));
            }
            (Some("security.istio.io"), "RequestAuthentication") => self.authentications.push(policy(document)?),
            (Some("security.istio.io"), "AuthorizationPolicy") => self.authorizations.push(policy(document)?),
            (Some("v1"), "Secret") => self.secret(document)?,
            (_, "") => bail!("this is no Kubernetes object: it has no `kind`"),
            (_, kind) => {
                self.notes.push(format!("`{kind}` `{}` is passed by: it is not about plugins", document.name()))
            }
        }
        Ok(())
    }

    fn extension(&mut self, document: &Document, engine: Engine) -> Result<()> {
        let Some(mut extension) = document.extension()? else { return Ok(()) };
        if matches!(extension.spec.program, Program::Lua(_)) {
            let name = &extension.metadata.name;
            match engine {
                Engine::Embedded => bail!(
                    "TrafficExtension `{name}` is a Lua script, which the embedded proxy does not run; use `--engine envoy`"
                ),
                Engine::Envoy => {}
            }
        }
        if extension.metadata.resource_version.is_none() {
            // As the API server would: another one for every change.
            let text = document.root.to_json().to_string();
            extension.metadata.resource_version = Some(Digest::of(text.as_bytes()).to_string());
        }
        self.extensions.push(extension);
        Ok(())
    }

    fn secret(&mut self, document: &Document) -> Result<()> {
        let metadata: Metadata = metadata(document)?;
        let context = || format!("Secret `{}`", metadata.name);
        let bytes = match pull_secret::docker_config(&document.root) {
            Err(BadSecret::Type(_)) => return Ok(()),
            bytes => bytes.with_context(context)?,
        };
        let text = String::from_utf8(bytes).with_context(context)?;
        self.secrets.insert((metadata.namespace().to_owned(), metadata.name.clone()), text);
        Ok(())
    }
}

/// The parts of a policy that our modules take, word for word.
fn policy(document: &Document) -> Result<Value> {
    let named: Metadata = metadata(document)?;
    if named.name.is_empty() {
        bail!("`{}` has no `metadata.name`", document.kind_name());
    }
    // As YAML has it the last one counts: a rule might be gone without anybody noticing.
    if let Some(twice) = document.duplicates.first() {
        bail!("`{}` `{}` has `{}` twice; the first is at {}", document.kind_name(), named.name, twice.key, twice.at);
    }
    let mut whole = document.root.get("metadata").map(Node::to_json).unwrap_or_default();
    if let Some(fields) = whole.as_object_mut() {
        fields.insert("namespace".to_owned(), named.namespace().into());
        // What the API server adds is not the policy's.
        fields.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "annotations" | "labels"));
    }
    let spec = document.spec().map(Node::to_json).unwrap_or_else(|| json!({}));
    Ok(json!({"metadata": whole, "spec": spec}))
}

fn metadata(document: &Document) -> Result<Metadata> {
    let tree = document.root.get("metadata").map(Node::to_json).unwrap_or_else(|| json!({}));
    serde_json::from_value(tree).context("`metadata` cannot be read")
}
