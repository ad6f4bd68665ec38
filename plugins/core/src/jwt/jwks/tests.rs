//! Key sets, judged as Envoy 1.40 judged the same texts (measured with `envoy --mode validate`).

use serde_json::{Value, json};

use super::super::fixtures::url;
use super::*;

const N: &str = "xhZLDCyVptb4WcKjQktghGG-RQVq9aMtZsJfkeJ7AuRQrBbPZKLv5G3eQg0tkbHU2aObCU_0rQBmTt_ECS8WySTHlPon0NRk2rYa4Vxs3_taulh51G2I2xE5DlniELom_p_WgroFvP2_tNcPD1CXVqvpC_nlFHGckEaW93iPos6J8NAMKE8MZ7XTQEc9UmodTn7SWoI2_wXKmyqbs6VmHu0LMK3xSC8rysGfZq2a_kOz-mmxOgCXZCj0xXBiCtpPbGnvROkf1SFLCBDaDWpljrad3Qp-hdemzyw5U5aZh2vl7JgDHtwbOQB-02jJcqJxPyIUV0fdruvn1oVAg4hzHQ";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn judged(set: &str) -> Result<usize, String> {
    KeySet::parse(set.as_bytes()).map(|set| set.keys.len()).map_err(|error| error.to_string())
}

/// A key with members changed, added, or, where they are null, left out.
fn judged_key(mut key: Value, changes: Value) -> Result<(), String> {
    let members = key.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    judged(&json!({ "keys": [key] }).to_string()).map(|_| ())
}

#[test]
fn rsa_keys_are_judged_as_envoy_does() {
    const PARSE: &str = "Jwks RSA [n] or [e] field is missing or has a parse error";
    let key = || json!({"kty": "RSA", "n": N, "e": "AQAB"});
    for good in [
        json!({}),
        json!({"alg": 1, "kid": 1}),
        json!({"alg": "RS"}),
        json!({"alg": "RSX"}),
        json!({"alg": "PS512"}),
        json!({"use": "enc", "key_ops": ["sign"], "d": "x"}),
        json!({"n": format!("{N}==")}),
        json!({"n": N.replacen('-', "-\n", 3)}),
        json!({"n": format!("AAAA{N}")}),
        json!({"e": "AAEAAQ"}),
        json!({"e": "Aw"}),
    ] {
        assert_eq!(judged_key(key(), good.clone()), Ok(()), "{good}");
    }
    for (bad, error) in [
        (json!({"alg": "ES256"}), "[alg] is not started with [RS] or [PS] for an RSA key"),
        (json!({"n": null}), "[n] field is missing for a RSA key"),
        (json!({"n": 1}), "[n] field is not string for a RSA key"),
        (json!({"e": null}), "[e] field is missing for a RSA key"),
        (json!({"e": 1}), "[e] field is not string for a RSA key"),
        (json!({"n": format!("{N}=")}), PARSE),
        (json!({"n": N.replace('-', "+")}), PARSE),
        (json!({"n": ""}), PARSE),
        (json!({"e": ""}), PARSE),
        (json!({"e": "EQ"}), PARSE),
        (json!({"e": "AQ"}), PARSE),
        (json!({"n": url(&[0xff; 127])}), PARSE),
        (json!({"n": url(&[0xff; 1025])}), PARSE),
        (json!({"n": url(&[0xfe; 256])}), PARSE),
    ] {
        assert_eq!(judged_key(key(), bad.clone()), Err(error.to_owned()), "{bad}");
    }
    assert_eq!(judged_key(key(), json!({"n": url(&[0xff; 128])})), Ok(()));
    assert_eq!(judged_key(key(), json!({"n": url(&[0xff; 1024])})), Ok(()));
}

