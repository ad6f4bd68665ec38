//! Answers requests for forbidden paths itself.

use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

#[derive(serde::Deserialize)]
struct PathGuard {
    paths: Vec<String>,
}

impl Http for PathGuard {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        let path = request.path()?.split(['?', '#']).next().unwrap_or_default();
        let is_below = |folder: &String| {
            path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !self.paths.iter().any(is_below) {
            return Ok(Flow::Continue);
        }
        let reply = Reply::new(403).header("content-type", "application/json").details("path_guard");
        Ok(reply.body(r#"{"error":"forbidden"}"#).into())
    }
}

wasmplugin::plugin!(PathGuard, config = PathGuard);

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasmplugin_host::test::Proxy;

    #[test]
    fn only_what_lies_below_is_forbidden() {
        let mut proxy = Proxy::native(super::register).config(json!({"paths": ["/admin"]})).start().unwrap();
        let status = ["/admin", "/admin/users?all", "/admin?x", "/administrator", "/"]
            .map(|path| proxy.get(path).send().unwrap().status());
        assert_eq!(status, [403, 403, 403, 200, 200]);
        assert_eq!(proxy.upstream_requests().len(), 2);
    }
}
