//! Signatures that are right, and every kind of forgery that we know of.

use serde_json::Value;

use super::super::algorithm::Algorithm;
use super::super::fixtures::{DerHost, url};
use super::super::host::NoHost;
use super::super::jwks::KeySet;
use super::*;

const MODULE: Verifier<'_> =
    Verifier { host: &NoHost, trusted: Trusted { rsa: false, p256: false, p384: false, p521: false } };

/// Verifies a signature in base64url with a key of a set of one.
fn verdict(verifier: Verifier<'_>, key: &str, algorithm: &str, signature: &str, text: &str) -> Verdict {
    let keys = KeySet::parse(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap();
    let key = keys.fitting("", algorithm).next().unwrap();
    let signature = super::super::base64::decode_url(signature.as_bytes()).unwrap().bytes;
    verifier.verify(&key.material, Algorithm::from_name(algorithm).unwrap(), &signature, text.as_bytes())
}

/// Signatures made with OpenSSL, and forgeries made with the private keys.
#[test]
fn honest_signatures_verify_and_forgeries_do_not() {
    let host = DerHost::default();
    let by_host = Verifier { host: &host, trusted: Trusted::probe(&host) };
    let cases: Value = serde_json::from_str(include_str!("../../../testdata/signature_cases.json")).unwrap();
    let text = cases["text"].as_str().unwrap();
    let mut wrong = Vec::new();
    for case in cases["signatures"].as_array().unwrap() {
        let part = |name: &str| case[name].as_str().unwrap();
        let key = cases["keys"][part("key")].to_string();
        for (who, verifier) in [("module", MODULE), ("host", by_host)] {
            let good = verdict(verifier, &key, part("alg"), part("signature"), text) == Verdict::Good;
            if good != case["good"].as_bool().unwrap() {
                wrong.push(format!("{} {} by the {who}: {}", part("key"), part("alg"), part("name")));
            }
        }
    }
    assert!(cases["signatures"].as_array().unwrap().len() > 200);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_key_verifies_for_another_family() {
    let cases: Value = serde_json::from_str(include_str!("../../../testdata/signature_cases.json")).unwrap();
    let text = cases["text"].as_str().unwrap();
    for case in cases["signatures"].as_array().unwrap().iter().filter(|case| case["good"] == true) {
        let name = case["alg"].as_str().unwrap();
        let key = cases["keys"][case["key"].as_str().unwrap()].to_string();
        for other in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "HS256", "HS384", "HS512",
            "EdDSA",
        ] {
            if other != name {
                let verdict = verdict(MODULE, &key, other, case["signature"].as_str().unwrap(), text);
                assert_ne!(verdict, Verdict::Good, "{name} as {other}");
            }
        }
    }
}

/// RFC 7515, appendix A.1.
#[test]
fn the_hmac_example_of_the_rfc_verifies() {
    let key =
        r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
    let header = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
    let text = format!("{header}.{JOE}");
    let signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(verdict(MODULE, key, "HS256", signature, &text), Verdict::Good);
    for (signature, text) in [
        ("", text.as_str()),
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXg", &text),
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjQ", &text),
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXkA", &text),
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", header),
    ] {
        assert_eq!(verdict(MODULE, key, "HS256", signature, text), Verdict::Bad);
    }
    assert_eq!(verdict(MODULE, key, "HS512", signature, &text), Verdict::Bad);
}

/// The payload of the examples of RFC 7515.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// RFC 7515, appendix A.2.
#[test]
fn the_rsa_example_of_the_rfc_verifies() {
    let key = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let text = format!("{}.{JOE}", url(br#"{"alg":"RS256"}"#));
    assert_eq!(verdict(MODULE, key, "RS256", signature, &text), Verdict::Good);
    assert_eq!(verdict(MODULE, key, "RS384", signature, &text), Verdict::Bad);
    assert_eq!(verdict(MODULE, key, "RS256", signature, &format!("{text}A")), Verdict::Bad);
}

/// RFC 7515, appendix A.3.
#[test]
fn the_ecdsa_example_of_the_rfc_verifies() {
    let key = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let text = format!("{}.{JOE}", url(br#"{"alg":"ES256"}"#));
    assert_eq!(verdict(MODULE, key, "ES256", signature, &text), Verdict::Good);
    assert_eq!(verdict(MODULE, key, "ES256", signature, &format!("{text}A")), Verdict::Bad);
}

/// RFC 8037, appendix A.4.
#[test]
fn the_ed25519_example_of_the_rfc_verifies() {
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let text = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert_eq!(verdict(MODULE, key, "EdDSA", signature, text), Verdict::Good);
    assert_eq!(verdict(MODULE, key, "EdDSA", signature, "eyJhbGciOiJFZERTQSJ9."), Verdict::Bad);
    assert_eq!(verdict(MODULE, key, "EdDSA", "AAAA", text), Verdict::WrongLength);
}

/// A host that says yes to everything must not be asked about what it was not found right about.
#[test]
fn a_host_is_only_asked_where_it_is_trusted() {
    struct Yes;
    impl Host for Yes {
        fn verify_signature(&self, _: &[u8], _: Hash, _: &[u8], _: &[u8]) -> Option<bool> {
            Some(true)
        }
    }
    let yes = Verifier { host: &Yes, trusted: Trusted::probe(&Yes) };
    let cases: Value = serde_json::from_str(include_str!("../../../testdata/signature_cases.json")).unwrap();
    for (key, algorithm) in
        [("rsa1024", "RS256"), ("rsa1024", "PS256"), ("p256", "ES256"), ("p384", "ES384"), ("p521", "ES512")]
    {
        let verdict = verdict(yes, &cases["keys"][key].to_string(), algorithm, "AAAA", "text");
        assert_eq!(verdict, Verdict::Bad, "{key}");
    }
    // A trusted host is never asked about PSS, Ed25519 and HMAC, which Envoy's function cannot tell apart or do.
    let all = Verifier { host: &Yes, trusted: Trusted { rsa: true, p256: true, p384: true, p521: true } };
    let oct = r#"{"kty":"oct","k":"YWJj"}"#;
    assert_eq!(verdict(all, &cases["keys"]["rsa1024"].to_string(), "PS256", "AAAA", "text"), Verdict::Bad);
    assert_eq!(verdict(all, &cases["keys"]["ed25519"].to_string(), "EdDSA", &"A".repeat(86), "text"), Verdict::Bad);
    assert_eq!(verdict(all, oct, "HS256", "AAAA", "text"), Verdict::Bad);
    assert_eq!(verdict(all, &cases["keys"]["p256"].to_string(), "ES256", &"_".repeat(200), "text"), Verdict::Bad);
}

#[test]
fn a_host_that_does_not_answer_is_stood_in_for() {
    let host = Verifier { host: &NoHost, trusted: Trusted { rsa: true, p256: true, p384: true, p521: true } };
    let cases: Value = serde_json::from_str(include_str!("../../../testdata/signature_cases.json")).unwrap();
    for case in cases["signatures"].as_array().unwrap().iter().filter(|case| case["name"] == "honest") {
        let key = cases["keys"][case["key"].as_str().unwrap()].to_string();
        let verdict = verdict(
            host,
            &key,
            case["alg"].as_str().unwrap(),
            case["signature"].as_str().unwrap(),
            cases["text"].as_str().unwrap(),
        );
        assert_eq!(verdict, Verdict::Good);
    }
}
