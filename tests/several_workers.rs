//! The plugins around a request on four workers of a real Envoy, asked on many connections at once: what they count together is
//! what was sent.

use std::io;
use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};
use wasmplugin_host::test::{Builder, Engine, Proxy};

use crate::engines::{Outcome, Plugin};
use crate::stats_labels::settled;
use crate::{access_log_policy, attributegen, basic_auth, keep_alive, rate_limit_plugin};

const PROBE: Plugin = Plugin { package: "attribute-probe", register: attribute_probe::register };

/// Connections, which the kernel deals out to the workers.
const CONNECTIONS: u64 = 16;

/// Requests on each of them.
const EACH: u64 = 12;

const SENT: u64 = CONNECTIONS * EACH;

fn on_four(plugin: &Plugin, configuration: Value) -> Builder {
    plugin.on(Engine::Envoy).config(configuration).workers(4)
}

/// All connections at once; what was answered, by the answers' statuses.
fn ask_all(proxy: &Proxy, lines: fn(u64) -> Vec<(&'static str, &'static str)>) -> io::Result<Vec<u16>> {
    let address: SocketAddr = proxy.address().ok_or(io::ErrorKind::NotConnected)?;
    let request = move |number| keep_alive::get([("host", "workers.test")].into_iter().chain(lines(number)));
    thread::scope(|scope| {
        let ask = |_| scope.spawn(move || keep_alive::ask(address, (0..EACH).map(request)));
        let clients: Vec<_> = (0..CONNECTIONS).map(ask).collect();
        let mut statuses = Vec::new();
        for client in clients {
            let heads = client.join().map_err(|_| io::Error::other("a client has panicked"))??;
            let status = |head: &String| head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
            statuses.extend(heads.iter().filter_map(status));
        }
        Ok(statuses)
    })
}

fn count(statuses: &[u16], wanted: u16) -> u64 {
    statuses.iter().filter(|status| **status == wanted).count() as u64
}

#[test]
fn a_share_is_one_for_all_workers() -> Outcome {
    const SHARE: u64 = 50;
    let limit = json!({"name": "a", "requests": SHARE, "unit": "day", "burst": SHARE, "per": [{"header": "x-user"}]});
    let mut proxy = on_four(&rate_limit_plugin::PLUGIN, json!({"limits": [limit]})).start()?;
    let statuses = ask_all(&proxy, |_| vec![("x-user", "ada")])?;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (SHARE, SENT - SHARE));
    let counters = || ["ok", "rate_limited"].map(|name| proxy.metric(&format!("rate_limit.{name}")));
    let expected = [Some(SHARE), Some(SENT - SHARE)];
    assert_eq!(settled(counters, |seen| *seen == expected), expected);
    Ok(())
}

#[test]
fn credentials_are_the_same_on_each_worker() -> Outcome {
    let rule = json!({"prefix": "/", "request_methods": ["GET"], "credentials": ["ok:test"]});
    let proxy = on_four(&basic_auth::PLUGIN, json!({"basic_auth_rules": [rule]})).start()?;
    let statuses = ask_all(&proxy, |number| match number % 3 {
        0 => vec![("authorization", "Basic b2s6dGVzdA==")],
        1 => vec![("authorization", "Basic b2s6d3Jvbmc=")],
        _ => vec![],
    })?;
    assert_eq!((count(&statuses, 200), count(&statuses, 401)), (SENT / 3, SENT / 3 * 2));
    assert_eq!(proxy.upstream_requests().len() as u64, SENT / 3);
    Ok(())
}

/// What the probe behind has read at the end of each request.
fn read(proxy: &mut Proxy, path: &str) -> Vec<String> {
    let prefix = format!("@log {path} ");
    let enough = |seen: &Vec<String>| seen.len() as u64 == SENT;
    let look = || proxy.logs().iter().filter_map(|line| line.text.strip_prefix(&prefix).map(str::to_owned)).collect();
    settled(look, enough)
}

/// A window is one of a connection, and a connection is one worker's.
#[test]
fn each_connection_is_logged_once() -> Outcome {
    let path = "istio.access_log_policy";
    let probe = PROBE.on(Engine::Envoy).config(json!({"paths": [path]}));
    let plugin = on_four(&access_log_policy::PLUGIN, json!({"log_window_duration": "1h"}));
    let mut proxy = plugin.then(probe).start()?;
    assert_eq!(count(&ask_all(&proxy, |_| vec![])?, 200), SENT);
    let decisions = read(&mut proxy, path);
    // `yes`, in hexadecimal digits.
    let logged = decisions.iter().filter(|decision| *decision == "0 796573").count() as u64;
    assert_eq!((decisions.len() as u64, logged), (SENT, CONNECTIONS));
    Ok(())
}

#[test]
fn attributes_and_errors_are_those_of_all_workers() -> Outcome {
    let when = json!([{"condition": "request.headers['x-class'] == 'a'", "value": "a"}]);
    let attributes = json!([{"output_attribute": "made", "match": when}]);
    let probe = PROBE.on(Engine::Envoy).config(json!({"paths": ["made"]}));
    let plugin = on_four(&attributegen::PLUGIN, json!({"attributes": attributes}));
    let mut proxy = plugin.then(probe).start()?;
    // A third has the header, a third another value, and for the rest the condition has no value.
    ask_all(&proxy, |number| match number % 3 {
        0 => vec![("x-class", "a")],
        1 => vec![("x-class", "b")],
        _ => vec![],
    })?;
    let made = read(&mut proxy, "made");
    assert_eq!(made.iter().filter(|answer| *answer == "0 61").count() as u64, SENT / 3, "{made:?}");
    let errors = || proxy.metric("wasm_filter.attributegen.type.runtime.error_count");
    assert_eq!(settled(errors, |seen| *seen == Some(SENT / 3)), Some(SENT / 3));
    Ok(())
}
