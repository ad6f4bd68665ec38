//! Random policies and requests over a small vocabulary, so that they meet often, with odd bytes strewn in.

use serde_json::{Map, Value, json};

/// A small generator of numbers (xorshift), so that a failure can be repeated from its seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit as u64)).unwrap()
    }

    pub(super) fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// A configuration with a few policies.
    pub(super) fn config(&mut self) -> Value {
        let tcp = self.chance(8);
        let policies: Vec<Value> = (0..1 + self.below(14)).map(|index| self.policy(index)).collect();
        json!({
            "policies": policies,
            "sourceIp": "downstream",
            "trustDomain": self.pick(&["td", "cluster.local"]),
            "trustDomainAliases": if self.chance(3) { vec!["old-td", "cluster.local"] } else { vec![] },
            "providers": if self.chance(3) { json!({}) } else { json!({"x": {"cluster": "authz"}}) },
            "protocol": if tcp { "tcp" } else { "http" },
        })
    }

    fn policy(&mut self, index: usize) -> Value {
        let action = self.pick(&["ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM"]);
        let custom = action == "CUSTOM";
        let rules: Vec<Value> =
            (0..self.below(4)).map(|_| if self.chance(20) { Value::Null } else { self.rule(custom) }).collect();
        let mut spec = json!({"action": action, "rules": rules});
        if custom {
            spec["provider"] = json!({"name": self.pick(&["x", "x", "x", "x", "y"])});
        }
        let dry = matches!(action, "ALLOW" | "DENY") && self.chance(4);
        let annotations = if dry { json!({"istio.io/dry-run": "true"}) } else { json!({}) };
        json!({"metadata": {"name": format!("p{index}"), "namespace": self.pick(&["a", "b", "istio-system"]), "annotations": annotations}, "spec": spec})
    }

    fn rule(&mut self, custom: bool) -> Value {
        let mut rule = Map::new();
        if self.chance(2) {
            let from: Vec<Value> = (0..1 + self.below(2)).map(|_| json!({"source": self.source(custom)})).collect();
            rule.insert("from".into(), from.into());
        }
        if self.chance(2) {
            let to: Vec<Value> = (0..1 + self.below(2)).map(|_| json!({"operation": self.operation()})).collect();
            rule.insert("to".into(), to.into());
        }
        if self.chance(3) {
            let when: Vec<Value> = (0..1 + self.below(2)).map(|_| self.condition(custom)).collect();
            rule.insert("when".into(), when.into());
        }
        rule.into()
    }

    fn source(&mut self, custom: bool) -> Value {
        let names = [
            ("ipBlocks", "notIpBlocks"),
            ("remoteIpBlocks", "notRemoteIpBlocks"),
            ("trustDomains", "notTrustDomains"),
            ("requestPrincipals", "notRequestPrincipals"),
            ("serviceAccounts", "notServiceAccounts"),
            ("principals", "notPrincipals"),
            ("namespaces", "notNamespaces"),
        ];
        self.fields(if custom { &names[..2] } else { &names })
    }

    fn operation(&mut self) -> Value {
        self.fields(&[
            ("hosts", "notHosts"),
            ("ports", "notPorts"),
            ("methods", "notMethods"),
            ("paths", "notPaths"),
            ("paths", "notPaths"),
        ])
    }

    fn fields(&mut self, names: &[(&str, &str)]) -> Value {
        let mut fields = Map::new();
        for _ in 0..1 + self.below(2) {
            let (name, negated) = names[self.below(names.len())];
            let accounts = name == "serviceAccounts";
            let clashes = |key: &String| {
                matches!(
                    key.to_ascii_lowercase().trim_start_matches("not"),
                    "principals" | "namespaces" | "serviceaccounts"
                )
            };
            if (accounts || name == "principals" || name == "namespaces") && fields.keys().any(clashes) {
                continue;
            }
            let key = if self.chance(4) { negated } else { name };
            fields.insert(key.into(), self.values(name).into());
        }
        fields.into()
    }

    fn condition(&mut self, custom: bool) -> Value {
        let keys = [
            ("source.ip", "ipBlocks"),
            ("remote.ip", "remoteIpBlocks"),
            ("destination.ip", "ipBlocks"),
            ("destination.port", "ports"),
            ("connection.sni", "hosts"),
            ("request.headers[X-A]", "words"),
            ("request.headers[x-b]", "words"),
            ("request.headers[host]", "hosts"),
            ("request.headers[:path]", "paths"),
            ("experimental.envoy.filters.f[k]", "metadata"),
            ("source.namespace", "namespaces"),
            ("source.principal", "principals"),
            ("request.auth.principal", "requestPrincipals"),
            ("request.auth.audiences", "words"),
            ("request.auth.claims[g]", "words"),
            ("request.auth.claims[n][g]", "words"),
        ];
        let (key, kind) = keys[self.below(if custom { 10 } else { keys.len() })];
        let mut condition = json!({"key": key});
        let negative = self.chance(3);
        if !negative || self.chance(4) {
            condition["values"] = self.values(kind).into();
        }
        if negative {
            condition["notValues"] = self.values(kind).into();
        }
        condition
    }

    fn values(&mut self, kind: &str) -> Vec<String> {
        (0..1 + self.below(3)).map(|_| self.value(kind)).collect()
    }

    fn value(&mut self, kind: &str) -> String {
        match kind {
            "ipBlocks" | "remoteIpBlocks" => {
                let block = self.pick(&[
                    "10.0.0.0/8",
                    "10.1.0.0/16",
                    "10.1.2.3",
                    "0.0.0.0/0",
                    "::/0",
                    "2001:db8::/32",
                    "2001:db8::1",
                    "10.1.2.4/31",
                ]);
                block.to_owned()
            }
            "ports" => self.pick(&["80", "443", "8080", "0"]).to_owned(),
            "trustDomains" => self.pick(&["td", "old-td", "*-td", "t*", "*", "cluster.local", "x"]).to_owned(),
            "serviceAccounts" => self.pick(&["a", "b", "a/a", "b/a", "ns/sa", "n1/a.b", "sa/ns"]).to_owned(),
            "namespaces" => self
                .pick(&["a", "b", "n1", "n*", "*1", "*", "n*a", "a/sa", "*/sa/a", "ns", "a*b*", "a**b", "**", "é"])
                .to_owned(),
            "principals" => {
                let domain = self.pick(&["td", "old-td", "cluster.local", "*", "*-td", "x"]);
                match self.below(5) {
                    0 => self.pick(&["*", "td/*", "*/sa/a", "*a", "td/ns/a/*", "**"]).to_owned(),
                    _ => format!("{domain}/ns/{}/sa/{}", self.pick(&["a", "b", "n1"]), self.pick(&["a", "b"])),
                }
            }
            "requestPrincipals" => self
                .pick(&[
                    "*",
                    "i/*",
                    "i/s",
                    "*/s",
                    "*i/s",
                    "i/s*",
                    "i*",
                    "*s",
                    "i",
                    "https://i/s",
                    "https://i/*",
                    "https*",
                    "*/*s",
                    "i*/s",
                    "*/*",
                ])
                .to_owned(),
            "hosts" => self
                .pick(&["a.com", "*.com", "a.*", "*", "A.COM:80", "a.com:*", "b.a.com", "*.a.com", "É.com"])
                .to_owned(),
            "methods" => self.pick(&["GET", "POST", "*", "P*", "*T", "get"]).to_owned(),
            "metadata" => self.pick(&["[v]", "v", "[*]", "*", "[v*]", "*w", "[*w]"]).to_owned(),
            "paths" if self.chance(3) => self
                .pick(&[
                    "/{*}",
                    "/{**}",
                    "/a/{*}",
                    "/a/{**}",
                    "/a/{*}/c",
                    "/{*}/b/{**}",
                    "/a/{**}/c",
                    "/{*}/{*}/",
                    "/a/{**}/",
                    "/a/b/{*}/{**}/c",
                ])
                .to_owned(),
            "paths" => self
                .pick(&[
                    "/a", "/a/b", "/a/*", "/a*", "*", "*/c", "*c", "/", "/*", "/a/b/c", "/a/b*", "*b/c", "/é", "/a*c",
                ])
                .to_owned(),
            _ => self.pick(&["v", "w", "v*", "*w", "*", "vw", "é", "**", "V"]).to_owned(),
        }
    }

    /// A text made of the parts, with an odd byte now and then.
    pub(super) fn text(&mut self, parts: &[&str], most: usize) -> Vec<u8> {
        let mut text: Vec<u8> =
            (0..self.below(most + 1)).flat_map(|_| self.pick(parts).bytes().collect::<Vec<_>>()).collect();
        if self.chance(6) {
            let place = self.below(text.len() + 1);
            let odd = [0xff, b'\n', 0, b'[', b' ', b'/', 0xc3, b'%', b'*', b'?', b'#', b'A'];
            text.insert(place, odd[self.below(odd.len())]);
        }
        text
    }
}
