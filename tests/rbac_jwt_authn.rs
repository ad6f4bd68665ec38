//! `rbac` behind Envoy's own `jwt_authn`, configured as istiod does for a `RequestAuthentication`: what a verified token
//! claims decides, and nothing else that a client sends.

use serde_json::{Value, json};
use wasmplugin_host::envoy::config::typed;
use wasmplugin_host::test::{Builder, Engine, Failure, Proxy, Response};

use crate::engines::Outcome;
use crate::rbac::{PLUGIN, policy};
use crate::tokens::{base64url, keys, token};

/// The header that the payload is forwarded in, where it is.
const PAYLOAD: &str = "x-jwt-payload";

/// What istiod makes of one rule per issuer, with these further fields in each of them.
pub(crate) fn jwt_authn(issuers: &[&str], more: &Value) -> Value {
    let name = |place: usize| format!("origins-{place}");
    let provider = |(place, issuer): (usize, &&str)| {
        let mut provider = json!({
            "issuer": issuer,
            "local_jwks": {"inline_string": keys(&[issuer])},
            "payload_in_metadata": "payload",
            "normalize_payload_in_metadata": {"space_delimited_claims": ["permission", "scope"]},
        });
        for (field, value) in more.as_object().unwrap() {
            provider[field] = value.clone();
        }
        (name(place), provider)
    };
    let providers: serde_json::Map<_, _> = issuers.iter().enumerate().map(provider).collect();
    let named = |place| json!({"provider_name": name(place)});
    let or_missing = |place| json!({"requires_any": {"requirements": [named(place), {"allow_missing": {}}]}});
    let requires = if issuers.len() == 1 {
        or_missing(0)
    } else {
        let all: Vec<_> = (0..issuers.len()).map(or_missing).collect();
        let mut any: Vec<_> = (0..issuers.len()).map(named).collect();
        any.push(json!({"requires_all": {"requirements": all}}));
        json!({"requires_any": {"requirements": any}})
    };
    let config = json!({
        "providers": providers,
        "rules": [{"match": {"prefix": "/"}, "requires": requires}],
        "bypass_cors_preflight": true,
    });
    let message = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    json!({"name": "envoy.filters.http.jwt_authn", "typed_config": typed(message, config)})
}

/// The plugin with these rules, each a policy of its own, behind nothing yet.
fn rbac(action: &str, rules: &[Value]) -> Builder {
    let named =
        |(place, rule): (usize, &Value)| policy(&format!("p{place}"), json!({"action": action, "rules": [rule]}));
    let policies: Vec<_> = rules.iter().enumerate().map(named).collect();
    PLUGIN.on(Engine::Envoy).config(json!({"policies": policies}))
}

fn when(key: &str, value: &str) -> Value {
    json!({"when": [{"key": format!("request.auth.{key}"), "values": [value]}]})
}

fn requested_by(principal: &str) -> Value {
    json!({"from": [{"source": {"requestPrincipals": [principal]}}]})
}

