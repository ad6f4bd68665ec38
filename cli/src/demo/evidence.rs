//! What one request left behind: the answer, and what the servers saw. Everything that is printed is told from this.

use super::services::{PROFILE, QUOTA, Seen};
use super::story::Scene;
use crate::client::Response;

/// A plugin that the exchange did not reach, or that had nothing to do.
const NOTHING: &str = "-";

/// The traces of one exchange.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What the client got; otherwise why it got nothing.
    pub(super) answer: Result<Response, String>,
    /// What the servers saw meanwhile.
    pub(super) seen: Seen,
}

impl Evidence {
    /// The status for the table.
    pub(super) fn status(&self) -> String {
        self.answer.as_ref().map_or_else(|_| "none".to_owned(), |answer| answer.status.to_string())
    }

    /// What that plugin did.
    pub(super) fn deed(&self, plugin: &str) -> String {
        match plugin {
            "external-auth" => self.external_auth(),
            "two-callouts" => self.two_callouts(),
            "rewrite-json" => self.rewrite_json(),
            "stream-upper" => self.stream_upper(),
            "hello" => self.hello(),
            other => format!("`{other}` is not known"),
        }
    }

    /// Everything that is not as it must be, one sentence each.
    pub(super) fn differences(&self, scene: &Scene) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &str, found: &str| {
            if expected != found {
                differences.push(format!("{what} must be `{}`, but is `{}`", brief(expected), brief(found)));
            }
        };
        match &self.answer {
            Err(reason) => compare("the answer", &scene.status.to_string(), reason),
            Ok(answer) => {
                compare("the status", &scene.status.to_string(), &answer.status.to_string());
                compare("the body", &scene.body, &answer.text());
                let length = answer.body.len().to_string();
                compare("`content-length`", &length, answer.header("content-length").unwrap_or(&length));
                let signed = if scene.arrives.is_some() { "wasm" } else { "absent" };
                compare("`x-hello`", signed, answer.header("x-hello").unwrap_or("absent"));
            }
        }
        compare(
            "the number of requests at the upstream",
            count(scene.arrives.is_some()),
            &self.seen.upstream.len().to_string(),
        );
        compare("the number of requests there before the verdict", "0", &self.seen.too_early.to_string());
        for check in &self.seen.auth {
            compare("the path that the auth service is asked about", scene.path, check.path());
        }
        if let (Some((user, quota)), Some(request)) = (scene.arrives, self.seen.upstream.first()) {
            compare("the method at the upstream", scene.method, request.method());
            compare("the path at the upstream", scene.path, request.path());
            compare("`x-user` at the upstream", user, &request.headers().all("x-user").join(", "));
            compare(
                "`x-quota` at the upstream",
                quota.unwrap_or("absent"),
                request.header("x-quota").unwrap_or("absent"),
            );
            if request.body() != scene.body_sent() {
                let came = request.body().len();
                differences.push(format!(
                    "the upstream must see the {} bytes that were sent, but saw {came} others",
                    scene.bytes
                ));
            }
        }
        for (plugin, expected) in scene.which.plugins().iter().zip(scene.deeds) {
            let found = self.deed(plugin);
            if found != *expected {
                differences.push(format!("`{plugin}` must be seen to do `{expected}`, but did `{found}`"));
            }
        }
        differences
    }

    fn external_auth(&self) -> String {
        match (self.seen.upstream.first(), self.seen.two_callouts(), self.answer_status()) {
            (Some(request), false, _) => format!("admits {}", request.header("x-user").unwrap_or("nobody")),
            // Where two services were asked as well, their word on the user stands in the place of this plugin's.
            (_, true, _) => format!("admits {}", self.admitted()),
            (None, false, Some(403)) => "denies: 403".to_owned(),
            (None, false, Some(status)) => format!("no verdict: {status}"),
            (None, false, None) => NOTHING.to_owned(),
        }
    }

    /// Whose token the auth service accepted.
    fn admitted(&self) -> &str {
        let token = self.seen.auth.first().and_then(|request| request.header("authorization"));
        token.and_then(|token| token.strip_prefix("Bearer ")).unwrap_or("nobody")
    }

    fn two_callouts(&self) -> String {
        let asked = self.seen.two_callouts();
        let Some(request) = self.seen.upstream.first() else {
            return match self.answer_status() {
                Some(status) if asked => format!("gives up: {status}"),
                _ => NOTHING.to_owned(),
            };
        };
        match (asked, request.header("x-user"), request.header("x-quota")) {
            (false, ..) => NOTHING.to_owned(),
            (true, Some(PROFILE), Some(QUOTA)) => "adds user, quota".to_owned(),
            (true, _, None) => "goes on without".to_owned(),
            (true, user, quota) => format!("adds {user:?}, {quota:?}"),
        }
    }

    fn rewrite_json(&self) -> String {
        let Some((sent, got)) = self.bodies() else { return NOTHING.to_owned() };
        let object = |text: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok();
        match (object(sent), object(&got)) {
            (None, _) if sent == got => "leaves text alone".to_owned(),
            (Some(mut sent), Some(got)) => {
                sent.insert("seen".to_owned(), true.into());
                (if sent == got { "marks the object" } else { "changes the object" }).to_owned()
            }
            _ => "breaks the body".to_owned(),
        }
    }

    fn stream_upper(&self) -> String {
        let Some((sent, got)) = self.bodies() else { return NOTHING.to_owned() };
        (if got == sent.to_ascii_uppercase() { "shouts" } else { "changes the text" }).to_owned()
    }

    fn hello(&self) -> String {
        let said = self.answer.as_ref().ok().and_then(|answer| answer.header("x-hello"));
        (if said == Some("wasm") { "adds x-hello" } else { NOTHING }).to_owned()
    }

    /// What the upstream sent and what the client got, where that is the upstream's answer.
    fn bodies(&self) -> Option<(&str, String)> {
        let answer = self.answer.as_ref().ok()?;
        Some((self.seen.sent.as_deref()?, answer.text()))
    }

    fn answer_status(&self) -> Option<u16> {
        self.answer.as_ref().ok().map(|answer| answer.status)
    }
}

