//! One request with its response, on its way between two sockets and the worker.
//!
//! An exchange belongs to whoever sends its response: first the future that hyper waits on for the headers, then
//! the body that it polls. There it asks the upstream, feeds the worker with the answer, and takes out what the
//! worker lets pass; it reads no faster than the client takes. A request's body has a small task of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::Response;
use hyper::body::{Body, Incoming};
use wasmplugin_host::surroundings::UpstreamHost;
use wasmplugin_host::worker::{ExchangeId, Item, LocalReply, UpstreamFailure};

use crate::bodies::{Cut, RequestBody};
use crate::chain::Chain;
use crate::client::Client;
use crate::headers;
use crate::lane::Lane;
use crate::upload;
use crate::upstream::{Cluster, Failure, Lease};

/// One request with its response.
pub(crate) struct Exchange {
    chain: Rc<Chain>,
    id: ExchangeId,
    lane: Rc<Lane>,
    upstream: Upstream,
    began: Instant,
    /// Its connection ends with it.
    last: bool,
    over: bool,
}

/// What comes of a request to the upstream.
type Answer = Result<(Response<Incoming>, Lease), Failure>;

/// Where the upstream request stands.
enum Upstream {
    NotAsked,
    Asked(Pin<Box<dyn Future<Output = Answer>>>),
    Answers(Incoming, Lease),
    Over,
}

impl Exchange {
    /// Begins one; it is the `last` of its connection if the response is to say so.
    pub(crate) fn open(
        chain: Rc<Chain>,
        client: Rc<Client>,
        connection: wasmplugin_host::worker::Connection,
        last: bool,
    ) -> Box<Self> {
        let began = Instant::now();
        let id = chain.hub.tell(|worker| {
            let id = worker.open(chain.id, connection);
            if last {
                worker.last_of_connection(id);
            }
            id
        });
        chain.stats.requests.up();
        chain.stats.requests_active.up();
        let lane = Rc::new(Lane::new(client, Arc::clone(&chain.stats), began));
        chain.hub.add_lane(id, Rc::clone(&lane));
        Box::new(Self { chain, id, lane, upstream: Upstream::NotAsked, began, last, over: false })
    }

    /// Hands the request to the worker.
    pub(crate) fn begin(&mut self, head: wasmplugin_host::headers::HeaderMap, body: Incoming, http1: bool) {
        let end = body.is_end_stream();
        if end {
            self.lane.request_ended.set(Some(self.began));
        }
        self.chain.hub.tell(|worker| worker.request_headers(self.id, head, end));
        if !end {
            tokio::task::spawn_local(upload::run(Rc::clone(&self.chain), Rc::clone(&self.lane), self.id, body, http1));
        }
    }

    /// Answers a request that no plugin sees, with what was read of its headers; they learn of it when it is over.
    pub(crate) fn refuse(&mut self, head: Option<wasmplugin_host::headers::HeaderMap>, reply: LocalReply) {
        self.chain.hub.tell(|worker| worker.refused(self.id, head, reply));
    }

    /// The next part of the response that may go to the client.
    pub(crate) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, Cut>> {
        self.lane.driver.awake();
        loop {
            if let Some(item) = self.lane.down.pop() {
                self.touch();
                return Poll::Ready(Ok(item));
            }
            if self.lane.cut.get() {
                self.chain.stats.server_resets.up();
                self.finish();
                return Poll::Ready(Err(Cut));
            }
            if self.lane.upstream_gone.get() {
                self.upstream_over();
            }
            let head = self.lane.upstream_head.borrow_mut().take();
            if let Some((head, end)) = head {
                self.ask(&head, end);
                continue;
            }
            if self.poll_upstream(cx).is_pending() {
                return self.lane.driver.sleep(cx);
            }
        }
    }

    /// Sends the request on.
    fn ask(&mut self, head: &wasmplugin_host::headers::HeaderMap, end: bool) {
        if !matches!(self.upstream, Upstream::NotAsked) {
            return;
        }
        let cluster = match self.cluster() {
            Ok(cluster) => cluster,
            Err(reply) => return self.reply(reply),
        };
        let body = if end { RequestBody::empty() } else { RequestBody::Lane(Rc::clone(&self.lane)) };
        match headers::to_server(head, cluster.http2(), end, body) {
            Ok(request) => {
                self.lane.asked.set(Some(Instant::now()));
                *self.lane.cluster.borrow_mut() = Some(Rc::clone(&cluster));
                let (hub, id) = (Rc::clone(&self.chain.hub), self.id);
                let sent = move |host: &Arc<UpstreamHost>| hub.note(|worker| worker.sent_to(id, Arc::clone(host)));
                self.upstream = Upstream::Asked(Box::pin(async move { cluster.send(request, sent).await }));
            }
            Err(headers::BadHeader(name)) => {
                let problem = format!("invalid header value for: {name}");
                let details = format!("filter_removed_required_request_headers{{{}}}", problem.replace(' ', "_"));
                self.reply(LocalReply::text(503, problem, details));
            }
        }
    }

