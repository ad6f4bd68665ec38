//! Everything between a module and the proxy that loads it: Istio's resources and their rules, OCI images, and the
//! cache of modules. No sockets but a registry's.
//!
//! # Resources
//!
//! ```
//! use wasmplugin_deploy::attach::{Listener, Proxy};
//! use wasmplugin_deploy::resource::{Phase, PluginKind};
//! use wasmplugin_deploy::version::IstioVersion;
//! use wasmplugin_deploy::{document, envoy, order};
//!
//! let text = "
//! apiVersion: extensions.istio.io/v1alpha1
//! kind: WasmPlugin
//! metadata: {name: hello, namespace: apps}
//! spec: {url: 'oci://registry.example.com/hello:1.0.0', phase: AUTHN}
//! ";
//! let mut plugins = Vec::new();
//! for document in document::read(text) {
//!     plugins.extend(document?.extension()?); // refused as the cluster would
//! }
//! let mine = order::plugins_for(&Proxy::sidecar("apps"), &plugins);
//! let chain = order::chain(&mine, Listener::Inbound(8080), Phase::Authn, PluginKind::Http);
//! let sent = envoy::configuration(chain[0], IstioVersion::LATEST, None)?;
//! assert!(sent.resource.is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admission;
pub mod attach;
pub mod cache;
pub mod chain;
pub mod crd;
pub mod document;
pub mod envoy;
pub mod envoy_filter;
pub mod fetch;
pub mod finding;
pub mod go_url;
pub mod image;
pub mod istiod;
pub mod lint;
pub mod migrate;
pub mod order;
pub mod pull_secret;
pub mod registry;
pub mod render;
pub mod resource;
pub mod source;
pub mod stats_tags;
pub mod version;
pub mod yaml;
