//! `cargo wasmplugin bench`.

use std::process::Command;

use wasmplugin_host::module::build;

use crate::command::{Scratch, wasmplugin, workspace};

#[test]
fn a_module_is_measured_in_both_proxies() {
    assert!(Command::new("wrk").arg("-v").output().is_ok(), "`wrk` is not installed: `apt-get install wrk`");
    let hello = build::wasm(workspace().join("examples/hello")).unwrap();
    let plot = Scratch::new("plot.svg", "");
    let run =
        wasmplugin(&["bench", hello.to_str().unwrap(), "--seconds", "4", "--connections", "4", "--plot", plot.path()]);
    assert_eq!(run.code, Some(0), "{run:#?}");
    for name in ["embedded, no plugin ", "embedded, hello ", "envoy, no plugin ", "envoy, hello "] {
        let line = run.out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {run:#?}"));
        let cells: Vec<&str> = line.trim_start_matches(name).split_whitespace().collect();
        assert!(cells[0].parse::<f64>().unwrap() > 0.0 && cells[4].parse::<f64>().unwrap() > 0.0, "{line}");
        let [calls, allocations] = if name.starts_with("envoy") {
            ["-", "-"]
        } else if name.contains("hello") {
            ["1.0", "0.0"]
        } else {
            ["0.0", "0.0"]
        };
        assert_eq!((cells[5], cells[6]), (calls, allocations), "{line}");
        assert_eq!(cells[7].parse::<u64>().is_ok_and(|kib| kib > 0), name == "embedded, hello ", "{line}");
    }
    assert!(run.out.contains("embedded / Envoy, hello: "), "{}", run.out);
    let svg = std::fs::read_to_string(plot.path()).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("envoy, hello"), "{svg}");
}

#[test]
fn a_proxy_under_load_stays_as_it_is() {
    let five = [
        "examples/hello",
        "examples/request-log",
        "plugins/stats",
        "plugins/metadata-exchange",
        "examples/labelled-counter",
    ];
    let five = five.map(|package| build::wasm(workspace().join(package)).unwrap());
    let chain: Vec<_> = ["bench"].into_iter().chain(five.iter().map(|module| module.to_str().unwrap())).collect();
    let hello = chain[1];
    for more in [&["--idle", "300"][..], &["--reload"]] {
        let soak = ["--soak", "--seconds", "5", "--connections", "4"];
        let run = wasmplugin(&[&chain[..], &soak, more].concat());
        assert_eq!(run.code, Some(0), "{run:#?}");
        assert!(run.out.contains(" requests, ") && run.out.contains(" 0 refused, 0 failed; "), "{}", run.out);
        assert_eq!(run.out.contains("300 idle connections: "), more.len() == 2, "{}", run.out);
    }
    let run = wasmplugin(&[
        "bench",
        hello,
        "--soak",
        "--seconds",
        "1",
        "--path",
        "/x",
        "--header",
        "upgrade: x",
        "--header",
        "connection: upgrade",
    ]);
    assert_eq!(run.code, Some(1), "{run:#?}");
    assert!(run.out.contains("not fine: answers are neither 2xx nor 3xx"), "{}", run.out);
}

#[test]
fn what_cannot_be_measured_is_said_at_once() {
    let run = wasmplugin(&["bench", "/nowhere/a.wasm"]);
    assert!(run.message().contains("/nowhere/a.wasm"), "{run:#?}");
    for arguments in
        [&["bench"][..], &["bench", "a.wasm", "--reload"], &["bench", "a.wasm", "--config", "{}", "--config", "{}"]]
    {
        assert_eq!(wasmplugin(arguments).code, Some(2), "{arguments:?}");
    }
}
