//! Plugins that have only some functions of the proxy's: what they lack fails and is told, and no request suffers more.

use wasmplugin_host::imports::IMPORTS;
use wasmplugin_host::test::Builder;

use crate::engines::on_every_engine;

/// What the probe is called by, and what the standard library calls of WASI.
const OTHERS: [&str; 17] = [
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_http_call_response",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "random_get",
];

/// The plugin with all of these functions but one.
fn without(proxy: Builder, taken: &str) -> Builder {
    let calls = IMPORTS.iter().map(|import| import.name);
    proxy.capabilities(calls.chain(OTHERS).filter(|name| *name != taken))
}

on_every_engine! { probe as "probe";
    fn with_all_functions_nothing_changes(proxy) {
        let mut proxy = without(proxy, "").start()?;
        assert_eq!(proxy.get("/reply").send()?.status(), 401);
        assert_eq!(proxy.get("/").send()?.text(), "upstream");
        assert!(!proxy.logs().iter().any(|line| line.text.contains("restricted")), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_call_that_is_not_allowed_fails_and_is_told(proxy) {
        let mut proxy = without(proxy, "proxy_http_call").cluster("service", |_| panic!("nobody asks")).start()?;
        assert_eq!(proxy.get("/").send()?.status(), 200);
        assert_eq!(proxy.get("/call").send()?.status(), 200);
        assert_eq!(proxy.upstream_requests()[1].header("x-outcome"), Some("NoHealthyUpstream"), "the same status");
        let told = "Attempted call to restricted proxy-wasm capability: proxy_http_call";
        assert!(proxy.logs().iter().any(|line| line.text == told), "{:?}", proxy.logs());
        Ok(())
    }

    fn a_plugin_that_cannot_log_works_all_the_same(proxy) {
        let mut proxy = without(proxy, "proxy_log").start()?;
        assert_eq!(proxy.get("/reply").send()?.status(), 401);
        Ok(())
    }

    fn a_callback_that_is_not_allowed_is_not_called(proxy) {
        let mut proxy = without(proxy, "proxy_on_request_headers").start()?;
        assert_eq!(proxy.get("/reply").send()?.text(), "upstream");
        Ok(())
    }

    fn who_may_do_less_has_a_vm_of_its_own(proxy) {
        let restricted = without(proxy.clone().name("restricted"), "proxy_on_request_headers").vm_id("one");
        let mut proxy = restricted.then(proxy.name("free").vm_id("one")).start()?;
        assert_eq!(proxy.get("/reply").send()?.status(), 401);
        Ok(())
    }
}
