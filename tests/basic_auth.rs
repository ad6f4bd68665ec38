//! `basic-auth` lets pass who shows the right credentials, and nobody around it.

use serde_json::{Value, json};
use wasmplugin_host::test::{Builder, Engine};

use crate::engines::on_every_engine;
use crate::hostile::{self, REFUSED_EARLY};

const GOOD: &str = "Basic b2s6dGVzdA==";

fn admin(proxy: Builder) -> Builder {
    let rule = json!({"prefix": "/admin", "request_methods": ["GET"], "credentials": ["ok:test"]});
    proxy.config(json!({"realm": "test", "basic_auth_rules": [rule]}))
}

on_every_engine! { basic_auth as "basic-auth";
    fn the_right_credentials_pass(proxy) {
        let mut proxy = admin(proxy).start()?;
        assert_eq!(proxy.get("/admin").header("authorization", GOOD).send()?.status(), 200);
        assert_eq!(proxy.get("/").send()?.status(), 200);
        assert_eq!(proxy.post("/admin").send()?.status(), 200, "the rule is for another method");
        Ok(())
    }

    fn others_are_asked_for_them(proxy) {
        let mut proxy = admin(proxy).start()?;
        for authorization in ["Basic b2s6d3Jvbmc=", "Bearer b2s6dGVzdA==", "basic b2s6dGVzdA=="] {
            let response = proxy.get("/admin/x").header("authorization", authorization).send()?;
            assert_eq!((response.status(), &*response.text()), (401, ""), "{authorization}");
            assert_eq!(response.header("www-authenticate"), Some("Basic realm=test"));
        }
        let twice = proxy.get("/admin").header("authorization", GOOD).header("authorization", GOOD).send()?;
        assert_eq!(twice.status(), 401);
        assert_eq!(proxy.upstream_requests(), []);
        Ok(())
    }

    fn no_other_spelling_of_the_path_gets_around_it(proxy) {
        let mut proxy = admin(proxy).start()?;
        for path in ["/admin?x", "//admin", "/a/../admin", "/%61dmin", "/./admin"] {
            assert_eq!(proxy.get(path).send()?.status(), 401, "{path}");
        }
        Ok(())
    }

    fn hostile_credentials_are_refused(proxy) {
        let mut proxy = admin(proxy).start()?;
        for request in hostile::requests("authorization") {
            let status = hostile::send(&mut proxy, &request)?;
            let expected: &[_] = if proxy.engine() == Engine::Envoy { REFUSED_EARLY } else { &[Some(401)] };
            assert!(expected.contains(&status), "{}: {status:?}, {:?}", request.0, proxy.logs());
        }
        assert_eq!(proxy.get("/admin").header("authorization", GOOD).send()?.status(), 200, "it goes on");
        assert_eq!(proxy.upstream_requests().len(), 1);
        Ok(())
    }

    fn a_mistake_in_a_rule_refuses_the_configuration(proxy) {
        let refused = |rule: Value| {
            let proxy = proxy.clone().config(json!({"basic_auth_rules": [rule]}));
            proxy.start().map(drop).unwrap_err().to_string()
        };
        let error = refused(json!({"prefix": "/", "request_methods": ["GET"], "credentials": ["hunter2"]}));
        assert!(error.contains("`basic_auth_rules[0].credentials[0]`") && !error.contains("hunter2"), "{error}");
        let error = refused(json!({"request_methods": ["GET"], "credentials": ["a:b"]}));
        assert!(error.contains("exactly one of `prefix`, `exact` and `suffix`"), "{error}");
        Ok(())
    }
}
