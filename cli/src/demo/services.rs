//! The servers around the proxy: the upstream, and the services that plugins ask.
//!
//! They are ordinary servers on sockets of this machine. How the services feel, their [`Mood`], changes from request
//! to request; what everybody saw and answered is kept, and is what the table is made from.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use wasmplugin_host::envoy::backend::Backend;
use wasmplugin_host::test::{Answer, Cluster, Request};

/// The token that the auth service knows.
pub(super) const TOKEN: &str = "Bearer alice";
/// Whose it is.
pub(super) const USER: &str = "alice";
/// What the user service answers.
pub(super) const PROFILE: &str = "alice/premium";
/// What the quota service answers.
pub(super) const QUOTA: &str = "100";
/// What the upstream answers to `/poem`, in the pieces in which it is sent.
pub(super) const POEM: [&str; 3] = ["the proxy hums,\n", "a guest in its own sandbox\n", "counts every header\n"];
/// How long a thorough auth service thinks.
const THOUGHT: Duration = Duration::from_millis(200);

/// How the services answer at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mood {
    /// The auth service.
    pub(super) auth: Service,
    /// The quota service.
    pub(super) quota: Service,
}

/// How one service answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Service {
    /// At once.
    #[default]
    Prompt,
    /// After a while.
    Thorough,
    /// With status 500.
    Broken,
    /// Never.
    Stuck,
    /// By closing the connection.
    Crashing,
}

/// What happened at the servers since the last [`Services::forget`].
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// What the upstream received.
    pub(super) upstream: Vec<Request>,
    /// What the upstream sent, if it was asked.
    pub(super) sent: Option<String>,
    /// What the auth service was asked.
    pub(super) auth: Vec<Request>,
    /// How many requests had reached the upstream when the auth service made up its mind.
    pub(super) too_early: usize,
    /// What the user service was asked.
    pub(super) user: Vec<Request>,
    /// What the quota service was asked.
    pub(super) quota: Vec<Request>,
}

/// All of them; they stop when this is dropped.
#[derive(Debug)]
pub(super) struct Services {
    upstream: Server,
    auth: Server,
    user: Server,
    quota: Server,
    diary: Arc<Mutex<Diary>>,
}

#[derive(Debug)]
struct Server {
    cluster: Cluster,
    backend: Backend,
    /// How many of its requests are forgotten.
    old: usize,
}

/// What servers and their owner tell each other.
#[derive(Debug, Default)]
struct Diary {
    mood: Mood,
    sent: Option<String>,
    too_early: usize,
}

impl Services {
    /// Starts them on free ports.
    pub(super) fn start() -> Result<Self> {
        let diary = Arc::<Mutex<Diary>>::default();

        let writer = Arc::clone(&diary);
        let upstream = Server::start("upstream", move |request| {
            let (answer, text) = upstream(request);
            lock(&writer).sent = Some(text);
            answer
        })?;

        let (reader, behind) = (Arc::clone(&diary), upstream.cluster.clone());
        let auth = Server::start("auth", move |request| {
            let mood = lock(&reader).mood.auth;
            if mood == Service::Thorough {
                thread::sleep(THOUGHT);
            }
            lock(&reader).too_early = behind.requests().len();
            match request.header("authorization") {
                Some(TOKEN) => mood.answer(Answer::new(200).header("x-user", USER)),
                _ => mood.answer(Answer::new(403)),
            }
        })?;

        let user = Server::start("user", |_| Answer::new(200).body(PROFILE))?;
        let reader = Arc::clone(&diary);
        let quota = Server::start("quota", move |_| {
            let mood = lock(&reader).mood.quota;
            mood.answer(Answer::new(200).body(QUOTA))
        })?;
        Ok(Self { upstream, auth, user, quota, diary })
    }

    /// Where requests go.
    pub(super) fn upstream(&self) -> SocketAddr {
        self.upstream.backend.address()
    }

    /// What plugins can call, `nobody` among it, where no one listens.
    pub(super) fn clusters(&self) -> Result<Vec<(String, SocketAddr)>> {
        let nobody = Backend::start(Cluster::unreachable("nobody")).context("no address for nobody")?;
        let servers = [&self.auth, &self.user, &self.quota];
        let clusters = servers.map(|server| (server.cluster.name().to_owned(), server.backend.address()));
        Ok(clusters.into_iter().chain([("nobody".to_owned(), nobody.address())]).collect())
    }

    /// Changes how the services answer, and begins a new page.
    pub(super) fn forget(&mut self, mood: Mood) {
        for server in [&mut self.upstream, &mut self.auth, &mut self.user, &mut self.quota] {
            server.old = server.cluster.requests().len();
        }
        *lock(&self.diary) = Diary { mood, ..Diary::default() };
    }

    /// What happened since.
    pub(super) fn seen(&self) -> Seen {
        let diary = lock(&self.diary);
        Seen {
            upstream: self.upstream.news(),
            sent: diary.sent.clone(),
            auth: self.auth.news(),
            too_early: diary.too_early.saturating_sub(self.upstream.old),
            user: self.user.news(),
            quota: self.quota.news(),
        }
    }
}

impl Server {
    fn start(name: &str, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let cluster = Cluster::new(name, script);
        let backend =
            Backend::start(cluster.clone()).with_context(|| format!("the {name} service has no port to listen on"))?;
        Ok(Self { cluster, backend, old: 0 })
    }

    fn news(&self) -> Vec<Request> {
        self.cluster.requests().into_iter().skip(self.old).collect()
    }
}

impl Service {
    fn answer(self, well: Answer) -> Answer {
        match self {
            Self::Prompt | Self::Thorough => well,
            Self::Broken => Answer::new(500),
            Self::Stuck => Answer::never(),
            Self::Crashing => Answer::reset(),
        }
    }
}

/// Shows as JSON what reached it; on `/poem` it is a poet. Also says what body it sends.
pub(super) fn upstream(request: &Request) -> (Answer, String) {
    if request.path() == "/poem" {
        let answer = Answer::new(200).header("content-type", "text/plain").chunks(POEM);
        return (answer, POEM.concat());
    }
    let mut shown = json!({"method": request.method(), "path": request.path(), "bytes": request.body().len()});
    for (header, field) in [("x-user", "user"), ("x-quota", "quota")] {
        if let (Some(value), Some(fields)) = (request.header(header), shown.as_object_mut()) {
            fields.insert(field.to_owned(), value.into());
        }
    }
    let text = shown.to_string();
    (Answer::new(200).header("content-type", "application/json").body(text.clone()), text)
}

fn lock(diary: &Mutex<Diary>) -> std::sync::MutexGuard<'_, Diary> {
    diary.lock().unwrap_or_else(PoisonError::into_inner)
}
