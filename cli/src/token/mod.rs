//! The verb `token`: keys, key sets and tokens to try request authentication with.

mod claims;
mod key;
mod span;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::{self, Format};
use claims::{Asked, Member};
use key::{Algorithm, Key};
use span::Span;

/// Make keys, key sets and tokens to try request authentication with.
///
/// Keys are private JSON Web Keys (RFC 7517) in files that only their owner can read. They are for tests: tokens for
/// anybody else come from an identity provider.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin token key --out key.jwk
  cargo wasmplugin token jwks key.jwk > jwks.json
  cargo wasmplugin token sign --key key.jwk --issuer https://idp.example.com --subject ada --audience shop
  cargo wasmplugin token show \"$TOKEN\"")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Key(KeyArguments),
    Jwks(JwksArguments),
    Sign(SignArguments),
    Show(ShowArguments),
}

/// Make a key, in a file that only its owner can read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin token key --out key.jwk
  cargo wasmplugin token key --alg RS256 --kid 2026-01 --out rsa.jwk
  cargo wasmplugin token key --alg EdDSA --out ed25519.jwk --output json")]
struct KeyArguments {
    /// What the key signs with.
    #[arg(long, value_enum, default_value_t, value_name = "ALG")]
    alg: Algorithm,
    /// The key's id; drawn by lot unless given.
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// Size of an RSA key's modulus.
    #[arg(long, default_value_t = 2048, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..=8192))]
    bits: u16,
    /// The file; it must not exist yet.
    #[arg(long, value_name = "FILE", default_value = "key.jwk")]
    out: PathBuf,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Print the key set that verifies what these keys sign: a rule's `jwks`, or what its `jwksUri` answers.
///
/// Of a key with two halves only the public one is printed. A key of HS256, HS384 or HS512 has one half, which verifies
/// and signs: who sees its set can make tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin token jwks key.jwk
  cargo wasmplugin token jwks old.jwk new.jwk > jwks.json")]
struct JwksArguments {
    /// Files that `token key` wrote.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<PathBuf>,
}

/// Print a token, signed with a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin token sign --key key.jwk --issuer https://idp.example.com --subject ada
  cargo wasmplugin token sign --key key.jwk --issuer idp --audience shop --scope 'read write' --expires-in 15m
  cargo wasmplugin token sign --key key.jwk --issuer idp --claim 'groups=[\"admin\"]' --claim level=3
  cargo wasmplugin token sign --key key.jwk --issuer idp --expires-in=-1h          one that has expired
  curl -H \"authorization: Bearer $(cargo wasmplugin token sign --key key.jwk --issuer idp)\" localhost:8080")]
struct SignArguments {
    /// A file that `token key` wrote.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who vouches for it: `iss`.
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// Who it is about: `sub`.
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// Who it is for: `aud`; may be given several times.
    #[arg(long = "audience", value_name = "AUD")]
    audiences: Vec<String>,
    /// What it allows, with blanks between: `scope`.
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// How long it holds, such as `90s`, `15m`, `1h` or `7d`; `-1h` has expired, `never` holds for ever.
    #[arg(long, value_name = "SPAN", default_value = "1h", allow_hyphen_values = true)]
    expires_in: Span,
    /// When it begins to hold; from now on unless given.
    #[arg(long, value_name = "SPAN", allow_hyphen_values = true)]
    valid_in: Option<Span>,
    /// Another claim, its value as JSON or plain text; may be given several times.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<Member>,
    /// A member of the token's header, over what the key says; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    header: Vec<Member>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Print what a token says. Nothing is verified: anybody can write such a token.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin token show \"$TOKEN\"
  pbpaste | cargo wasmplugin token show -
  cargo wasmplugin token show \"$TOKEN\" --output json")]
struct ShowArguments {
    /// The token; `-` reads it from the standard input.
    token: String,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Makes or shows what was asked for.
pub(crate) fn token(arguments: &Arguments) -> Result<Exit> {
    let text = match &arguments.what {
        What::Key(arguments) => make(arguments),
        What::Jwks(arguments) => jwks(arguments),
        What::Sign(arguments) => sign(arguments),
        What::Show(arguments) => show(arguments),
    }?;
    output::print(&text)?;
    Ok(Exit::Success)
}

fn make(arguments: &KeyArguments) -> Result<String> {
    let key = Key::generate(arguments.alg, arguments.kid.clone(), usize::from(arguments.bits))?;
    write_new(&arguments.out, &format!("{:#}\n", key.private_jwk()))?;
    let (kid, alg, path) = (key.id(), key.algorithm().name(), arguments.out.display().to_string());
    Ok(match arguments.output {
        Format::Text => format!("{path}: a key for {alg}, kid `{kid}`\n"),
        Format::Json => format!("{:#}\n", json!({"path": path, "alg": alg, "kid": kid})),
    })
}

fn jwks(arguments: &JwksArguments) -> Result<String> {
    let keys: Vec<_> = arguments.keys.iter().map(|path| Ok(read(path)?.public_jwk())).collect::<Result<_>>()?;
    Ok(format!("{:#}\n", json!({ "keys": keys })))
}

fn sign(arguments: &SignArguments) -> Result<String> {
    let key = read(&arguments.key)?;
    let asked = Asked {
        issuer: arguments.issuer.as_deref(),
        subject: arguments.subject.as_deref(),
        audiences: &arguments.audiences,
        scope: arguments.scope.as_deref(),
        expires_in: arguments.expires_in,
        valid_in: arguments.valid_in,
        members: &arguments.claims,
    };
    let claims = claims::claims(&asked, now()?);
    let header = claims::header(&key, &arguments.header);
    let token = key.token(&header, &claims)?;
    Ok(match arguments.output {
        Format::Text => format!("{token}\n"),
        Format::Json => format!("{:#}\n", json!({"token": token, "header": header, "claims": claims})),
    })
}

fn show(arguments: &ShowArguments) -> Result<String> {
    let mut text = arguments.token.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("cannot read a token from the standard input")?;
    }
    let sections: Vec<_> = text.trim().split('.').collect();
    let [header, payload, signature] = sections.as_slice() else {
        bail!("a token has three sections with dots between, this has {}", sections.len());
    };
    let (header, claims) = (section("header", header)?, section("payload", payload)?);
    Ok(match arguments.output {
        Format::Text => {
            format!("header: {header:#}\nclaims: {claims:#}\nsignature: {signature}\nnothing of it was verified\n")
        }
        Format::Json => format!("{:#}\n", json!({"header": header, "claims": claims, "signature": signature})),
    })
}

fn section(name: &str, text: &str) -> Result<Value> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| anyhow::anyhow!("the token's {name} is not base64url without padding"))?;
    serde_json::from_slice(&bytes).with_context(|| format!("the token's {name} is not JSON"))
}

fn now() -> Result<Duration> {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock stands before 1970")
}

fn read(path: &Path) -> Result<Key> {
    let text = std::fs::read(path).with_context(|| format!("cannot read the key `{}`", path.display()))?;
    Key::read(&text).with_context(|| format!("`{}` is no key that `token key` writes", path.display()))
}

/// Writes a secret into a file that did not exist, and that only its owner can read from the first byte on.
fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let hint = || match path.exists() {
        true => format!("`{}` exists; name another file with `--out`, or remove it", path.display()),
        false => format!("cannot write `{}`", path.display()),
    };
    let mut file = options.open(path).with_context(hint)?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))
}