    /// Where the route says that the request goes.
    fn cluster(&self) -> Result<Rc<Cluster>, LocalReply> {
        let route = self.chain.hub.ask(|worker| worker.route(self.id).cloned());
        let Some(route) = route else { return Err(LocalReply::no_route()) };
        let cluster = route.cluster.as_ref().and_then(|cluster| self.chain.hub.thread.cluster(&cluster.name));
        cluster.ok_or_else(LocalReply::no_cluster)
    }

    /// Hears the upstream, if the worker has room for what it says.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.upstream {
            Upstream::NotAsked | Upstream::Over => Poll::Pending,
            Upstream::Asked(answer) => {
                match ready!(answer.as_mut().poll(cx)) {
                    Ok((response, lease)) => self.answered(response, lease),
                    Err(failure) => self.failed(failure),
                }
                Poll::Ready(())
            }
            Upstream::Answers(body, _) => {
                let (id, limit) = (self.id, self.chain.hub.thread.settings.buffer_limit);
                if self.chain.hub.ask(|worker| worker.response_backlog(id)) > limit {
                    return Poll::Pending;
                }
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
                let ended = body.is_end_stream();
                self.touch();
                match frame {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            if ended {
                                self.upstream_ended();
                            }
                            self.chain.hub.tell(|worker| worker.response_data(id, data, ended));
                        }
                        Err(frame) => {
                            if let Ok(trailers) = frame.into_trailers() {
                                self.upstream_ended();
                                let trailers = headers::from_trailers(&trailers);
                                self.chain.hub.tell(|worker| worker.response_trailers(id, trailers));
                            }
                        }
                    },
                    None => {
                        self.upstream_ended();
                        self.chain.hub.tell(|worker| worker.response_data(id, Default::default(), true));
                    }
                    Some(Err(error)) => {
                        log::debug!("an upstream response was cut short: {error}");
                        self.upstream_over();
                        self.chain.hub.tell(|worker| worker.upstream_reset(id, UpstreamFailure::Reset));
                    }
                }
                Poll::Ready(())
            }
        }
    }

    /// The upstream's headers have come.
    fn answered(&mut self, response: Response<Incoming>, lease: Lease) {
        self.touch();
        let (parts, body) = response.into_parts();
        let end = body.is_end_stream();
        let since = self.lane.request_ended.get().or(self.lane.asked.get()).unwrap_or(self.began);
        let mut head = headers::response_head(&parts, since.elapsed().as_millis());
        if self.last {
            // As Envoy does; what else is about the server's connection, plugins see.
            head.remove(b"keep-alive");
        }
        self.upstream = Upstream::Answers(body, lease);
        if end {
            self.upstream_ended();
        }
        let id = self.id;
        self.chain.hub.tell(|worker| worker.response_headers(id, head, end));
    }

    /// There will be no answer.
    fn failed(&mut self, failure: Failure) {
        const BEFORE: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
        self.upstream_over();
        let id = self.id;
        let failure = match failure {
            Failure::NoServer => {
                return self.reply(LocalReply::no_server());
            }
            Failure::ConnectTimeout => {
                let details = "upstream_reset_before_response_started{connection_timeout}";
                return self.reply(LocalReply::text(503, format!("{BEFORE}connection timeout"), details));
            }
            Failure::Connect => UpstreamFailure::Connect,
            Failure::Reset => UpstreamFailure::Reset,
            Failure::Protocol => UpstreamFailure::Protocol,
        };
        self.chain.hub.tell(|worker| worker.upstream_reset(id, failure));
    }

    fn reply(&mut self, reply: LocalReply) {
        self.upstream_over();
        let id = self.id;
        self.chain.hub.tell(|worker| worker.reply(id, reply));
    }

    /// The response has come to its end: its connection may serve somebody else, if the request has ended as well.
    fn upstream_ended(&mut self) {
        self.lane.asked.set(None);
        if let Upstream::Answers(_, lease) = std::mem::replace(&mut self.upstream, Upstream::Over)
            && self.lane.up.ended.get()
        {
            lease.give_back();
        }
    }

    /// Nothing more comes from the upstream; a connection in the middle of something is closed.
    fn upstream_over(&mut self) {
        self.lane.asked.set(None);
        self.upstream = Upstream::Over;
    }

    fn touch(&self) {
        self.lane.active.set(Instant::now());
    }

    /// The response has been sent to its end, or cannot be.
    pub(crate) fn finish(&mut self) {
        if !self.leave() {
            return;
        }
        let id = self.id;
        self.chain.hub.tell(|worker| worker.finished(id));
        self.chain.hub.remove_lane(id);
        self.chain.stats.times.record(self.began.elapsed());
    }

    /// Whether this is the end; it comes once.
    fn leave(&mut self) -> bool {
        if std::mem::replace(&mut self.over, true) {
            return false;
        }
        self.upstream = Upstream::Over;
        self.lane.close();
        self.chain.stats.requests_active.down();
        self.lane.client.request_ends();
        true
    }
}

impl Drop for Exchange {
    /// Dropped before its end: the client is gone.
    fn drop(&mut self) {
        if self.leave() {
            let id = self.id;
            self.chain.stats.client_resets.up();
            self.chain.hub.tell(|worker| worker.downstream_reset(id));
            self.chain.hub.remove_lane(id);
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("id", &self.id).finish_non_exhaustive()
    }
}
