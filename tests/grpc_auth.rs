//! `grpc-auth` lets pass what the authorization service lets pass, and nothing else.

use std::time::Duration;

use serde_json::json;
use wasmplugin_host::test::{Builder, GrpcAnswer, Request};

use crate::engines::on_every_engine;

/// Consents with the header `x-user: ada`.
const YES: &[u8] = b"\x0a\x00\x1a\x11\x12\x0f\x0a\x0d\x0a\x06X-User\x12\x03ada";
/// `PERMISSION_DENIED`, to be told with 401.
const NO: &[u8] = b"\x0a\x02\x08\x07\x12\x05\x0a\x03\x08\x91\x03";

fn configured(proxy: Builder) -> Builder {
    proxy.config(json!({"cluster": "auth", "timeout": "1s"})).grpc_cluster("auth", |call: &Request| {
        let says = |token: &[u8]| call.messages().iter().any(|m| m.windows(token.len()).any(|bytes| bytes == token));
        match () {
            () if says(b"Bearer good") => GrpcAnswer::message(YES),
            () if says(b"Bearer slow") => GrpcAnswer::message(YES).after(Duration::from_millis(100)),
            () if says(b"Bearer hang") => GrpcAnswer::never(),
            () if says(b"Bearer down") => GrpcAnswer::reset(),
            () if says(b"Bearer error") => GrpcAnswer::status(13, "no database"),
            () if says(b"Bearer junk") => GrpcAnswer::message("\u{1}"),
            () => GrpcAnswer::message(NO),
        }
    })
}

on_every_engine! { grpc_auth as "grpc-auth";
    fn consent_lets_pass_and_names_the_user(proxy) {
        let mut proxy = configured(proxy).start()?;
        for token in ["good", "slow"] {
            let get = proxy.get("/a").header("authorization", format!("Bearer {token}")).header("x-user", "mallory");
            assert_eq!(get.send()?.status(), 200);
        }
        for request in proxy.upstream_requests() {
            assert_eq!(request.headers().all("x-user"), ["ada"]);
        }
        let asked = &proxy.cluster_requests("auth")[0];
        assert_eq!((asked.path(), asked.authority()), ("/envoy.service.auth.v3.Authorization/Check", "auth"));
        assert_eq!((asked.header("te"), asked.header("content-type")), (Some("trailers"), Some("application/grpc")));
        assert_eq!(asked.header("grpc-timeout"), Some("1000m"));
        Ok(())
    }

    fn a_refusal_goes_to_the_client(proxy) {
        let mut proxy = configured(proxy).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 401);
        assert_eq!(proxy.post("/").body("secret").send()?.status(), 401);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn a_service_that_fails_lets_nothing_pass(proxy) {
        let mut proxy = configured(proxy).start()?;
        for token in ["hang", "down", "error", "junk"] {
            let answer = proxy.get("/").header("authorization", format!("Bearer {token}")).send()?;
            assert_eq!(answer.status(), 503, "{token}");
        }
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn the_call_belongs_to_the_requests_trace(proxy) {
        let mut proxy = configured(proxy).start()?;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        proxy.get("/").header("authorization", "Bearer good").header("traceparent", parent).send()?;
        assert_eq!(proxy.cluster_requests("auth")[0].header("traceparent"), Some(parent));
        Ok(())
    }
}
