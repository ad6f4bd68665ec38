//! What plugins log on either side.

use wasmplugin_host::envoy::log::Log;
use wasmplugin_host::sandbox::RESTRICTED;

use crate::engine;
use crate::logger;

/// How both proxies begin to say in their own words that a plugin has trapped.
const TRAP: &str = ": Function: ";

/// Lines that one side has logged and the other one has not yet.
#[derive(Debug)]
pub(super) struct Lines {
    envoys: Vec<Log>,
    embedded: Vec<String>,
    envoy: Vec<String>,
}

impl Lines {
    /// Begins with what is logged from now on; `envoys` are the logs of all Envoys.
    pub(super) fn of(envoys: Vec<Log>) -> Self {
        for log in &envoys {
            log.take_plugin_lines();
        }
        logger::copy_plugins();
        Self { envoys, embedded: Vec::new(), envoy: Vec::new() }
    }

    /// Follows these Envoys from now on.
    pub(super) fn follow(&mut self, envoys: Vec<Log>) {
        self.envoys = envoys;
    }

    /// Looks at what has been logged meanwhile; whether both sides have said the same. The order is left out of account: several
    /// proxies do not wait for each other.
    pub(super) fn agree(&mut self) -> bool {
        let own = |line: &String| !line.contains(TRAP);
        self.embedded.extend(logger::take_copies().iter().filter(|line| own(line)).map(|line| unnumbered(line)));
        let envoy = self.envoys.iter().flat_map(engine::plugin_lines);
        self.envoy.extend(envoy.filter(own).map(|line| unnumbered(&line)));
        strike_out(&mut self.embedded, &mut self.envoy);
        self.embedded.is_empty() && self.envoy.is_empty()
    }

    /// What only one side has said, for people; it is then forgotten.
    pub(super) fn differences(&mut self) -> Vec<String> {
        let embedded = self.embedded.drain(..).map(|line| ("embedded", line, "envoy"));
        let all = embedded.chain(self.envoy.drain(..).map(|line| ("envoy", line, "embedded")));
        all.map(|(one, line, other)| format!("log: {one} says `{}`, {other} does not", line.replace('\n', "\\n")))
            .collect()
    }
}

/// The line without the numbers by which plugins of our SDK name exchanges and connections, since they count all that a VM has seen,
/// and which listeners share one is each proxy's own affair; without the ports of this machine, which are each connection's own; and
/// without the plugin where Envoy does not name it.
fn unnumbered(line: &str) -> String {
    let line = match (line.split_once(": "), line.find(RESTRICTED)) {
        // A real Envoy does not say which plugin it was.
        (Some((level, _)), Some(at)) => format!("{level}: {}", line.get(at..).unwrap_or_default()),
        _ => line.to_owned(),
    };
    ["exchange ", "connection ", "127.0.0.1:"].into_iter().fold(line, |line, named| {
        let mut parts = line.split(named);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| whole + named + part.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    })
}

/// Takes out what is in both.
fn strike_out(one: &mut Vec<String>, other: &mut Vec<String>) {
    one.retain(|line| match other.iter().position(|candidate| candidate == line) {
        Some(at) => {
            other.remove(at);
            false
        }
        None => true,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_not_told_apart_by_their_numbers() {
        assert_eq!(unnumbered("error: exchange 17 failed: exchange of 3"), "error: exchange  failed: exchange of 3");
        assert_eq!(unnumbered("error: connection 5 failed"), "error: connection  failed");
        assert_eq!(unnumbered("info: over: 127.0.0.1:5000"), "info: over: 127.0.0.1:");
        assert_eq!(unnumbered("info: 17"), "info: 17");
        let refused = "error: Attempted call to restricted WASI capability: fd_write";
        assert_eq!(unnumbered(&refused.replace(": A", ": wasm log p r: A")), refused);
        assert_eq!(unnumbered(refused), refused);
    }

    #[test]
    fn a_line_that_both_say_is_none_of_either() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (mut one, mut other) = (lines("a b a c"), lines("c a d a a"));
        strike_out(&mut one, &mut other);
        assert_eq!((one, other), (lines("b"), lines("d a")));
    }
}
