//! Who accepts an image, and why not.

use std::fmt;

use super::extract::{Plan, Refusal};
use super::manifest::Manifest;

/// Those who load modules from images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumer {
    /// Istio's agent.
    Istio,
    /// Envoy Gateway, which took Istio's code.
    EnvoyGateway,
    /// Higress, which is built on Istio.
    Higress,
}

impl Consumer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Istio, Self::EnvoyGateway, Self::Higress];

    /// Its name in output for scripts.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::EnvoyGateway => "envoyGateway",
            Self::Higress => "higress",
        }
    }
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Istio => "Istio",
            Self::EnvoyGateway => "Envoy Gateway",
            Self::Higress => "Higress",
        })
    }
}

/// What a consumer makes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it loads the module.
    pub ok: bool,
    /// Why, or why not and what to do.
    pub reason: String,
}

/// What consumers make of an image, of which `module` was taken out by Istio's rules. All three share the rules for the
/// image; none looks further into the module than its first bytes, so a component is only refused by Envoy.
#[must_use]
pub fn of(manifest: &Manifest, module: Result<&[u8], &Refusal>) -> Verdict {
    let form = match (Plan::of(manifest), module) {
        (Err(refusal), _) => return Verdict { ok: false, reason: refusal.to_string() },
        (Ok(_), Err(refusal)) => return Verdict { ok: false, reason: refusal.to_string() },
        (Ok(plan), Ok(module)) if is_component(module) => {
            let form = plan.form.describe();
            let reason = format!(
                "{form}, but the module in it is a Wasm component, which Envoy cannot load; build it for `wasm32-wasip1`"
            );
            return Verdict { ok: false, reason };
        }
        (Ok(plan), Ok(_)) => plan.form,
    };
    Verdict { ok: true, reason: form.describe().to_owned() }
}

/// Whether bytes that begin as a module belong to the component model: its layer number follows the version.
fn is_component(module: &[u8]) -> bool {
    module.get(6..8) == Some(&[1, 0])
}
