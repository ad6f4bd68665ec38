//! Calls the foreign function that the path names with the bytes of the body, and answers what the host did.

use std::rc::Rc;

use wasmplugin::signature::{Hash, Verifier};
use wasmplugin::{Done, Http, Reply, Request, Result, compression, foreign, sys};

struct Foreign;

impl Http for Foreign {
    async fn handle(self: Rc<Self>, request: Request) -> Result<Done> {
        let name = request.path()?.trim_start_matches('/').to_owned();
        if name.is_empty() {
            return request.pass();
        }
        let argument = match request.headers()?.get("x-argument") {
            Some(argument) => hex(argument.as_bytes()),
            None => Vec::new(),
        };
        if name == "typed" {
            return request.reply(Reply::new(200).body(typed()?));
        }
        let reply = match sys::call_foreign_function(&name, &argument) {
            Ok(bytes) => Reply::new(200).body(bytes),
            Err(error) => Reply::new(500).header("x-status", error.status.0.to_string()),
        };
        request.reply(reply)
    }
}

/// The same functions with types: what each answers, in a line.
fn typed() -> Result<String> {
    let verifier = Verifier::probe()?;
    let junk = verifier.verify(Hash::Sha384, b"junk", b"a", b"b")?;
    let back = compression::uncompress(&compression::compress(b"there and back")?)?;
    let not_zlib = compression::uncompress(b"junk").map_or_else(|error| error.to_string(), |_| String::new());
    let unknown = foreign::call("nope", b"").map_or_else(|error| error.to_string(), |_| String::new());
    Ok(format!("{junk} | {} | {not_zlib} | {unknown}", String::from_utf8_lossy(&back)))
}

/// The bytes that hexadecimal digits stand for; what is none ends them.
fn hex(digits: &[u8]) -> Vec<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.chunks_exact(2).map_while(|pair| Some(value(pair.first()?)? << 4 | value(pair.get(1)?)?));
    pairs.collect()
}

wasmplugin::plugin!(Foreign);
