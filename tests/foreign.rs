//! Host functions by name answer on every engine what they answer in Envoy 1.40: expressions, signatures, compression.

use wasmplugin_host::test::Proxy;

use crate::engines::on_every_engine;

/// What a call answers: the bytes, or the status.
type Answered = Result<Vec<u8>, u32>;
/// The fields of a message by their numbers.
type Fields<'a> = &'a [(u8, &'a [u8])];
type Called = Result<Answered, Box<dyn std::error::Error>>;

/// Calls a function through the guest.
fn call(proxy: &mut Proxy, function: &str, argument: &[u8]) -> Called {
    let hex: String = argument.iter().map(|byte| format!("{byte:02x}")).collect();
    let answer = proxy.get(&format!("/{function}")).header("x-argument", hex).header("x-a", "1").send()?;
    Ok(match answer.header("x-status") {
        Some(status) => Err(status.parse()?),
        None => Ok(answer.body().to_vec()),
    })
}

/// Makes an expression, evaluates it and forgets it.
fn evaluated(proxy: &mut Proxy, text: &str) -> Called {
    let token = match call(proxy, "expr_create", text.as_bytes())? {
        Ok(token) => token,
        Err(status) => return Ok(Err(status)),
    };
    let value = call(proxy, "expr_evaluate", &token)?;
    assert_eq!(call(proxy, "expr_delete", &token)?, Ok(Vec::new()));
    assert_eq!(call(proxy, "expr_evaluate", &token)?, Err(1), "`{text}` is gone");
    assert_eq!(call(proxy, "expr_delete", &token)?, Ok(Vec::new()), "forgetting twice is no error");
    Ok(value)
}

/// A message of Protocol Buffers that has only fields of bytes.
fn message(fields: Fields<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    for (field, bytes) in fields {
        message.push(field << 3 | 2);
        let len = u16::try_from(bytes.len()).unwrap();
        message.extend([(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]);
        message.extend_from_slice(bytes);
    }
    message
}

fn verified(proxy: &mut Proxy, fields: Fields<'_>) -> Called {
    call(proxy, "verify_signature", &message(fields))
}

const RSA: &[u8] = include_bytes!("signatures/rsa.der");
const RSA_PEM: &[u8] = include_bytes!("signatures/rsa.pem");
const RSA_SIGNATURE: &[u8] = include_bytes!("signatures/rsa.sha256");
const TRUE: &[u8] = &[8, 1];
const WRONG: &[u8] = b"\x12\x26Failed to verify digest. Error code: 0";
const NO_KEY: &[u8] = b"\x12\x23Failed to initialize digest verify.";

on_every_engine! { foreign as "foreign";
    fn an_unknown_function_is_not_found(proxy) {
        let mut proxy = proxy.start()?;
        assert_eq!(call(&mut proxy, "nope", b"")?, Err(1));
        Ok(())
    }

    fn expressions_see_the_attributes_and_have_their_encoding(proxy) {
        let mut proxy = proxy.start()?;
        let one = &1u64.to_le_bytes()[..];
        let second = &1_000_000_000u64.to_le_bytes()[..];
        let values: &[(&str, Result<&[u8], u32>)] = &[
            ("1", Ok(one)),
            ("1u", Ok(one)),
            ("1.5", Ok(b"\0\0\0\0\0\0\xf8\x3f")),
            ("true", Ok(b"\x01")),
            (r#""a" + "b""#, Ok(b"ab")),
            (r#"b"ab""#, Ok(b"ab")),
            ("null", Err(3)),
            ("filter_state", Err(3)),
            ("request", Err(3)),
            (r#"["a"]"#, Ok(b"\x01\0\0\0\x01\0\0\0\0\0\0\0a\0\0")),
            (r#"{"a": "b"}"#, Ok(b"\x01\0\0\0\x01\0\0\0\x01\0\0\0a\0b\0")),
            (r#"timestamp("1970-01-01T00:00:01Z")"#, Ok(second)),
            (r#"duration("1s")"#, Ok(second)),
            ("request.path", Ok(b"/expr_evaluate")),
            ("request.url_path", Ok(b"/expr_evaluate")),
            ("request.query", Ok(b"")),
            ("request.method == 'GET'", Ok(b"\x01")),
            ("request.protocol", Ok(b"HTTP/1.1")),
            (r#"request.headers["x-a"]"#, Ok(b"1")),
            (r#"request.headers["nope"]"#, Err(10)),
            (r#"request.headers["x-a"].size()"#, Ok(one)),
            ("has(request.headers.nope)", Ok(b"\0")),
            (r#"has(request.headers["nope"])"#, Err(2)),
            (r#""nope" in request.headers"#, Ok(b"\0")),
            (r#""x-a" in request.headers"#, Ok(b"\x01")),
            ("size(request.headers) > 3", Ok(b"\x01")),
            (r#"request.path.startsWith("/expr")"#, Ok(b"\x01")),
            (r#"request.path.matches("^/expr_.*$")"#, Ok(b"\x01")),
            (r#"request.path.contains("x") || nope"#, Ok(b"\x01")),
            ("nope || true", Ok(b"\x01")),
            ("nope", Err(10)),
            ("request.nope", Err(10)),
            ("response.code", Err(10)),
            ("upstream.address", Err(10)),
            ("request.duration", Err(10)),
            ("request.size", Ok(&[0; 8])),
            ("connection.mtls", Ok(b"\0")),
            ("1/0", Err(10)),
            ("1 == 1u", Ok(b"\x01")),
            ("1 < 2u", Ok(b"\x01")),
            ("dyn(1)", Ok(one)),
            ("string(1)", Ok(b"1")),
            (r#"int("5") == 5"#, Ok(b"\x01")),
            ("[1, 2].exists(x, x > 1)", Ok(b"\x01")),
            ("'\u{e9}'.size()", Ok(one)),
            ("1 +", Err(2)),
            ("", Err(2)),
            (r#"request.host.split(".")"#, Err(2)),
            ("request.path.lowerAscii()", Err(2)),
        ];
        for (text, value) in values {
            assert_eq!(evaluated(&mut proxy, text)?, value.map(<[u8]>::to_vec), "`{text}`");
        }
        Ok(())
    }

    fn tokens_of_expressions_count_up_and_bad_ones_are_told(proxy) {
        let mut proxy = proxy.start()?;
        // The second one does not parse and takes no token, the third calls what is not there and takes one.
        let texts = ["1", "1 +", "'a'.split('b')", "2"];
        let mut tokens = Vec::new();
        for text in texts {
            tokens.push(call(&mut proxy, "expr_create", text.as_bytes())?);
        }
        assert_eq!(tokens, [Ok(vec![0, 0, 0, 0]), Err(2), Err(2), Ok(vec![2, 0, 0, 0])]);
        for (function, token, status) in [("expr_evaluate", &b"abc"[..], 2), ("expr_evaluate", &[9, 0, 0, 0], 1), ("expr_delete", b"a", 2)] {
            assert_eq!(call(&mut proxy, function, token)?, Err(status));
        }
        Ok(())
    }

    fn signatures_of_rsa_and_of_elliptic_curves_are_checked(proxy) {
        let mut proxy = proxy.start()?;
        let keys: [(&[u8], &[u8], &[u8]); 4] = [
            (b"sha256", RSA, RSA_SIGNATURE),
            (b"sha256", include_bytes!("signatures/p256.der"), include_bytes!("signatures/p256.sha256")),
            (b"sha384", include_bytes!("signatures/p384.der"), include_bytes!("signatures/p384.sha384")),
            (b"sha512", include_bytes!("signatures/p521.der"), include_bytes!("signatures/p521.sha512")),
        ];
        for (hash, key, signature) in keys {
            let text: &[u8] = b"wasmplugin";
            assert_eq!(verified(&mut proxy, &[(1, hash), (2, key), (3, signature), (4, text)])?, Ok(TRUE.into()));
            for forged in [&b"wasmplugon"[..], b"", b"wasmplugin "] {
                assert_eq!(verified(&mut proxy, &[(1, hash), (2, key), (3, signature), (4, forged)])?, Ok(WRONG.into()));
            }
            assert_eq!(verified(&mut proxy, &[(1, hash), (2, key), (3, b""), (4, text)])?, Ok(WRONG.into()));
        }
        Ok(())
    }

    fn what_cannot_be_checked_is_told_in_the_words_of_envoy(proxy) {
        let mut proxy = proxy.start()?;
        let (signature, text): (&[u8], &[u8]) = (RSA_SIGNATURE, b"wasmplugin");
        let unsupported = |name: &str| {
            let error = format!("{name} is not supported.");
            Ok([&[0x12, u8::try_from(error.len()).unwrap()][..], error.as_bytes()].concat())
        };
        let cases: [(Fields<'_>, Answered); 10] = [
            (&[(1, b"SHA256"), (2, RSA), (3, signature), (4, text)], Ok(TRUE.into())),
            (&[(1, b"sha256"), (3, signature), (4, text), (5, RSA_PEM)], Ok(TRUE.into())),
            (&[(1, b"sha256"), (2, RSA), (3, signature), (4, text), (9, b"unknown")], Ok(TRUE.into())),
            (&[(1, b"sha-256"), (2, RSA), (3, signature), (4, text)], unsupported("sha-256")),
            (&[(1, b""), (2, RSA), (3, signature), (4, text)], unsupported("")),
            (&[(1, b"sha256"), (2, RSA_PEM), (3, signature), (4, text)], Ok(NO_KEY.into())),
            (&[(1, b"sha256"), (2, b"junk"), (3, signature), (4, text)], Ok(NO_KEY.into())),
            (&[(1, b"sha256"), (2, include_bytes!("signatures/ed25519.der")), (3, signature), (4, text)], Ok(NO_KEY.into())),
            (&[(1, b"sha256"), (2, RSA), (3, signature), (4, text), (5, RSA_PEM)], Err(2)),
            (&[(1, b"sha256"), (3, signature), (4, text)], Err(2)),
        ];
        for (fields, answered) in cases {
            assert_eq!(verified(&mut proxy, fields)?, answered);
        }
        assert_eq!(call(&mut proxy, "verify_signature", b"")?, Err(2));
        assert_eq!(call(&mut proxy, "verify_signature", b"\xff")?, Err(2));
        Ok(())
    }

    fn typed_functions_prove_the_host_and_name_what_is_wrong(proxy) {
        let mut proxy = proxy.start()?;
        let text = "false | there and back | malformed: the bytes are not a whole zlib stream | \
                    the host has no foreign function `nope`; the plugin needs one that does, such as Envoy";
        assert_eq!(proxy.get("/typed").send()?.text(), text);
        Ok(())
    }

    fn what_was_compressed_comes_back_and_bad_streams_are_refused(proxy) {
        let mut proxy = proxy.start()?;
        for data in [&b""[..], b"hello hello hello"] {
            let stream = call(&mut proxy, "compress", data)?.unwrap();
            assert_eq!(call(&mut proxy, "uncompress", &stream)?, Ok(data.to_vec()));
            assert_eq!(call(&mut proxy, "uncompress", &[&stream, &b"more"[..]].concat())?, Ok(data.to_vec()));
            assert_eq!(call(&mut proxy, "uncompress", &stream[..stream.len() - 3])?, Err(3));
        }
        for stream in [&b""[..], b"junk"] {
            assert_eq!(call(&mut proxy, "uncompress", stream)?, Err(3));
        }
        Ok(())
    }
}
