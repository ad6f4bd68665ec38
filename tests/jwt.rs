//! `jwt` lets requests pass whose tokens are good, or that have none; wherever their keys come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use wasmplugin_host::test::{Answer, Builder, Engine, Failure, Proxy, Request, Response};

use crate::engines::{Plugin, on_every_engine};
use crate::tokens::{keys, token};

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// The cluster that Istio has for the identity provider.
const IDP: &str = "outbound|80||idp.test";

fn policies(rules: Value) -> Value {
    json!([{"metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}}, "spec": {"jwtRules": rules}}])
}

/// One issuer, whose key `k` is in the configuration.
fn inline(proxy: Builder) -> Builder {
    let output = json!([{"header": "x-user", "claim": "sub"}]);
    let rule = json!({"issuer": "idp", "audiences": ["app"], "jwks": keys(&["k"]), "outputClaimToHeaders": output});
    proxy.config(json!({"policies": policies(json!([rule]))}))
}

/// One issuer, whose keys are fetched; the n-th answer counts from 0.
fn remote(proxy: Builder, answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Builder {
    fetched(proxy, json!({}), answer)
}

fn fetched(proxy: Builder, jwks: Value, answer: impl Fn(u64) -> Answer + Send + Sync + 'static) -> Builder {
    let rule = json!({"issuer": "idp", "jwksUri": "http://idp.test/keys?all", "timeout": "0.3s"});
    let asked = AtomicU64::new(0);
    proxy
        .config(json!({"policies": policies(json!([rule])), "jwksFetch": jwks}))
        .cluster(IDP, move |_: &Request| answer(asked.fetch_add(1, Ordering::Relaxed)))
}

fn claims() -> Value {
    json!({"iss": "idp", "sub": "ada", "aud": "app"})
}

fn get(proxy: &mut Proxy, token: &str) -> Result<Response, Failure> {
    proxy.get("/a?b=c").header("authorization", format!("Bearer {token}")).send()
}

/// Lets time pass until a token is answered so; a real Envoy takes its time.
fn until(proxy: &mut Proxy, token: &str, status: u16) -> Result<(), String> {
    for _ in 0..300 {
        if get(proxy, token).map_err(|failure| failure.to_string())?.status() == status {
            return Ok(());
        }
        proxy.advance(Duration::from_millis(50));
    }
    Err(format!("it never was {status}: {:?}", proxy.logs()))
}

/// The seconds since 1970 at the start of a test, as the plugin sees them.
fn epoch(proxy: &Proxy) -> u64 {
    match proxy.engine() {
        Engine::Envoy => SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_secs()),
        _ => 1_767_225_600,
    }
}

on_every_engine! { jwt as "jwt";
    fn good_tokens_pass_and_bad_ones_are_answered(proxy) {
        let mut proxy = inline(proxy).start()?;
        assert_eq!(proxy.get("/").header("x-user", "mallory").send()?.status(), 200);
        let good = token("k", &claims());
        assert_eq!(get(&mut proxy, &good)?.status(), 200);
        assert_eq!(get(&mut proxy, &good)?.status(), 200);
        let [none, first, second] = &proxy.upstream_requests()[..] else { panic!("three requests pass") };
        assert_eq!((none.header("x-user"), none.header("authorization")), (None, None));
        for request in [first, second] {
            assert_eq!((request.header("x-user"), request.header("authorization")), (Some("ada"), None));
        }

        let other = token("k", &json!({"iss": "idp", "sub": "eve", "aud": "app"}));
        let (body, signature) = (&other[..other.rfind('.').unwrap()], &good[good.rfind('.').unwrap()..]);
        let forged = get(&mut proxy, &format!("{body}{signature}"))?;
        assert_eq!((forged.status(), forged.text().as_str()), (401, "Jwt verification fails"));
        let answer = get(&mut proxy, &token("k", &json!({"iss": "idp", "aud": "other"})))?;
        assert_eq!((answer.status(), answer.text().as_str()), (403, "Audiences in Jwt are not allowed"));
        let answer = get(&mut proxy, &token("other", &claims()))?;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.text(), "Jwks doesn't have key to match kid or alg from Jwt");
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        let realm = "Bearer realm=\"http://example.test/a?b=c\", error=\"invalid_token\"";
        assert_eq!(answer.header("www-authenticate"), Some(realm));
        assert_eq!(proxy.upstream_requests().len(), 3);

        for (counter, expected) in [("allowed", 3), ("denied", 3), ("jwt_cache_hit", 1)] {
            assert_eq!(proxy.metric(&format!("jwt_authn.{counter}")), Some(expected), "{counter}");
        }
        assert!(!proxy.logs().iter().any(|line| line.text.contains("eyJ")), "no token is logged");
        Ok(())
    }

    fn hostile_tokens_are_refused_and_never_logged(proxy) {
        let mut proxy = inline(proxy).start()?;
        let nested = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let claims: Value = json!({"iss": "idp", "sub": "secret-subject", "aud": "app"});
        let good = token("k", &claims);
        for (hostile, text) in [
            ("A".repeat(50_000), "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
            ("A.".repeat(20_000), "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
            (token("k", &json!({"iss": "idp", "x": nested})), "Audiences in Jwt are not allowed"),
            (good.replace('.', "~."), "Jwt header is an invalid Base64url encoded"),
            (format!("{good}AA"), "Jwt signature is an invalid Base64url encoded"),
            (format!("{good}AAAA"), "Jwt verification fails"),
            (token("../../k", &claims), "Jwks doesn't have key to match kid or alg from Jwt"),
        ] {
            let answer = get(&mut proxy, &hostile)?;
            assert_eq!(answer.text(), text, "{hostile:.60}");
        }
        assert_eq!(get(&mut proxy, &good)?.status(), 200, "it goes on");
        let told = |line: &str| line.contains("eyJ") || line.contains("secret-subject") || line.contains("AAAA");
        assert!(!proxy.logs().iter().any(|line| told(&line.text)), "no token is logged");
        Ok(())
    }

    fn grpc_and_head_are_answered_in_their_forms(proxy) {
        let mut proxy = inline(proxy).start()?;
        let expired = format!("Bearer {}", token("k", &json!({"iss": "idp", "exp": 1})));
        let answer = proxy
            .post("/s/m")
            .header("content-type", "application/grpc")
            .header("authorization", expired.clone())
            .send()?;
        assert_eq!((answer.status(), answer.header("grpc-status")), (200, Some("16")));
        assert_eq!(answer.header("grpc-message"), Some("Jwt is expired"));
        assert!(answer.header("www-authenticate").is_some());
        let answer = proxy.request("HEAD", "/").header("authorization", expired).send()?;
        assert_eq!((answer.status(), answer.text().as_str()), (401, ""));
        Ok(())
    }

    fn a_dry_run_counts_and_touches_nothing(proxy) {
        let rule = json!({"issuer": "idp", "jwks": keys(&["k"]), "outputPayloadToHeader": "x-payload"});
        let mut proxy = proxy.config(json!({"dryRun": true, "policies": policies(json!([rule]))})).start()?;
        for (token, counter) in [(token("k", &claims()), "allowed"), (token("other", &claims()), "denied")] {
            assert_eq!(get(&mut proxy, &token)?.status(), 200);
            let request = proxy.upstream_requests().pop().unwrap();
            assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
            assert_eq!(request.header("x-payload"), None);
            assert_eq!(proxy.metric(&format!("jwt_authn.{counter}")), Some(1), "{counter}");
        }
        Ok(())
    }

    fn a_minute_of_skew_is_forgiven(proxy) {
        let mut proxy = inline(proxy).start()?;
        let now = epoch(&proxy);
        let mut at = |name: &str, time: u64| {
            let mut claims = claims();
            claims[name] = json!(time);
            get(&mut proxy, &token("k", &claims)).map(|answer| (answer.status(), answer.text()))
        };
        for (name, time) in [("exp", now - 40), ("nbf", now + 40)] {
            assert_eq!(at(name, time)?.0, 200, "{name}");
        }
        assert_eq!(at("exp", now - 80)?, (401, "Jwt is expired".to_owned()));
        assert_eq!(at("nbf", now + 80)?, (401, "Jwt not yet valid".to_owned()));
        Ok(())
    }

    fn a_later_plugin_sees_the_claims(proxy) {
        let engine = proxy.clone().setup()?.engine;
        let probe = PROBE.on(engine).config(json!({"paths": [istio_core::wire::JWT_CLAIMS]}));
        let mut proxy = inline(proxy).then(probe).start()?;
        let claims = json!({"iss": "idp", "sub": "ada", "aud": "app", "scope": "read write"});
        assert_eq!(get(&mut proxy, &token("k", &claims))?.status(), 200);
        assert_eq!(proxy.get("/").send()?.status(), 200);
        let line = |line: &str| line.strip_prefix("@request istio_jwt_claims ").map(str::to_owned);
        let seen: Vec<_> = proxy.logs().iter().filter_map(|logged| line(&logged.text)).collect();
        let text = r#"{"aud":"app","iss":"idp","scope":["read","write"],"sub":"ada"}"#;
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seen, [format!("0 {hex}"), "1".to_owned()]);
        Ok(())
    }

    fn a_wrong_configuration_is_refused_with_its_place(proxy) {
        for (configuration, expected) in [
            (json!({"policies": [{"spec": {"jwtRules": [{"issuer": "i", "jwks": "{}"}]}}]}), "`policies[0].spec.jwtRules[0].jwks`"),
            (json!({"policies": [{"spec": {"jwtRule": []}}]}), "`policies[0].spec.jwtRule`"),
            (json!({"polices": []}), "`polices`"),
        ] {
            let error = proxy.clone().config(configuration).start().map(drop).unwrap_err().to_string();
            assert!(error.contains("invalid plugin configuration") && error.contains(expected), "{error}");
        }
        Ok(())
    }

    fn keys_are_fetched_before_the_first_token_comes(proxy) {
        let mut proxy = remote(proxy, |_| Answer::new(200).body(keys(&["k"]))).start()?;
        for _ in 0..100 {
            if !proxy.cluster_requests(IDP).is_empty() {
                break;
            }
            proxy.advance(Duration::from_millis(10));
        }
        let asked = proxy.cluster_requests(IDP);
        assert_eq!((asked[0].path(), asked[0].authority()), ("/keys?all", "idp.test"));
        until(&mut proxy, &token("k", &claims()), 200)?;
        assert_eq!(get(&mut proxy, &token("k", &json!({"iss": "idp", "exp": 1})))?.text(), "Jwt is expired");
        Ok(())
    }

    fn requests_that_wait_for_keys_share_one_fetch(proxy) {
        let slow = |_| Answer::new(200).body(keys(&["k"])).after(Duration::from_millis(200));
        let mut proxy = remote(proxy, slow).start()?;
        let good = format!("Bearer {}", token("k", &claims()));
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(proxy.get("/").header("authorization", good.clone()).open()?);
        }
        for answer in proxy.finish_all(open) {
            assert_eq!(answer?.status(), 200);
        }
        // A real Envoy has the plugin on its main thread too, which fetches for itself.
        let asked = proxy.cluster_requests(IDP).len();
        assert!((1..=2).contains(&asked), "{asked} fetches");
        Ok(())
    }

    fn without_keys_tokens_are_refused_and_nothing_hangs(proxy) {
        let answers: [fn(u64) -> Answer; 10] = [
            |_| Answer::new(500).body(keys(&["k"])),
            |_| Answer::new(302).header("location", "http://idp.test/other"),
            |_| Answer::new(200).body("<html>"),
            |_| Answer::new(200).body(r#"{"keys":[]}"#),
            |_| Answer::new(200).body(format!("{}{}", keys(&["k"]), " ".repeat(1024 * 1024))),
            |_| Answer::new(200).body("[".repeat(1024 * 1024)),
            |_| Answer::new(200).body(vec![b' '; 100 * 1024 * 1024]),
            |_| Answer::malformed(),
            |_| Answer::reset_after_headers(),
            |_| Answer::never(),
        ];
        for answer in answers {
            let mut proxy = remote(proxy.clone(), answer).start()?;
            let passed = proxy.upstream_requests().len();
            let refused = get(&mut proxy, &token("k", &claims()))?;
            assert_eq!((refused.status(), refused.text().as_str()), (401, "Jwks remote fetch is failed"));
            assert_eq!(proxy.get("/").send()?.status(), 200, "who has no token needs no keys");
            assert_eq!(proxy.upstream_requests().len(), passed + 1);
            assert!(proxy.metric("jwt_authn.jwks_fetch_failed") > Some(0));
            let logged = "keys could not be fetched from `http://idp.test/keys?all`: ";
            assert!(proxy.logs().iter().any(|line| line.text.starts_with(logged)), "{:?}", proxy.logs());
        }
        Ok(())
    }

    fn a_cluster_that_is_not_there_is_a_failed_fetch(proxy) {
        let clusters = json!({"clusters": {"idp.test": "nowhere"}});
        let mut proxy = fetched(proxy, clusters, |_| Answer::new(200).body(keys(&["k"]))).start()?;
        let refused = get(&mut proxy, &token("k", &claims()))?;
        assert_eq!((refused.status(), refused.text().as_str()), (401, "Jwks remote fetch is failed"));
        assert_eq!(proxy.cluster_requests(IDP).len(), 0);
        Ok(())
    }

    fn a_provider_that_comes_back_is_asked_again(proxy) {
        let up = Arc::new(AtomicU64::new(0));
        let state = Arc::clone(&up);
        let answer = move |_| match state.load(Ordering::Relaxed) {
            0 => Answer::new(503),
            _ => Answer::new(200).body(keys(&["k"])),
        };
        let mut proxy = remote(proxy, answer).start()?;
        let good = token("k", &claims());
        assert_eq!(get(&mut proxy, &good)?.status(), 401);
        up.store(1, Ordering::Relaxed);
        until(&mut proxy, &good, 200)?;
        Ok(())
    }

    fn keys_are_renewed_and_never_used_longer_than_said(proxy) {
        let answer = |number| match number {
            0..6 => Answer::new(200).body(keys(&["old"])),
            _ => Answer::new(500),
        };
        let mut proxy = fetched(proxy, json!({"cacheDuration": "1s"}), answer).start()?;
        let old = token("old", &claims());
        until(&mut proxy, &old, 200)?;
        until(&mut proxy, &old, 401)?;
        assert!(proxy.cluster_requests(IDP).len() > 6);
        assert_eq!(get(&mut proxy, &old)?.text(), "Jwks remote fetch is failed");
        Ok(())
    }

    fn an_unknown_key_id_has_the_keys_fetched_again(proxy) {
        let rotated = Arc::new(AtomicU64::new(0));
        let state = Arc::clone(&rotated);
        let answer = move |_| Answer::new(200).body(match state.load(Ordering::Relaxed) {
            0 => keys(&["old"]),
            _ => keys(&["new"]),
        });
        let mut proxy = remote(proxy, answer).start()?;
        let (old, new) = (token("old", &claims()), token("new", &claims()));
        until(&mut proxy, &old, 200)?;
        rotated.store(1, Ordering::Relaxed);
        assert_eq!(get(&mut proxy, &new)?.status(), 401, "the keys are too young to ask for newer ones");
        until(&mut proxy, &new, 200)?;
        assert_eq!(get(&mut proxy, &old)?.status(), 401, "a verdict of dropped keys is dropped too");
        let asked = proxy.cluster_requests(IDP).len();
        for number in 0..20 {
            assert_eq!(get(&mut proxy, &token(&format!("unknown-{number}"), &claims()))?.status(), 401);
        }
        assert_eq!(proxy.cluster_requests(IDP).len(), asked, "strangers cannot have the provider asked at will");
        Ok(())
    }
}
