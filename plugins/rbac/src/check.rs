//! The question to an external authorizer, and what comes of its answer.

use istio_core::rbac::external::{Authorizer, Headers, Verdict};
use wasmplugin::callout::Answer;
use wasmplugin::error::{CalloutError, CalloutErrorKind};
use wasmplugin::{Cluster, Error, Reply, Request, Result};

/// Asks the authorizer; a reply means no.
pub(crate) async fn ask(authorizer: &Authorizer, request: &mut Request) -> Result<Option<Reply>> {
    match send(authorizer, request).await? {
        Ok(answer) => {
            let headers: Vec<_> =
                answer.headers().iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            carry_out(authorizer.verdict(answer.status(), &headers), answer.body(), request)
        }
        Err(error) => {
            log::warn!("the external authorizer has not answered: {error}");
            carry_out(authorizer.unavailable(), &[], request)
        }
    }
}

/// The inner error is the authorizer's, the outer one is ours and refuses whatever `failOpen` says.
async fn send(authorizer: &Authorizer, request: &Request) -> Result<Result<Answer>> {
    let headers = request.headers()?;
    let lines: Vec<_> = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let line = |name: &str| headers.get(name).map(|value| value.as_bytes()).unwrap_or_default();
    let check = authorizer.check(line(":method"), line(":path"), line(":authority"), &lines);
    let (mut method, mut path, mut authority, mut others) = ("", "", "", Vec::new());
    for (name, value) in &check {
        match name.as_slice() {
            b":method" => method = text(value)?,
            b":path" => path = text(value)?,
            b":authority" => authority = text(value)?,
            name => others.push((text(name)?, value)),
        }
    }
    let mut callout = Cluster::named(authorizer.cluster())?.request(method, path);
    callout = callout.authority(authority).timeout(authorizer.timeout());
    for (name, value) in others {
        callout = callout.header(name, value);
    }
    match callout.send().await {
        // That is no failure of the authorizer, and a client can bring it about.
        Err(error @ CalloutError { kind: CalloutErrorKind::Invalid(_), .. }) => Err(error.into()),
        answer => Ok(answer.map_err(Error::from)),
    }
}

fn carry_out(verdict: Verdict, body: &[u8], request: &mut Request) -> Result<Option<Reply>> {
    match verdict {
        Verdict::Allowed { set } => set_all(request, &set).map(|()| None),
        Verdict::Denied { status, headers, with_body } => {
            let (body, details) = if with_body { (body, "ext_authz_denied") } else { (&[][..], "ext_authz_error") };
            let mut reply = Reply::new(status).body(body).details(details);
            for (name, value) in &headers {
                reply = reply.header(text(name)?, value);
            }
            Ok(Some(reply))
        }
    }
}

/// Puts the lines in the place of the request's own of the same names.
fn set_all(request: &mut Request, lines: &Headers) -> Result<()> {
    for (name, _) in lines {
        request.remove_header(text(name)?)?;
    }
    for (name, value) in lines {
        request.append_header(text(name)?, value)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| "the external authorizer cannot be asked about bytes that are not UTF-8".into())
}
