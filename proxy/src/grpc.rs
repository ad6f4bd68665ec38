//! gRPC callouts of plugins, over real connections to real clusters.

use std::rc::Rc;
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use wasmplugin_host::worker::{CalloutId, GrpcRequest, UpstreamFailure};

use crate::bodies::RequestBody;
use crate::headers;
use crate::hub::Hub;
use crate::lane::Outgoing;
use crate::upstream::Failure;

/// Begins a gRPC callout. What the server says comes later, never from inside of this call.
pub(crate) fn start(hub: &Rc<Hub>, id: CalloutId, request: GrpcRequest) {
    hub.thread.stats.callouts.up();
    let outgoing = Rc::new(Outgoing::default());
    hub.grpc.borrow_mut().insert(id, Rc::clone(&outgoing));
    let task = {
        let call = Call { hub: Rc::clone(hub), id, outgoing };
        tokio::task::spawn_local(async move {
            if let Err(failure) = call.run(request).await {
                call.hub.thread.stats.callouts_failed.up();
                call.hub.tell(|worker| worker.grpc_failed(id, failure));
            }
        })
    };
    hub.callouts.borrow_mut().insert(id, task.abort_handle());
}

/// A callout under way; dropped, also when it is cancelled, it leaves nothing behind.
struct Call {
    hub: Rc<Hub>,
    id: CalloutId,
    outgoing: Rc<Outgoing>,
}

impl Call {
    async fn run(&self, request: GrpcRequest) -> Result<(), UpstreamFailure> {
        let Some(cluster) = self.hub.thread.cluster(&request.cluster) else { return Err(UpstreamFailure::Connect) };
        let body = RequestBody::Outgoing(Rc::clone(&self.outgoing));
        let message = headers::to_server(&request.headers, cluster.http2(), false, body);
        let message = message.map_err(|headers::BadHeader(name)| {
            log::warn!(
                "a gRPC callout to cluster `{}` has a header `{name}` that cannot be sent",
                cluster.settings.name
            );
            UpstreamFailure::Reset
        })?;
        let began = Instant::now();
        let (response, lease) = cluster.send(message, |_| ()).await.map_err(|failure| match failure {
            Failure::NoServer | Failure::Connect | Failure::ConnectTimeout => UpstreamFailure::Connect,
            Failure::Reset => UpstreamFailure::Reset,
            Failure::Protocol => UpstreamFailure::Protocol,
        })?;
        let (parts, body) = response.into_parts();
        let head = headers::response_head(&parts, began.elapsed().as_millis());
        let end = body.is_end_stream();
        self.hub.tell(|worker| worker.grpc_headers(self.id, head, end));
        if !end {
            self.listen(body).await?;
        }
        lease.give_back();
        Ok(())
    }

    /// Hands on what the server says, until it has said everything.
    async fn listen(&self, mut body: Incoming) -> Result<(), UpstreamFailure> {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| UpstreamFailure::Reset)?;
            match frame.into_data() {
                Ok(data) => self.hub.tell(|worker| worker.grpc_data(self.id, &data, false)),
                Err(frame) => {
                    let trailers = frame.into_trailers().map_err(|_| UpstreamFailure::Protocol)?;
                    let trailers = headers::from_trailers(&trailers);
                    self.hub.tell(|worker| worker.grpc_trailers(self.id, trailers));
                    return Ok(());
                }
            }
        }
        self.hub.tell(|worker| worker.grpc_data(self.id, &[], true));
        Ok(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.outgoing.cut();
        self.hub.callouts.borrow_mut().remove(&self.id);
        self.hub.grpc.borrow_mut().remove(&self.id);
    }
}
