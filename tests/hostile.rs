//! Requests that no honest client sends, for plugins that look at headers.

use wasmplugin_host::test::{Engine, Failure, Proxy};

/// What is wrong with a request, and its header lines.
pub(crate) type Hostile = (&'static str, Vec<(String, Vec<u8>)>);

/// Ten thousand headers, a value of 1 MiB, bytes that are no text, a NUL and many more of the header that matters, each of them in
/// `header`, with which the plugin under test decides.
pub(crate) fn requests(header: &str) -> Vec<Hostile> {
    let line = |value: &[u8]| (header.to_owned(), value.to_vec());
    vec![
        ("10,000 headers", (0..10_000).map(|number| (format!("x-{number}"), b"v".to_vec())).collect()),
        ("10,000 lines", (0..10_000).map(|_| line(b"v")).collect()),
        ("1 MiB", vec![line(&vec![b'A'; 1 << 20])]),
        ("1 MiB with blanks", vec![line(&b"A ".repeat(1 << 19))]),
        ("no UTF-8", vec![line(b"Basic \xff\xfe\x80")]),
        ("NUL", vec![line(b"Basic b2s6dGV\0zdA==")]),
        ("nothing", vec![line(b"")]),
    ]
}

/// How a real Envoy answers what the plugin refuses with 401, or what never comes so far.
pub(crate) const REFUSED_EARLY: &[Option<u16>] = &[None, Some(400), Some(401), Some(431)];

/// Sends it; the status, or none where the proxy cut the connection. A real Envoy refuses some of it before any plugin.
pub(crate) fn send(proxy: &mut Proxy, (name, lines): &Hostile) -> Result<Option<u16>, String> {
    let real = proxy.engine() == Engine::Envoy;
    let request = proxy.get("/admin");
    let request = lines.iter().fold(request, |request, (name, value)| request.header(name, value.clone()));
    match request.send() {
        Ok(response) => Ok(Some(response.status())),
        Err(Failure::Hung(_)) => Err(format!("{name}: it hangs")),
        Err(_) if real => Ok(None),
        Err(failure) => Err(format!("{name}: {failure}")),
    }
}