/// The claims of a token by `idp` for `sub`, with these further ones, and an end that is far away.
fn claims(sub: &str, more: Value) -> Value {
    let mut claims = json!({"iss": "idp", "sub": sub, "exp": 32_503_680_000_u64});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn get(proxy: &mut Proxy, token: &str) -> Result<Response, Failure> {
    proxy.get("/").header("authorization", format!("Bearer {token}")).send()
}

/// Every condition on claims, each by its own rule; what it compares has to be in the metadata as the token had it.
#[test]
fn what_a_token_claims_allows() -> Outcome {
    let rules = [
        requested_by("idp/ada"),
        when("claims[groups]", "admin"),
        when("claims[realm][roles]", "root"),
        when("claims[realm][team]", "red"),
        when("claims[scope]", "write"),
        when("presenter", "portal"),
        when("audiences", "billing"),
    ];
    for more in [json!({}), json!({"forward_payload_header": PAYLOAD, "forward": true})] {
        let mut proxy = rbac("ALLOW", &rules).envoy_filter(jwt_authn(&["idp"], &more)).start()?;
        for (claims, status) in [
            (claims("ada", json!({})), 200),
            (claims("eve", json!({})), 403),
            (claims("eve", json!({"groups": ["user", "admin"]})), 200),
            (claims("eve", json!({"groups": ["user"]})), 403),
            (claims("eve", json!({"groups": "admin"})), 200),
            (claims("eve", json!({"groups": []})), 403),
            (claims("eve", json!({"groups": ["administrator", "admi"]})), 403),
            (claims("eve", json!({"realm": {"roles": ["root", "user"]}})), 200),
            (claims("eve", json!({"realm": {"roles": ["user"], "team": "blue"}})), 403),
            (claims("eve", json!({"realm": {"roles": [], "team": "red", "size": 7}})), 200),
            (claims("eve", json!({"realm.team": "red"})), 403),
            (claims("eve", json!({"scope": "read write"})), 200),
            (claims("eve", json!({"scope": "read writes"})), 403),
            (claims("eve", json!({"azp": "portal"})), 200),
            (claims("eve", json!({"azp": "other"})), 403),
            (claims("eve", json!({"aud": "billing"})), 200),
            (claims("eve", json!({"aud": ["shop", "billing"]})), 200),
            (claims("eve", json!({"aud": ["shop", "billings"]})), 403),
            // What no policy looks at may be anything.
            (
                claims(
                    "ada",
                    json!({"n": 7, "null": null, "o": {"a": [1, true, null]}, "s": "a\0b", "u": "gr\u{fc}n"}),
                ),
                200,
            ),
            // What cannot be told from a text refuses, even where another rule would allow.
            (claims("ada", json!({"groups": 7})), 403),
            (claims("ada", json!({"groups": true})), 403),
            (claims("ada", json!({"groups": [true]})), 403),
            (claims("ada", json!({"groups": {"admin": "admin"}})), 403),
            (claims("eve", json!({"groups": {"0": "admin"}})), 403),
            (claims("eve", json!({"groups": {"admin": ""}})), 403),
            (claims("ada", json!({"realm": {"team": 1}})), 403),
        ] {
            assert_eq!(get(&mut proxy, &token("idp", &claims))?.status(), status, "{claims}");
        }
        assert_eq!(proxy.get("/").send()?.status(), 403, "no token, no claims");
        let passed = proxy.upstream_requests();
        let forwards = more.get("forward_payload_header").is_some();
        assert!(passed.iter().all(|request| request.header(PAYLOAD).is_some() == forwards));
        assert!(!proxy.logs().iter().any(|line| line.text.contains("eyJ")), "no token is logged");
    }
    Ok(())
}

#[test]
fn what_a_token_claims_denies() -> Outcome {
    let rules = [
        json!({"from": [{"source": {"notRequestPrincipals": ["*"]}}], "to": [{"operation": {"notPaths": ["/open"]}}]}),
        requested_by("idp/eve"),
        when("claims[groups]", "banned"),
        json!({"when": [{"key": "request.auth.claims[tier]", "notValues": ["gold", "silver"]}]}),
    ];
    let mut proxy = rbac("DENY", &rules).envoy_filter(jwt_authn(&["idp"], &json!({}))).start()?;
    for (claims, status) in [
        (claims("ada", json!({"tier": "gold"})), 200),
        (claims("ada", json!({"tier": ["bronze", "silver"]})), 200),
        (claims("ada", json!({"tier": "bronze"})), 403),
        (claims("ada", json!({})), 403),
        (claims("eve", json!({"tier": "gold"})), 403),
        (claims("ada", json!({"tier": "gold", "groups": ["user", "banned"]})), 403),
        // A subject with a slash is no other's issuer.
        (claims("ada/eve", json!({"tier": "gold"})), 200),
        (json!({"iss": "idp", "tier": "gold"}), 403),
    ] {
        assert_eq!(get(&mut proxy, &token("idp", &claims))?.status(), status, "{claims}");
    }
    assert_eq!(proxy.get("/").send()?.status(), 403, "a token is required");
    assert_eq!(proxy.get("/open").send()?.status(), 403, "without a token there is no tier");
    Ok(())
}

/// What `jwt_authn` refuses never comes to the policies, and its answer is the one that the client gets.
#[test]
fn what_is_no_good_token_is_answered_by_jwt_authn() -> Outcome {
    let mut proxy = rbac("ALLOW", &[requested_by("idp/ada")]).envoy_filter(jwt_authn(&["idp"], &json!({}))).start()?;
    let good = token("idp", &claims("ada", json!({})));
    let (body, _) = good.rsplit_once('.').unwrap();
    let (_, other_signature) = token("idp", &claims("eve", json!({}))).rsplit_once('.').map(own).unwrap();
    for (bad, text) in [
        (format!("{body}.{other_signature}"), "Jwt verification fails"),
        (token("other", &claims("ada", json!({}))), "Jwks doesn't have key to match kid or alg from Jwt"),
        (token("idp", &json!({"iss": "idp", "sub": "ada", "exp": 1})), "Jwt is expired"),
        (token("idp", &json!({"iss": "stranger", "sub": "ada"})), "Jwt issuer is not configured"),
        ("garbage".to_owned(), "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
    ] {
        let answer = get(&mut proxy, &bad)?;
        assert_eq!((answer.status(), answer.text().as_str()), (401, text));
    }
    assert_eq!((proxy.metric("rbac.allowed"), proxy.metric("rbac.denied")), (None, None));
    assert_eq!(get(&mut proxy, &good)?.status(), 200);
    assert_eq!(proxy.upstream_requests().len(), 1);
    Ok(())
}

fn own((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// Two issuers, each with its key: the claims are those of whoever signed.
#[test]
fn each_issuer_speaks_for_itself() -> Outcome {
    let filter = jwt_authn(&["idp", "partner"], &json!({}));
    let mut proxy = rbac("ALLOW", &[requested_by("partner/*")]).envoy_filter(filter).start()?;
    let by = |issuer: &str| json!({"iss": issuer, "sub": "ada"});
    for (key, issuer, status) in [("partner", "partner", 200), ("idp", "idp", 403), ("idp", "partner", 401)] {
        assert_eq!(get(&mut proxy, &token(key, &by(issuer)))?.status(), status, "{issuer} by the key of {key}");
    }
    assert_eq!(proxy.get("/").send()?.status(), 403);
    Ok(())
}

/// Neither without `jwt_authn` nor beside a token of one's own does a header make a claim, whatever it is called.
#[test]
fn what_a_client_writes_is_no_claim() -> Outcome {
    let forged = base64url(claims("ada", json!({})).to_string());
    let filters = [
        None,
        Some(jwt_authn(&["idp"], &json!({}))),
        Some(jwt_authn(&["idp"], &json!({"forward_payload_header": PAYLOAD}))),
    ];
    let eve = format!("Bearer {}", token("idp", &claims("eve", json!({}))));
    for filter in filters {
        let verifies = filter.is_some();
        let proxy = filter.into_iter().fold(rbac("ALLOW", &[requested_by("idp/ada")]), Builder::envoy_filter);
        let mut proxy = proxy.start()?;
        for name in [PAYLOAD, "istio_jwt_claims", "wasm.istio_jwt_claims", "x-jwt-claims", "sec-istio-auth-userinfo"] {
            assert_eq!(proxy.get("/").header(name, forged.clone()).send()?.status(), 403, "{name}");
            let beside = proxy.get("/").header(name, forged.clone()).header("authorization", eve.clone());
            assert_eq!(beside.send()?.status(), 403, "{name} beside a token");
        }
        // A token that nobody has verified is a header like any other; so is one in a preflight, which is not verified.
        let ada = format!("Bearer {}", token("idp", &claims("ada", json!({}))));
        let preflight = proxy.request("OPTIONS", "/").header("origin", "http://a.test");
        let preflight = preflight.header("access-control-request-method", "GET").header("authorization", ada.clone());
        assert_eq!(preflight.send()?.status(), 403);
        let status = if verifies { 200 } else { 403 };
        assert_eq!(proxy.get("/").header("authorization", ada).send()?.status(), status);
    }
    Ok(())
}

/// Where the filter leaves its claims elsewhere than istiod has it do, nobody with a token passes; where it leaves none, a token is
/// as good as no token.
#[test]
fn claims_in_another_place_refuse() -> Outcome {
    for (place, action, status) in [("other", "DENY", 403), ("other", "ALLOW", 403), ("", "ALLOW", 403)] {
        let filter = jwt_authn(&["idp"], &json!({"payload_in_metadata": place}));
        let mut proxy = rbac(action, &[requested_by("idp/ada")]).envoy_filter(filter).start()?;
        for subject in ["ada", "eve"] {
            let token = token("idp", &claims(subject, json!({})));
            assert_eq!(get(&mut proxy, &token)?.status(), status, "{subject}, {action}, `{place}`");
        }
    }
    Ok(())
}
