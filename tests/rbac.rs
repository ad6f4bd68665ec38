//! `rbac` lets pass what Istio's authorization policies allow, and nothing that it cannot decide.

use std::time::Duration;

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Request};

use crate::engines::on_every_engine;

pub(crate) fn policy(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "foo"}, "spec": spec})
}

fn paths(action: &str, path: &str) -> Value {
    json!({"action": action, "rules": [{"to": [{"operation": {"paths": [path]}}]}]})
}

/// Asks an authorizer about everything below `/ask`, with these further settings.
fn asking(proxy: Builder, settings: &[(&str, Value)]) -> Builder {
    let mut provider = json!({
        "cluster": "authz", "pathPrefix": "/check", "timeout": "0.25s", "statusOnError": "503",
        "includeRequestHeadersInCheck": ["x-token"], "headersToUpstreamOnAllow": ["x-user"],
    });
    for (name, value) in settings {
        provider[*name] = value.clone();
    }
    let mut custom = paths("CUSTOM", "/ask*");
    custom["provider"] = json!({"name": "authz"});
    let policies = [policy("ask", custom), policy("never", paths("DENY", "/ask/never"))];
    let config = json!({"policies": policies, "providers": {"authz": provider}});
    proxy.config(config).cluster("authz", |request: &Request| match request.header("x-token") {
        Some("good") => Answer::new(200).header("x-user", "ada").header("x-other", "o"),
        Some("down") => Answer::reset(),
        Some("slow") => Answer::never(),
        Some("broken") => Answer::new(500),
        _ => Answer::new(401).header("www-authenticate", "Basic").body("who are you"),
    })
}

