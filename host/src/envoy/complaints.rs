//! Why Envoy refuses something, in what its log says.

use super::log::Record;

/// How Envoy begins to say that it does not take what has come over a discovery service.
const REJECTED: &str = "Filesystem config update rejected: ";
/// How it says so of a file that it cannot read.
const UNREADABLE: &str = "Filesystem config update failure: ";
/// What it says of one listener or cluster among others.
const ONE: [(&str, &str); 2] = [("lds: listener '", "' config rejected: "), ("cds: cluster '", "' config rejected: ")];
/// How it begins to say so of listeners or clusters as a whole.
const MANY: &str = "Error adding/updating ";
/// What it says after it has said what is wrong with a plugin.
const ECHOES: [&str; 3] = ["Plugin ", "error `", "Unable to create Wasm plugin"];

/// Something that Envoy has discovered and does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The listener or cluster, if it is one; empty otherwise.
    pub name: String,
    /// What Envoy says of it, such as `Unable to create Wasm plugin a`.
    pub message: String,
    /// Why: what the plugin complains about, or the same message.
    pub reason: String,
}

/// Whether it says that something was refused.
pub(super) fn is_refusal(record: &Record) -> bool {
    [REJECTED, UNREADABLE].iter().any(|start| record.message.starts_with(start))
}

/// Whether it says so of listeners or clusters.
pub(super) fn is_refusal_of_many(record: &Record) -> bool {
    record.message.strip_prefix(REJECTED).is_some_and(|text| text.starts_with(MANY))
        || record.message.starts_with(UNREADABLE)
}

/// What was refused, in the order in which it was.
pub(super) fn refusals(records: &[Record]) -> Vec<Refusal> {
    let (mut found, mut complaints) = (Vec::new(), Vec::new());
    for record in records {
        if let Some(refusal) = refusal(record, &mut complaints) {
            found.push(refusal);
        } else if let Some(complaint) = complaint(record) {
            add(&mut complaints, complaint);
        }
    }
    found
}

/// What was refused, if the record says so; `complaints` are those that have led to it.
fn refusal(record: &Record, complaints: &mut Vec<String>) -> Option<Refusal> {
    let message = record.message.trim();
    for (start, middle) in ONE {
        if let Some((name, message)) = message.strip_prefix(start).and_then(|rest| rest.split_once(middle)) {
            return Some(Refusal::new(name, message, complaints));
        }
    }
    let message = [REJECTED, UNREADABLE].iter().find_map(|start| message.strip_prefix(start))?;
    // Of each of them it was said before.
    (!message.starts_with(MANY)).then(|| Refusal::new("", message, complaints))
}

impl Refusal {
    fn new(name: &str, message: &str, complaints: &mut Vec<String>) -> Self {
        let message = message.lines().next().unwrap_or_default().to_owned();
        let complaints = std::mem::take(complaints);
        let reason = if complaints.is_empty() { message.clone() } else { complaints.join("; ") };
        Self { name: name.to_owned(), message, reason }
    }
}

/// What of records tells a reader why Envoy does not take what it was told, each once.
pub(super) fn of(records: &[Record]) -> Vec<String> {
    let mut complaints = Vec::new();
    for complaint in records.iter().filter_map(complaint) {
        add(&mut complaints, complaint);
    }
    complaints
}

fn add(complaints: &mut Vec<String>, complaint: String) {
    if !complaints.contains(&complaint) {
        complaints.push(complaint);
    }
}

fn complaint(record: &Record) -> Option<String> {
    let message = record.message.lines().next().unwrap_or_default().trim();
    let loud = matches!(record.level.as_str(), "error" | "critical");
    if let Some(said) = message.strip_prefix("wasm log") {
        return loud.then(|| said.split_once(": ").map_or(said, |(_, text)| text).trim().to_owned());
    }
    if !loud || ECHOES.iter().any(|echo| message.starts_with(echo)) {
        return None;
    }
    Some(message.strip_prefix("Wasm VM failed ").unwrap_or(message).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: &str, logger: &str, message: &str) -> Record {
        Record {
            level: level.to_owned(),
            logger: logger.to_owned(),
            thread: "1".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_plugins_complaint_counts_when_it_is_loud() {
        let loud = record("error", "wasm", "wasm log root: `a`: expected a number");
        assert_eq!(complaint(&loud).as_deref(), Some("`a`: expected a number"));
        assert_eq!(complaint(&record("info", "wasm", "wasm log root: hello")), None);
        assert_eq!(complaint(&record("warning", "main", "no limit")), None);
        assert_eq!(complaint(&record("critical", "", "cannot open")).as_deref(), Some("cannot open"));
        let reason = record("critical", "wasm", "Wasm VM failed Failed to configure base Wasm plugin");
        assert_eq!(complaint(&reason).as_deref(), Some("Failed to configure base Wasm plugin"));
        assert_eq!(complaint(&record("critical", "wasm", "Plugin a failed to load")), None);
    }

    #[test]
    fn each_refusal_has_its_own_reason() {
        let records = [
            record("error", "wasm", "wasm log: `limit` is missing"),
            record("error", "wasm", "Wasm VM failed Failed to configure base Wasm plugin"),
            record("critical", "wasm", "Plugin a failed to load"),
            record("warning", "config", "Filesystem config update rejected: Unable to create Wasm plugin a"),
            record("warning", "config", "Filesystem config update rejected: Unable to create Wasm plugin b"),
            record("warning", "upstream", "lds: listener 'in' config rejected: Unable to create Wasm plugin b"),
            record(
                "warning",
                "config",
                "Filesystem config update rejected: Error adding/updating listener(s) in: ..\n",
            ),
        ];
        let refusal = |name: &str, message: &str, reason: &str| Refusal {
            name: name.to_owned(),
            message: message.to_owned(),
            reason: reason.to_owned(),
        };
        let expected = [
            refusal("", "Unable to create Wasm plugin a", "`limit` is missing; Failed to configure base Wasm plugin"),
            refusal("", "Unable to create Wasm plugin b", "Unable to create Wasm plugin b"),
            refusal("in", "Unable to create Wasm plugin b", "Unable to create Wasm plugin b"),
        ];
        assert_eq!(refusals(&records), expected);
        assert_eq!(records.iter().filter(|record| is_refusal(record)).count(), 3);
        assert_eq!(records.iter().filter(|record| is_refusal_of_many(record)).count(), 1);
    }
}