#[test]
fn ec_keys_are_judged_as_envoy_does() {
    const PARSE: &str = "Jwks EC [x] and [y] fields have a parse error.";
    const CURVE: &str = "[crv] field specified is not compatible with [alg] for an EC key";
    let key = || json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y});
    for good in
        [json!({}), json!({"crv": null}), json!({"crv": ""}), json!({"alg": "ES256"}), json!({"x": format!("AAAA{X}")})]
    {
        assert_eq!(judged_key(key(), good.clone()), Ok(()), "{good}");
    }
    for (bad, error) in [
        (json!({"crv": 1}), "[crv] field is not string for an EC key"),
        (json!({"crv": null, "alg": "ES512"}), PARSE),
        (json!({"crv": "secp256k1"}), "[crv] or [alg] field is not supported for an EC key"),
        (json!({"alg": "RS256"}), "[alg] is not started with [ES] for an EC key"),
        (json!({"crv": null, "alg": "HS256"}), "[alg] is not started with [ES] for an EC key"),
        (json!({"alg": "ES384"}), CURVE),
        (json!({"crv": "P-384"}), PARSE),
        (json!({"x": null}), "[x] field is missing for an EC key"),
        (json!({"x": 1}), "[x] field is not string for an EC key"),
        (json!({"y": null}), "[y] field is missing for an EC key"),
        (json!({"y": 1}), "[y] field is not string for an EC key"),
        (json!({"x": "!"}), "Jwks EC [x] or [y] field is an invalid Base64."),
        (json!({"x": ""}), PARSE),
        (json!({"y": X}), PARSE),
        (json!({"x": url(&[0xff; 33])}), PARSE),
    ] {
        assert_eq!(judged_key(key(), bad.clone()), Err(error.to_owned()), "{bad}");
    }
}

#[test]
fn octet_keys_are_judged_as_envoy_does() {
    let oct = || json!({"kty": "oct", "k": "YWJj"});
    for good in [json!({}), json!({"alg": "HS512"}), json!({"k": "YQ=="})] {
        assert_eq!(judged_key(oct(), good.clone()), Ok(()), "{good}");
    }
    for (bad, error) in [
        (json!({"k": null}), "[k] field is missing for an HMAC key"),
        (json!({"k": 1}), "[k] field is not string for an HMAC key"),
        (json!({"k": "!"}), "Jwks Oct key is an invalid Base64"),
        (json!({"k": ""}), "Jwks Oct key is an invalid Base64"),
        (json!({"alg": "RS256"}), "[alg] does not start with [HS] for an HMAC key"),
        (json!({"alg": "HSx"}), "[alg] does not start with [HS] for an HMAC key"),
    ] {
        assert_eq!(judged_key(oct(), bad.clone()), Err(error.to_owned()), "{bad}");
    }
}

#[test]
fn octet_key_pairs_are_judged_as_envoy_does() {
    let okp = || json!({"kty": "OKP", "crv": "Ed25519", "x": url(&[0; 32])});
    for good in [json!({}), json!({"alg": "EdDSA"})] {
        assert_eq!(judged_key(okp(), good.clone()), Ok(()), "{good}");
    }
    for (bad, error) in [
        (json!({"crv": null}), "[crv] field is missing for an OKP key"),
        (json!({"crv": 1}), "[crv] field is not string for an OKP key"),
        (json!({"crv": "X25519"}), "[crv] field is not supported for an OKP key"),
        (json!({"alg": "ES256"}), "[alg] is not [EdDSA] for an OKP key"),
        (json!({"x": null}), "[x] field is missing for an OKP key"),
        (json!({"x": 1}), "[x] field is not string for an OKP key"),
        (json!({"x": "!"}), "Jwks OKP [x] field is an invalid Base64."),
        (json!({"x": "YWJj"}), "Jwks OKP [x] field is wrong length."),
    ] {
        assert_eq!(judged_key(okp(), bad.clone()), Err(error.to_owned()), "{bad}");
    }
}