on_every_engine! { rbac as "rbac";
    fn what_no_policy_allows_is_refused(proxy) {
        let policies = [policy("a", paths("ALLOW", "/open*")), policy("d", paths("DENY", "*/secret"))];
        let mut proxy = proxy.config(json!({"policies": policies})).start()?;
        assert_eq!(proxy.get("/open/a?b").send()?.status(), 200);
        for path in ["/closed", "/open/secret"] {
            let answer = proxy.get(path).send()?;
            assert_eq!((answer.status(), answer.text().as_str()), (403, "RBAC: access denied"));
            assert_eq!(answer.header("content-type"), Some("text/plain"));
        }
        let answer = proxy.post("/s/m").header("content-type", "application/grpc").send()?;
        assert_eq!((answer.status(), answer.header("grpc-status")), (200, Some("7")));
        assert_eq!(answer.header("grpc-message"), Some("RBAC: access denied"));
        assert_eq!(proxy.upstream_requests().len(), 1);
        assert_eq!((proxy.metric("rbac.allowed"), proxy.metric("rbac.denied")), (Some(1), Some(3)));
        Ok(())
    }

    fn a_dry_run_counts_and_refuses_nothing(proxy) {
        let mut dry = policy("d", paths("DENY", "/secret"));
        dry["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
        let mut proxy = proxy.config(json!({"policies": [dry]})).start()?;
        for path in ["/open", "/secret"] {
            assert_eq!(proxy.get(path).send()?.status(), 200);
        }
        for counter in ["shadow_allowed", "shadow_denied"] {
            assert_eq!(proxy.metric(&format!("rbac.{counter}")), Some(1), "{counter}");
        }
        let line = "dry run of DENY policies: denied, matched policy ns[foo]-policy[d]-rule[0]";
        assert!(proxy.logs().iter().any(|logged| logged.text == line), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_fact_that_cannot_be_read_refuses(proxy) {
        let rule = json!([{"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}]);
        let policies = [policy("d", json!({"action": "DENY", "rules": rule}))];
        let config = json!({"policies": policies, "sourceIp": {"filterState": "peer"}});
        for (peer, status) in [(None, 403), (Some("not an address"), 403), (Some("10.1.1.1"), 403), (Some("11.1.1.1"), 200)] {
            let proxy = proxy.clone().config(config.clone());
            let mut proxy = match peer {
                Some(peer) => proxy.filter_state("peer", peer),
                None => proxy,
            }.start()?;
            assert_eq!(proxy.get("/").send()?.status(), status, "{peer:?}");
        }
        Ok(())
    }

    fn claims_come_from_our_own_plugin_for_tokens(proxy) {
        let rule = json!([{"from": [{"source": {"requestPrincipals": ["idp/eve"]}}]}]);
        let policies = [policy("d", json!({"action": "DENY", "rules": rule}))];
        let proxy = proxy.config(json!({"policies": policies}));
        assert_eq!(proxy.clone().start()?.get("/").send()?.status(), 200, "no token");
        for (claims, status) in [
            (r#"{"iss":"idp","sub":"eve"}"#, 403),
            (r#"{"iss":"idp","sub":"ada"}"#, 200),
            (r#"{"iss":"idp","sub":"ada","sub":"eve"}"#, 403),
        ] {
            let mut proxy = proxy.clone().filter_state("wasm.istio_jwt_claims", claims).start()?;
            assert_eq!(proxy.get("/").send()?.status(), status, "{claims}");
        }
        Ok(())
    }

    fn claims_come_from_jwt_authn(proxy) {
        let when = |key: &str, value: &str| json!({"when": [{"key": format!("request.auth.{key}"), "values": [value]}]});
        let rules = json!([
            {"from": [{"source": {"requestPrincipals": ["idp/ada"]}}]},
            when("claims[groups]", "admin"),
            when("claims[realm][role]", "root"),
        ]);
        let policies = [policy("a", json!({"rules": rules}))];
        let proxy = proxy.config(json!({"policies": policies}));
        for (claims, status) in [
            (json!({"iss": "idp", "sub": "ada"}), 200),
            (json!({"iss": "idp", "sub": "eve"}), 403),
            (json!({"iss": "idp", "sub": "eve", "groups": ["user", "admin"]}), 200),
            (json!({"iss": "idp", "sub": "eve", "groups": "admin", "other": null}), 200),
            (json!({"iss": "idp", "sub": "eve", "groups": [], "realm": {"role": "root"}}), 200),
            (json!({"iss": "idp", "sub": "eve", "realm": {"role": "user"}}), 403),
            // What cannot be told from a text refuses, even where another rule would allow.
            (json!({"iss": "idp", "sub": "ada", "groups": 7}), 403),
            (json!({"iss": "idp", "sub": "ada", "groups": [true]}), 403),
            (json!({"iss": "idp", "sub": "ada", "groups": {"admin": "admin"}}), 403),
            // These answer like lists when they are asked for their members.
            (json!({"iss": "idp", "sub": "eve", "groups": {"0": "admin"}}), 403),
            (json!({"iss": "idp", "sub": "eve", "groups": {"0": "user", "1": "admin"}}), 403),
        ] {
            let metadata = json!({"envoy.filters.http.jwt_authn": {"payload": claims}});
            let mut proxy = proxy.clone().dynamic_metadata(metadata).start()?;
            let answer = proxy.get("/").header("x-jwt-payload", "eyJpc3MiOiJpZHAiLCJzdWIiOiJhZGEifQ").send()?;
            assert_eq!(answer.status(), status, "{claims}");
        }
        let elsewhere = json!({"envoy.filters.http.jwt_authn": {"other": {"iss": "idp", "sub": "ada"}}});
        assert_eq!(proxy.dynamic_metadata(elsewhere).start()?.get("/").send()?.status(), 403);
        Ok(())
    }

    fn metadata_that_may_be_no_text_refuses(proxy) {
        let allow = json!([{"when": [{"key": "experimental.envoy.filters.http.ext_authz[who]", "values": ["*"]}]}]);
        let proxy = proxy.config(json!({"policies": [policy("a", json!({"rules": allow}))]}));
        // The bytes of a number, which are those of a text too.
        let number = f64::from_le_bytes(*b"abcdef0C");
        for (who, status) in [
            (json!("ada"), 200), (json!(""), 403), (json!(true), 403), (json!(false), 403), (json!(number), 403), (json!(7), 403),
            (json!(["ada"]), 403), (json!({"ada": "ada"}), 403),
        ] {
            let metadata = json!({"envoy.filters.http.ext_authz": {"who": who}});
            assert_eq!(proxy.clone().dynamic_metadata(metadata).start()?.get("/").send()?.status(), status, "{who}");
        }
        assert_eq!(proxy.start()?.get("/").send()?.status(), 403, "no metadata");
        Ok(())
    }

    fn an_authorizer_is_asked_and_its_no_is_final(proxy) {
        let mut proxy = asking(proxy, &[]).start()?;
        assert_eq!(proxy.get("/free").send()?.status(), 200);
        assert!(proxy.cluster_requests("authz").is_empty());
        let answer = proxy.get("/ask/a?b=c").header("x-token", "good").header("x-user", "mallory").send()?;
        assert_eq!(answer.status(), 200);
        let request = proxy.upstream_requests().pop().ok_or("nothing reached the upstream")?;
        assert_eq!((request.header("x-user"), request.header("x-other")), (Some("ada"), None));
        assert_eq!(proxy.cluster_requests("authz")[0].path(), "/check/ask/a?b=c");
        let answer = proxy.get("/ask").send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (401, "who are you"));
        assert_eq!(answer.header("www-authenticate"), Some("Basic"));
        let answer = proxy.get("/ask/never").header("x-token", "good").send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (403, "RBAC: access denied"));
        assert_eq!(proxy.upstream_requests().len(), 2);
        Ok(())
    }

    fn an_authorizer_that_fails_refuses_unless_it_fails_open(proxy) {
        for (open, status) in [(false, 503), (true, 200)] {
            let mut proxy = asking(proxy.clone(), &[("failOpen", open.into())]).patience(Duration::from_secs(5)).start()?;
            for how in ["down", "slow", "broken"] {
                assert_eq!(proxy.get("/ask").header("x-token", how).send()?.status(), status, "{how}");
            }
            assert_eq!(proxy.get("/ask/never").header("x-token", "down").send()?.status(), if open { 403 } else { 503 });
            // Without a host nobody can be asked, which is the client's doing.
            assert_eq!(proxy.get("/ask").header("host", "").header("x-token", "good").send()?.status(), 403);
        }
        Ok(())
    }

    fn a_connection_passes_if_the_policies_allow_it(proxy) {
        let source = |blocks: Value| json!([{"from": [{"source": {"remoteIpBlocks": blocks}}]}]);
        let policies = [
            policy("a", json!({"rules": source(json!(["10.0.0.0/8", "11.0.0.0/8"]))})),
            // Without HTTP only the address is left of this.
            policy("d", json!({"action": "DENY", "rules": [{
                "from": [{"source": {"remoteIpBlocks": ["10.6.0.0/16"]}}], "to": [{"operation": {"methods": ["GET"]}}],
            }]})),
            policy("h", json!({"rules": [{"to": [{"operation": {"paths": ["*"]}}]}]})),
        ];
        let mut proxy = proxy.config(json!({"policies": policies, "protocol": "tcp"})).tcp_echo().start()?;
        for (from, passes) in [("10.1.1.1:5000", true), ("11.1.1.1:5000", true), ("10.6.1.1:5000", false), ("12.1.1.1:5000", false)] {
            let mut client = proxy.connect_from(from.parse()?)?;
            if passes {
                client.send("hello")?;
                assert_eq!(client.read_exact(5)?, b"hello", "{from}");
                client.finish()?;
            }
            assert_eq!(client.read_to_end()?, b"", "{from}");
        }
        assert_eq!(proxy.upstream_connections().len(), 2);
        assert_eq!((proxy.metric("rbac.allowed"), proxy.metric("rbac.denied")), (Some(2), Some(2)));
        Ok(())
    }

    fn a_connection_waits_for_the_names_of_its_peer(proxy) {
        let rule = json!([{"from": [{"source": {"principals": ["*"]}}]}]);
        for (action, passes) in [("ALLOW", false), ("DENY", true)] {
            let policies = [policy("p", json!({"action": action, "rules": rule}))];
            let mut proxy = proxy.clone().config(json!({"policies": policies, "protocol": "tcp"})).tcp_echo().start()?;
            let mut client = proxy.connect()?;
            client.send("hello")?;
            if passes {
                assert_eq!(client.read_exact(5)?, b"hello");
                client.finish()?;
            }
            assert_eq!(client.read_to_end()?, b"", "{action}");
        }
        Ok(())
    }

    fn policies_for_http_close_connections(proxy) {
        let mut proxy = proxy.config(json!({"policies": []})).tcp_echo().start()?;
        let mut client = proxy.connect()?;
        assert_eq!(client.read_to_end()?, b"");
        assert!(proxy.upstream_connections().is_empty());
        Ok(())
    }

    fn policies_for_tcp_refuse_requests(proxy) {
        let mut proxy = proxy.config(json!({"policies": [], "protocol": "tcp"})).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 403);
        Ok(())
    }

    fn a_wrong_configuration_is_refused_with_its_place(proxy) {
        let when = json!([{"when": [{"key": "request.header[a]", "values": ["b"]}]}]);
        for (configuration, expected) in [
            (json!({"policies": [policy("p", json!({"rules": when}))]}), "`policies[0].spec.rules[0].when[0].key`"),
            (json!({"policies": [policy("p", json!({"rule": []}))]}), "`policies[0].spec.rule`"),
            (json!({"polices": []}), "`polices`"),
            (json!({"policies": [policy("p", json!({"rules": [[null, null, null]]}))]}), "`policies[0].spec.rules[0]`"),
        ] {
            let error = proxy.clone().config(configuration).start().map(drop).unwrap_err().to_string();
            assert!(error.contains("invalid plugin configuration") && error.contains(expected), "{error}");
        }
        Ok(())
    }
}
