//! The three engines, and the table that runs each scenario on all of them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wasmplugin_host::module::build::{self, Options};
use wasmplugin_host::test::{Builder, Engine, Proxy};

/// What a scenario returns; any error fails the test.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// A plugin under test.
pub(crate) struct Plugin {
    /// Its package, which is also the name of its folder.
    pub(crate) package: &'static str,
    pub(crate) register: fn(),
}

impl Plugin {
    /// The module, built with all others on first use.
    pub(crate) fn module(&self) -> PathBuf {
        static BUILT: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
        let modules = BUILT.get_or_init(|| {
            let options = Options { directory: Some(root().into()), quiet: true, ..Options::default() };
            let built = build::build(PACKAGES, &options).unwrap_or_else(|error| panic!("{error}"));
            built.into_iter().map(|module| (module.package, module.path)).collect()
        });
        modules.iter().find(|(package, _)| package == self.package).map(|(_, path)| path.clone()).unwrap()
    }

    /// A proxy with this plugin, on that engine.
    pub(crate) fn on(&self, engine: Engine) -> Builder {
        let builder = Proxy::native(self.register).engine(engine).name(self.package);
        if engine == Engine::Native { builder } else { builder.module(self.module()) }
    }
}

/// All that is built to Wasm, in one run of cargo.
const PACKAGES: &[&str] = &[
    "callout-probe",
    "attribute-probe",
    "access-log-policy",
    "attributegen",
    "basic-auth",
    "canary-router",
    "cel-gate",
    "configured-headers",
    "external-auth",
    "foreign",
    "grpc-auth",
    "hello",
    "jwt",
    "labelled-counter",
    "labels",
    "metadata-exchange",
    "path-guard",
    "peer-state",
    "per-route",
    "probe",
    "rate-limit",
    "rate-limit-plugin",
    "rbac",
    "request-headers",
    "request-log",
    "request-metrics",
    "rewrite-json",
    "shared-state",
    "sse-filter",
    "stats",
    "stream-upper",
    "tcp-allow-list",
    "tcp-probe",
    "tasks",
    "token-refresher",
    "two-callouts",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs a scenario; what the engine noticed on the way fails it as well.
pub(crate) fn run(plugin: &Plugin, engine: Engine, scenario: fn(Builder) -> Outcome) {
    if let Err(error) = scenario(plugin.on(engine)) {
        panic!("{error}");
    }
}

/// A table of scenarios for one plugin: each becomes a test per engine.
///
/// ```text
/// on_every_engine! { hello;
///     /// What the user sees.
///     fn every_response_says_hello(proxy) { … Ok(()) }
/// }
/// ```
macro_rules! on_every_engine {
    ($plugin:ident as $package:literal; $($(#[$meta:meta])* fn $name:ident($builder:ident) $body:block)*) => {
        /// The names of this module's scenarios; the build script asks for them where a plugin has this name.
        #[allow(dead_code, reason = "only modules named for a plugin are asked")]
        pub(crate) const SCENARIOS: &[&str] = &[$(stringify!($name)),*];

        pub(crate) const PLUGIN: crate::engines::Plugin =
            crate::engines::Plugin { package: $package, register: $plugin::register };

        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports, reason = "not every scenario needs what its neighbours need")]
                use super::*;

                fn scenario($builder: wasmplugin_host::test::Builder) -> crate::engines::Outcome $body

                #[test]
                fn native() {
                    crate::engines::run(&PLUGIN, wasmplugin_host::test::Engine::Native, scenario);
                }

                #[test]
                fn wasm() {
                    crate::engines::run(&PLUGIN, wasmplugin_host::test::Engine::Wasm, scenario);
                }

                #[test]
                fn envoy() {
                    crate::engines::run(&PLUGIN, wasmplugin_host::test::Engine::Envoy, scenario);
                }
            }
        )*
    };
}
pub(crate) use on_every_engine;