#[test]
fn sets_are_judged_as_envoy_does() {
    for (set, expected) in [
        ("not json", Err("Jwks is an invalid JSON")),
        ("", Err("Jwks is an invalid JSON")),
        ("[]", Err("Jwks is an invalid JSON")),
        ("\u{feff}{\"keys\":[]}", Err("Jwks is an invalid JSON")),
        (r#"{"keys":[],"keys":[{"kty":"oct","k":"YWJj"}]}"#, Err("Jwks is an invalid JSON")),
        (r#"{"keys":[{"kty":"oct","k":"YWJj","k":"YWJj"}]}"#, Err("Jwks is an invalid JSON")),
        ("null", Err("Jwks does not have [keys] field")),
        ("{}", Err("Jwks does not have [keys] field")),
        (r#"{"a":"b"}"#, Err("Jwks does not have [keys] field")),
        (r#"{"keys":null}"#, Err("[keys] in Jwks is not an array")),
        (r#"{"keys":{}}"#, Err("[keys] in Jwks is not an array")),
        (r#"{"keys":[]}"#, Err("Jwks doesn't have any valid public key")),
        (r#"{"keys":[1]}"#, Err("Jwks doesn't have any valid public key")),
        (r#"{"keys":[{}]}"#, Err("[kty] is missing in [keys]")),
        (r#"{"keys":[{"kty":1}]}"#, Err("[kty] is bad in [keys]")),
        (r#"{"keys":[{"kty":"rsa"}]}"#, Err("[kty] is not supported in [keys]")),
        (r#"{"keys":[{"kty":"XYZ"},{"kty":"RSA"}]}"#, Err("[kty] is not supported in [keys]")),
        (r#"{"keys":[{"kty":"XYZ"},1,{"kty":"oct","k":"YWJj"},{"kty":"oct","k":"YWJj"}]}"#, Ok(2)),
    ] {
        assert_eq!(judged(set), expected.map_err(str::to_owned), "{set}");
    }
}

#[test]
fn a_map_of_certificates_is_a_set_or_nothing() {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----\n";
    const END: &str = "\n-----END CERTIFICATE-----\n";
    let pem = |der: &[u8]| format!("{BEGIN}{}{END}", super::base64::encode_standard(der));
    let rsa = pem(include_bytes!("../../../testdata/rsa_certificate.der"));
    let ec = pem(include_bytes!("../../../testdata/ec_certificate.der"));
    for good in [json!({"a": rsa}), json!({"a": rsa, "b": rsa}), json!({"a": format!("{rsa}{rsa}")})] {
        assert_eq!(judged(&good.to_string()), Ok(good.as_object().unwrap().len()));
    }
    const NO_KEYS: &str = "Jwks does not have [keys] field";
    for (bad, error) in [
        (json!({"a": rsa, "b": "nope"}), NO_KEYS),
        (json!({"a": rsa, "b": 1}), NO_KEYS),
        (json!({"a": rsa.trim_end()}), NO_KEYS),
        (json!({"a": format!("\n{rsa}")}), NO_KEYS),
        (json!({"a": rsa.replace('\n', "\r\n")}), NO_KEYS),
        (json!({"a": rsa, "b": ec}), "X509 parse pubkey internal fails: get pubkey"),
        (json!({"a": rsa.replacen('M', "!", 1)}), "X509 parse pubkey fails"),
        (json!({"a": format!("{BEGIN}AAAA{END}")}), "X509 parse pubkey internal fails: get pubkey"),
    ] {
        assert_eq!(judged(&bad.to_string()), Err(error.to_owned()), "{bad}");
    }
}

#[test]
fn keys_fit_by_id_and_algorithm_where_both_sides_name_one() {
    let set = r#"{"keys":[{"kty":"oct","k":"YQ","kid":"a","alg":"HS256"},{"kty":"oct","k":"Yg","kid":"b"},{"kty":"oct","k":"Yw"},{"kty":"oct","k":"Yw","kid":7}]}"#;
    let set = KeySet::parse(set.as_bytes()).unwrap();
    let fitting = |id, algorithm| set.fitting(id, algorithm).map(|key| key.id.as_str()).collect::<Vec<_>>();
    assert_eq!(fitting("", "HS256"), ["a", "b", "", ""]);
    assert_eq!(fitting("a", "HS256"), ["a", "", ""]);
    assert_eq!(fitting("a", "HS384"), ["", ""]);
    assert_eq!(fitting("A", "HS256"), ["", ""]);
    assert!(set.knows("z"), "a key without an id may be anybody's");
    let named = KeySet::parse(br#"{"keys":[{"kty":"oct","k":"YQ","kid":"a"}]}"#).unwrap();
    assert!(named.knows("a") && named.knows("") && !named.knows("z"));
}
