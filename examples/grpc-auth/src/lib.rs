//! Asks an external authorization service over gRPC whether a request may pass: Envoy's `ext_authz`, in 40 lines.

use std::collections::HashMap;
use std::rc::Rc;

use wasmplugin::config::Duration;
use wasmplugin::{Cluster, Done, Http, Reply, Request, Result};

mod wire;

use wire::{AttributeContext, Check, CheckRequest, CheckResponse, HttpRequest};

#[derive(serde::Deserialize)]
struct GrpcAuth {
    cluster: Cluster,
    timeout: Duration,
}

impl Http for GrpcAuth {
    /// Fails closed: an error of the call is a 503 for the client.
    async fn handle(self: Rc<Self>, mut request: Request) -> Result<Done> {
        let call = self.cluster.grpc("envoy.service.auth.v3.Authorization/Check").traced(request.headers()?);
        let answer: CheckResponse = call.timeout(self.timeout).call(&question(&request)?).await?;
        if !answer.allows() {
            let status = answer.denied.and_then(|denied| denied.status).map_or(403, |status| status.code);
            return request.reply(Reply::new(u16::try_from(status).unwrap_or(403)).details("grpc_auth_denied"));
        }
        for header in answer.ok.into_iter().flat_map(|ok| ok.headers).filter_map(|option| option.header) {
            request.set_header(&header.key.to_ascii_lowercase(), header.value)?;
        }
        request.pass()
    }
}

/// What the service is told of a request; of a name with several lines it gets all, joined by commas.
fn question(request: &Request) -> Result<CheckRequest> {
    let mut headers = HashMap::<String, String>::new();
    for (name, value) in request.headers()?.iter() {
        let line = headers.entry(name.to_string()).or_default();
        *line = if line.is_empty() { value.to_string() } else { format!("{line},{value}") };
    }
    let http = HttpRequest {
        method: request.method()?.to_owned(),
        headers,
        path: request.path()?.to_owned(),
        host: request.authority()?.to_owned(),
    };
    Ok(CheckRequest { attributes: Some(AttributeContext { request: Some(Check { http: Some(http) }) }) })
}

wasmplugin::plugin!(GrpcAuth, config = GrpcAuth);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::{GrpcAnswer, Proxy, Request};

    /// Answers `google.rpc.Status` 7 unless the path is `/open`.
    fn service(call: &Request) -> GrpcAnswer {
        let open = call.messages().iter().any(|message| message.windows(5).any(|bytes| bytes == b"/open"));
        GrpcAnswer::message(if open { &b""[..] } else { b"\x0a\x02\x08\x07" })
    }

    #[test]
    fn the_service_decides() {
        let config = json!({"cluster": "auth", "timeout": "250ms"});
        let mut proxy = Proxy::native(super::register).config(config).grpc_cluster("auth", service).start().unwrap();
        assert_eq!(proxy.get("/open").send().unwrap().status(), 200);
        assert_eq!(proxy.get("/secret").send().unwrap().status(), 403);
        assert_eq!(proxy.upstream_requests().len(), 1);
        assert_eq!(proxy.cluster_requests("auth")[0].path(), "/envoy.service.auth.v3.Authorization/Check");
    }
}
