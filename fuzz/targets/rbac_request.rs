//! Request paths, hosts, header lines and SPIFFE ids, byte for byte: the index decides as the plain evaluator does.

#![no_main]

use istio_core::rbac::{Engine, config::Config, facts::Facts};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

thread_local! {
    static ENGINE: Engine = {
        let source = |field: &str, values: &[&str]| json!({"source": {field: values}});
        let to = |field: &str, values: &[&str]| json!({"operation": {field: values}});
        let rules = json!([
            {"from": [source("principals", &["cluster.local/ns/a/sa/b", "*/sa/c", "td/*", "*"])], "to": [to("paths", &["/a/{*}/b", "/x/{**}", "/p*", "*.js", "/e"])]},
            {"from": [source("namespaces", &["a", "b*", "*c", "d*e"])], "to": [to("hosts", &["h", "h:*", "*.h"])]},
            {"from": [source("serviceAccounts", &["a/b", "c"])], "to": [to("notPaths", &["/a/{*}/b", "/x*"])]},
            {"from": [source("notNamespaces", &["a"])], "to": [to("methods", &["GET", "P*"])]},
            {"from": [source("notPrincipals", &["*/sa/b"])], "when": [{"key": "request.headers[x]", "values": ["v*", "*w", "u"]}]},
            {"from": [source("trustDomains", &["td", "t*"])], "to": [to("notHosts", &["*.h"])]},
        ]);
        let policy = |name: &str, action: &str| json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"action": action, "rules": rules}});
        let config = json!({"policies": [policy("a", "DENY"), policy("b", "ALLOW"), policy("c", "AUDIT")], "trustDomain": "td", "trustDomainAliases": ["old"]}).to_string();
        Engine::new(&Config::read(config.as_bytes()).unwrap()).unwrap()
    };
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == b'\n');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    let (path, authority, method, id, other, name, value) = (next(), next(), next(), next(), next(), next(), next());
    let line = [(name.unwrap_or_default(), value.unwrap_or_default())];
    let facts = Facts {
        method,
        path,
        authority,
        headers: &line,
        identities: id.as_slice(),
        other_names: other.as_slice(),
        ..Facts::default()
    };
    ENGINE.with(|engine| {
        assert_eq!(engine.decide(&facts), engine.decide_plainly(&facts));
        assert_eq!(engine.custom(&facts), engine.custom_plainly(&facts));
    });
});
