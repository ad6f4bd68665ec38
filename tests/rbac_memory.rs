//! How much linear memory many policies take in `rbac`: the host grants it so much and not more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use wasmplugin_host::clock::Clock;
use wasmplugin_host::entrance::Entrance;
use wasmplugin_host::limits::Limits;
use wasmplugin_host::module;
use wasmplugin_host::services::Services;
use wasmplugin_host::wasm::{Module, Settings};
use wasmplugin_host::worker::{Code, Options, Plugin, StartError, Worker};

use crate::engines;

/// How many policies, each for a path prefix and a method.
const POLICIES: usize = 10_000;

const MIB: u64 = 1 << 20;

fn policies() -> Value {
    let policy = |index: usize| {
        let operation = json!({"paths": [format!("/api/v1/service-{index}/*")], "methods": ["GET"]});
        json!({
            "metadata": {"name": format!("policy-{index}"), "namespace": "foo"},
            "spec": {"action": "DENY", "rules": [{"to": [{"operation": operation}]}]},
        })
    };
    json!({"policies": (0..POLICIES).map(policy).collect::<Vec<_>>()})
}

/// Starts the module with this much linear memory.
fn start(module: &Arc<Module>, memory: u64) -> Result<Worker, StartError> {
    let plugin = Plugin {
        configuration: Bytes::from(policies().to_string()),
        sandbox: Limits { memory, time: None, ..Limits::default() }.into(),
        ..Plugin::new("rbac", Code::Wasm(Arc::<Module>::clone(module)))
    };
    let services = Arc::new(Services::new(Clock::manual(Duration::ZERO), Box::new(|_| {})));
    let mut worker = Worker::new(services, Options::default());
    worker.add_chain(&[plugin], Entrance::default()).map(|_| worker)
}

#[test]
fn ten_thousand_policies_fit_into_sixteen_mib() {
    let module = engines::Plugin { package: "rbac", register: rbac::register }.module();
    let source = module::Module::read(module).unwrap();
    let module = Arc::new(Module::compile(source, Settings::default()).unwrap());
    assert!(start(&module, 16 * MIB).is_ok());
    assert!(start(&module, 4 * MIB).is_err(), "the host grants less where less is allowed");
}