impl Seen {
    /// Whether the user and the quota service were asked.
    fn two_callouts(&self) -> bool {
        !self.user.is_empty() || !self.quota.is_empty()
    }
}

fn count(one: bool) -> &'static str {
    if one { "1" } else { "0" }
}

/// Enough of a text to see what is wrong.
pub(super) fn brief(text: &str) -> String {
    const ENOUGH: usize = 110;
    let shown = text.trim_end().replace('\n', "⏎");
    if shown.chars().count() <= ENOUGH { shown } else { shown.chars().take(ENOUGH).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use wasmplugin_host::test::{Headers, Request};

    use super::super::services;
    use super::super::story::scenes;
    use super::*;

    /// What a perfect proxy leaves behind.
    fn perfect(scene: &Scene) -> Evidence {
        let mut seen = Seen::default();
        let token = scene.token.unwrap_or_default();
        seen.auth.push(Request::new(
            [(":path", scene.path), ("authorization", token)].into_iter().collect(),
            "",
            Headers::new(),
        ));
        let mut answer =
            Response { status: scene.status, body: scene.body.clone().into_bytes(), ..Response::default() };
        if let Some((user, quota)) = scene.arrives {
            let mut headers: Headers =
                [(":method", scene.method), (":path", scene.path), ("x-user", user)].into_iter().collect();
            if let Some(quota) = quota {
                headers.add("x-quota", quota);
            }
            let request = Request::new(headers, scene.body_sent(), Headers::new());
            seen.sent = Some(services::upstream(&request).1);
            seen.upstream.push(request);
            answer.headers.push(("x-hello".to_owned(), "wasm".to_owned()));
        }
        if scene
            .deeds
            .get(1)
            .is_some_and(|deed| ["adds user, quota", "goes on without", "gives up: 503"].contains(deed))
        {
            seen.quota.push(Request::default());
        }
        Evidence { answer: Ok(answer), seen }
    }

    #[test]
    fn a_perfect_proxy_leaves_no_differences() {
        for scene in scenes() {
            assert_eq!(perfect(&scene).differences(&scene), [""; 0], "{} {}", scene.path, scene.remark);
        }
    }

    #[test]
    fn whatever_is_wrong_is_told() {
        let scene = scenes().into_iter().find(|scene| scene.arrives.is_some()).unwrap();
        let wrong: [fn(&mut Evidence); 7] = [
            |evidence| evidence.answer = Err("no connection".to_owned()),
            |evidence| evidence.answer.as_mut().unwrap().status = 500,
            |evidence| evidence.answer.as_mut().unwrap().body.push(b'x'),
            |evidence| evidence.answer.as_mut().unwrap().headers.clear(),
            |evidence| evidence.seen.upstream.clear(),
            |evidence| evidence.seen.too_early = 1,
            |evidence| evidence.seen.quota.clear(),
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
