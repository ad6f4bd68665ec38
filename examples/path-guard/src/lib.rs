//! Answers requests for forbidden paths itself.

use percent_encoding::percent_decode_str;
use wasmplugin::{Flow, Http, Reply, RequestHead, Result};

#[derive(serde::Deserialize)]
struct PathGuard {
    paths: Vec<String>,
}

impl Http for PathGuard {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        if !readings(request.path()?).iter().any(|path| self.forbids(path)) {
            return Ok(Flow::Continue);
        }
        let reply = Reply::new(403).header("content-type", "application/json").details("path_guard");
        Ok(reply.body(r#"{"error":"forbidden"}"#).into())
    }
}

impl PathGuard {
    fn forbids(&self, path: &str) -> bool {
        let is_below = |folder: &String| {
            path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.paths.iter().any(is_below)
    }
}

/// The path as it is, and as servers may read it: without the detours, and where they know parameters, without these.
fn readings(target: &str) -> [String; 3] {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let decoded = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    [path.to_owned(), without_detours(&decoded, |segment| segment), without_detours(&decoded, without_parameters)]
}

/// The path with neither dots nor empty segments.
fn without_detours(path: &str, read: fn(&str) -> &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/').map(read) {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or_default()
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

    #[test]
    fn no_other_spelling_leads_there() {
        let mut proxy = Proxy::native(super::register).config(json!({"paths": ["/admin"]})).start().unwrap();
        for path in [
            "//admin",
            "/./admin",
            "/open/../admin/x",
            "/%61dmin",
            "/%2fadmin",
            "/admin%2fx",
            "/open/..%2fadmin",
            "/open\\..\\admin",
            "/admin;a=b/x",
            "/open/..;/admin",
            "/admin#x",
            "/admin/..;/x",
        ] {
            assert_eq!(proxy.get(path).send().unwrap().status(), 403, "{path}");
        }
        for path in ["/open/admin", "/%61dministrator", "/%2561dmin", "/;/x", "/admin.html"] {
            assert_eq!(proxy.get(path).send().unwrap().status(), 200, "{path}");
        }
    }
}
