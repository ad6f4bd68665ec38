//! What one request left behind: the answer, and what the application saw. Everything that is printed is told from this.

use wasmplugin_host::test::Request;

use super::counters::Counters;
use super::story::Scene;
use crate::client::Response;

/// A module that the request did not reach.
const NOTHING: &str = "-";

/// Who the application must be told that the caller's proxy is.
pub(super) const CLIENT: &str = "spiffe://cluster.local/ns/shop/sa/browser";
/// Who its own proxy is.
pub(super) const SERVER: &str = "spiffe://cluster.local/ns/shop/sa/orders";

/// The traces of one exchange.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What the client got; otherwise why it got nothing.
    pub(super) answer: Result<Response, String>,
    /// What the application saw.
    pub(super) seen: Vec<Request>,
    /// What the modules before the application have counted meanwhile.
    pub(super) counted: Counters,
}

impl Evidence {
    /// The status for the table.
    pub(super) fn status(&self) -> String {
        self.answer.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string())
    }

    /// What the `jwt` module did, by its own count; whom it has admitted is what the application is told.
    pub(super) fn jwt(&self, scene: &Scene) -> String {
        let user = self.seen.first().and_then(|request| request.header("x-user"));
        match (self.counted.of("jwt_authn_allowed"), self.counted.of("jwt_authn_denied")) {
            (0, 0) => NOTHING.to_owned(),
            (0, 1) => "refuses".to_owned(),
            (1, 0) if scene.token.is_none() => "no token".to_owned(),
            (1, 0) => user.map_or_else(|| "admits".to_owned(), |user| format!("admits {user}")),
            (allowed, denied) => format!("admits {allowed}, refuses {denied}"),
        }
    }

    /// What the `rbac` module did, by its own count.
    pub(super) fn rbac(&self) -> String {
        match (self.counted.of("rbac_allowed"), self.counted.of("rbac_denied")) {
            (0, 0) => NOTHING.to_owned(),
            (1, 0) => "allows".to_owned(),
            (0, 1) => "denies".to_owned(),
            (allowed, denied) => format!("allows {allowed}, denies {denied}"),
        }
    }

    /// What the `hello` plugin did.
    pub(super) fn hello(&self) -> &'static str {
        let said = self.answer.as_ref().ok().and_then(|answer| answer.header("x-hello"));
        if said == Some("wasm") { "adds x-hello" } else { NOTHING }
    }

    /// Everything that is not as it must be, one sentence each.
    pub(super) fn differences(&self, scene: &Scene) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &str, found: &str| {
            if expected != found {
                differences.push(format!("{what} must be `{}`, but is `{}`", brief(expected), brief(found)));
            }
        };
        let status = scene.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        compare("the status", &status, &self.status());
        if let (Ok(answer), false) = (&self.answer, scene.body.is_empty()) {
            compare("the body", scene.body, &answer.text());
        }
        compare("what `jwt` does", scene.jwt, &self.jwt(scene));
        compare("what `rbac` does", scene.rbac, &self.rbac());
        let times = if scene.arrives() { "1" } else { "0" };
        compare("the number of requests at the application", times, &self.seen.len().to_string());
        // Whoever is refused before it never meets it, on neither way.
        let expected = if scene.arrives() { "adds x-hello" } else { NOTHING };
        compare("what `hello` does", expected, self.hello());
        if let Some(request) = self.seen.first() {
            compare(
                "`x-user` at the application",
                scene.user.unwrap_or("absent"),
                request.header("x-user").unwrap_or("absent"),
            );
            compare("the token at the application", "absent", request.header("authorization").unwrap_or("absent"));
            let certificate = request.header("x-forwarded-client-cert").unwrap_or_default();
            let (by, uri) = (field(certificate, "By"), field(certificate, "URI"));
            compare("the caller's identity at the application", CLIENT, uri);
            compare("its own", SERVER, by);
        }
        differences
    }
}

/// A field of `x-forwarded-client-cert`.
fn field<'a>(certificate: &'a str, name: &str) -> &'a str {
    let fields = certificate.split(';').filter_map(|field| field.split_once('='));
    fields.filter(|(have, _)| *have == name).map(|(_, value)| value).next().unwrap_or("absent")
}

/// Enough of a text to see what is wrong.
pub(super) fn brief(text: &str) -> String {
    const ENOUGH: usize = 110;
    let shown = text.trim_end().replace('\n', "⏎");
    if shown.chars().count() <= ENOUGH { shown } else { shown.chars().take(ENOUGH).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::Headers;

    use super::super::story::scenes;
    use super::*;

    /// What a perfect mesh leaves behind.
    fn perfect(scene: &Scene) -> Evidence {
        let Some(status) = scene.status else {
            let answer = Err("no connection".to_owned());
            return Evidence { answer, seen: Vec::new(), counted: Counters::default() };
        };
        let hello = scene.arrives().then(|| ("x-hello".to_owned(), "wasm".to_owned()));
        let headers = hello.into_iter().collect();
        let answer = Response { status, headers, body: scene.body.into(), trailers: Vec::new() };
        let mut request = Headers::new();
        request.add("x-forwarded-client-cert", format!("By={SERVER};Hash=00;Subject=\"\";URI={CLIENT}"));
        if let Some(user) = scene.user {
            request.add("x-user", user);
        }
        let seen = if scene.arrives() { vec![Request::new(request, "", Headers::new())] } else { Vec::new() };
        let counted = Counters::read(match status {
            200 => "jwt_authn_allowed{} 1\nrbac_allowed{} 1",
            401 => "jwt_authn_denied{} 1",
            _ => "jwt_authn_allowed{} 1\nrbac_denied{} 1",
        });
        Evidence { answer: Ok(answer), seen, counted }
    }

    #[test]
    fn a_perfect_mesh_leaves_no_differences() {
        for scene in scenes() {
            assert_eq!(perfect(&scene).differences(&scene), [""; 0], "{} {}", scene.path, scene.remark);
        }
    }

    #[test]
    fn whatever_is_wrong_is_told() {
        let scene = scenes().into_iter().find(|scene| scene.user.is_some()).unwrap();
        let wrong: [fn(&mut Evidence); 6] = [
            |evidence| evidence.answer = Err("no connection".to_owned()),
            |evidence| evidence.answer.as_mut().unwrap().status = 500,
            |evidence| evidence.answer.as_mut().unwrap().headers.clear(),
            |evidence| evidence.seen.clear(),
            |evidence| evidence.seen.push(Request::default()),
            |evidence| evidence.counted = Counters::default(),
        ];
        for spoil in wrong {
            let mut evidence = perfect(&scene);
            spoil(&mut evidence);
            assert!(!evidence.differences(&scene).is_empty());
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(brief("a\nb\n"), "a⏎b");
        assert_eq!(brief(&"é".repeat(200)).chars().count(), 111);
    }
}
