//! Envoy's `wasm:trace` lines: what the host called in the guest and the guest in the host, with every answer.

use crate::imports::{Import, Param};

pub use crate::trace_line::TraceLine;

impl TraceLine {
    /// The line without what differs between two right hosts: addresses become 0.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        if let Self::Call { name, arguments } = &mut self
            && let Some(import) = name.rsplit('.').next().and_then(Import::find)
        {
            for (argument, param) in arguments.iter_mut().zip(import.meaning) {
                if matches!(param, Param::Pointer | Param::Out) {
                    *argument = 0;
                }
            }
        }
        self
    }
}

/// The part of a trace in which two right hosts agree: without start-up, allocations and WASI, without addresses.
#[must_use]
pub fn comparable(lines: impl IntoIterator<Item = TraceLine>) -> Vec<TraceLine> {
    let agreed = |line: &TraceLine| match line {
        TraceLine::Enter { name, .. } | TraceLine::Leave { name, .. } => {
            name.starts_with("proxy_on_") && name != "proxy_on_memory_allocate"
        }
        TraceLine::Call { name, .. } | TraceLine::Return { name, .. } => name.starts_with("env.proxy_"),
    };
    lines.into_iter().filter(agreed).map(TraceLine::normalised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_back() {
        for line in [
            "[host->vm] proxy_on_request_headers(2, 7, 1)",
            "[vm->host] env.proxy_log(2, 1049, 3)",
            "[vm<-host] env.proxy_log return: 0",
            "[host<-vm] proxy_on_request_headers return: 0",
            "[host<-vm] proxy_on_log return: void",
            "[vm->host] env.proxy_done()",
        ] {
            let parsed = TraceLine::parse(&format!("[2026-11-21][4761][trace][wasm] [x.cc:1] {line}")).unwrap();
            assert_eq!(parsed.to_string(), line);
        }
        assert_eq!(TraceLine::parse("nothing"), None);
    }

    #[test]
    fn what_only_one_host_shows_is_left_out() {
        let lines = [
            "[host->vm] _initialize()",
            "[host->vm] proxy_on_tick(1)",
            "[vm->host] env.proxy_get_property(1024, 9, 16, 20)",
            "[host->vm] proxy_on_memory_allocate(259)",
            "[host<-vm] proxy_on_memory_allocate return: 1063872",
            "[vm<-host] env.proxy_get_property return: 0",
            "[vm->host] wasi_snapshot_preview1.fd_write(1, 2, 3, 4)",
        ];
        let lines = comparable(lines.iter().map(|line| TraceLine::parse(line).unwrap()));
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "[host->vm] proxy_on_tick(1)",
                "[vm->host] env.proxy_get_property(0, 9, 0, 0)",
                "[vm<-host] env.proxy_get_property return: 0",
            ]
        );
    }

    #[test]
    fn addresses_do_not_matter() {
        let line = TraceLine::parse("[vm->host] env.proxy_log(2, 1049, 3)").unwrap();
        assert_eq!(line.normalised().to_string(), "[vm->host] env.proxy_log(2, 0, 3)");
    }
}
