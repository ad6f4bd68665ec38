//! The requests of the demo, and what must come of each.

use super::chains::Which;
use super::services::{Mood, POEM, PROFILE, QUOTA, Service, TOKEN, USER};

/// A body that is larger than one read of a socket, and smaller than what a proxy buffers.
const LARGE: usize = 64 * 1024;

/// One request, and what must come of it.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// Where it is sent.
    pub(super) which: Which,
    /// What distinguishes it, besides method and path.
    pub(super) remark: &'static str,
    /// Such as `GET`.
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) path: &'static str,
    /// The `authorization` header.
    pub(super) token: Option<&'static str>,
    /// An `x-user` header of the client's own making.
    pub(super) claim: Option<&'static str>,
    /// Bytes of body.
    pub(super) bytes: usize,
    /// How the services feel meanwhile.
    pub(super) mood: Mood,
    /// What must come back.
    pub(super) status: u16,
    /// The exact body that must come back.
    pub(super) body: String,
    /// What must reach the upstream: nothing, or a request with these values of `x-user` and `x-quota`.
    pub(super) arrives: Option<(&'static str, Option<&'static str>)>,
    /// What each plugin of the chain must do, in words for the table.
    pub(super) deeds: &'static [&'static str],
}

/// All of them, in the order in which they are played.
pub(super) fn scenes() -> Vec<Scene> {
    const ADMITTED: &str = "admits alice";
    const DENIED: &str = "denies: 403";
    const HELPLESS: &str = "no verdict: 503";
    const ADDED: &str = "adds user, quota";
    const MARKED: &str = "marks the object";
    const SIGNED: &str = "adds x-hello";
    const NOT: &str = "-";

    let full = (PROFILE, Some(QUOTA));
    let denied: &[&str] = &[DENIED, NOT, NOT, NOT];
    let helpless: &[&str] = &[HELPLESS, NOT, NOT, NOT];
    let auth = |auth| Mood { auth, ..Mood::default() };
    let quota = |quota| Mood { quota, ..Mood::default() };

    vec![
        get("/orders", "no token").denied(),
        get("/orders", "unknown token").with("Bearer mallory").denied(),
        get("/orders", "alice's token").with(TOKEN).ok(full, &[ADMITTED, ADDED, MARKED, SIGNED]),
        get("/poem", "alice's token")
            .with(TOKEN)
            .text(POEM.concat())
            .ok(full, &[ADMITTED, ADDED, "leaves text alone", SIGNED]),
        get("/orders", "64 KiB, while auth ponders")
            .post(LARGE)
            .with(TOKEN)
            .mood(auth(Service::Thorough))
            .ok(full, &[ADMITTED, ADDED, MARKED, SIGNED]),
        get("/orders", "64 KiB, unknown token")
            .post(LARGE)
            .with("Bearer mallory")
            .mood(auth(Service::Thorough))
            .denied(),
        get("/orders", "quota service is stuck")
            .with(TOKEN)
            .mood(quota(Service::Stuck))
            .ok((USER, None), &[ADMITTED, "goes on without", MARKED, SIGNED]),
        get("/orders", "quota service crashes")
            .with(TOKEN)
            .mood(quota(Service::Crashing))
            .fails(503, &[ADMITTED, "gives up: 503", NOT, NOT]),
        get("/orders", "auth service says 500").with(TOKEN).mood(auth(Service::Broken)).fails(403, denied),
        get("/orders", "auth service is stuck").with(TOKEN).mood(auth(Service::Stuck)).fails(503, helpless),
        get("/orders", "auth service crashes").with(TOKEN).mood(auth(Service::Crashing)).fails(503, helpless),
        get("/poem", "no token").at(Which::Poems).fails(403, &[DENIED, NOT, NOT]),
        get("/poem", "alice's token, three chunks")
            .at(Which::Poems)
            .with(TOKEN)
            .text(POEM.concat().to_uppercase())
            .ok((USER, None), &[ADMITTED, "shouts", SIGNED]),
        get("/poem", "alice's token, claims to be root")
            .at(Which::Poems)
            .with(TOKEN)
            .claims("root")
            .text(POEM.concat().to_uppercase())
            .ok((USER, None), &[ADMITTED, "shouts", SIGNED]),
        get("/orders", "alice's token").at(Which::Orphan).with(TOKEN).fails(503, &[HELPLESS, NOT]),
    ]
}

fn get(path: &'static str, remark: &'static str) -> Scene {
    Scene {
        which: Which::Orders,
        remark,
        method: "GET",
        path,
        token: None,
        claim: None,
        bytes: 0,
        mood: Mood::default(),
        status: 0,
        body: String::new(),
        arrives: None,
        deeds: &[],
    }
}

impl Scene {
    fn at(self, which: Which) -> Self {
        Self { which, ..self }
    }

    fn post(self, bytes: usize) -> Self {
        Self { method: "POST", bytes, ..self }
    }

    fn with(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    fn claims(self, user: &'static str) -> Self {
        Self { claim: Some(user), ..self }
    }

    fn mood(self, mood: Mood) -> Self {
        Self { mood, ..self }
    }

    /// Text must come back, not what the upstream shows as JSON.
    fn text(self, body: impl Into<String>) -> Self {
        Self { body: body.into(), ..self }
    }

    fn denied(self) -> Self {
        self.fails(403, &["denies: 403", "-", "-", "-"])
    }

    fn fails(self, status: u16, deeds: &'static [&'static str]) -> Self {
        Self { status, deeds, ..self }
    }

    fn ok(self, arrives: (&'static str, Option<&'static str>), deeds: &'static [&'static str]) -> Self {
        let body = if self.body.is_empty() { self.object(arrives) } else { self.body };
        Self { status: 200, body, arrives: Some(arrives), deeds, ..self }
    }

    /// What the upstream shows of this request, with the mark of `rewrite-json`.
    fn object(&self, (user, quota): (&str, Option<&str>)) -> String {
        let mut object = serde_json::json!({"method": self.method, "path": self.path, "bytes": self.bytes, "user": user, "seen": true});
        if let (Some(quota), Some(fields)) = (quota, object.as_object_mut()) {
            fields.insert("quota".to_owned(), quota.into());
        }
        object.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_of_a_chain_has_something_to_do() {
        for scene in scenes() {
            assert_eq!(scene.deeds.len(), scene.which.plugins().len(), "{scene:?}");
            assert_eq!(scene.arrives.is_some(), scene.status == 200, "{scene:?}");
        }
    }

    #[test]
    fn every_chain_is_shown() {
        for which in Which::ALL {
            assert!(scenes().iter().any(|scene| scene.which == which));
        }
    }
}
