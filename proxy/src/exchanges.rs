//! `/exchanges`: what was recorded of the latest exchanges, as JSON, and the switch for it.

use std::time::Duration;

use serde_json::{Value, json};
use wasmplugin_host::callback::Callback;
use wasmplugin_host::recording::{Decision, End, Entry, Event, Recording, Step, What};

use crate::admin::{Answer, Query};
use crate::board::Board;

/// The recordings that have changed since a version of the recorder: `?since=N`.
pub(crate) fn list(board: &Board, query: &Query<'_>) -> Answer {
    let Ok(since) = query.get("since").unwrap_or("0").parse() else {
        return Answer::refused("`since` has to be a number: the `version` of an earlier answer\n".to_owned());
    };
    let recorder = board.services.recorder();
    let (recordings, version) = recorder.changed_since(since);
    let exchanges: Vec<_> = recordings.iter().map(exchange).collect();
    Answer::json(&json!({"recording": recorder.is_on(), "version": version, "exchanges": exchanges}))
}

/// Switches recording: `?switch=on` or `off`.
pub(crate) fn switch(board: &Board, query: &Query<'_>) -> Answer {
    let on = match query.get("switch") {
        Some("on") => true,
        Some("off") => false,
        _ => return Answer::refused("say `?switch=on` or `?switch=off`\n".to_owned()),
    };
    board.services.recorder().switch(on);
    Answer::json(&json!({"recording": on}))
}

/// Forgets what was recorded.
pub(crate) fn clear(board: &Board, _: &Query<'_>) -> Answer {
    board.services.recorder().clear();
    Answer::json(&json!({}))
}

fn exchange(recording: &Recording) -> Value {
    json!({
        "serial": recording.serial,
        "listener": *recording.listener,
        "began_ms": millis(recording.began),
        "host_calls": recording.host_calls(),
        "entries": recording.entries.iter().map(entry).collect::<Vec<_>>(),
        "omitted": recording.omitted,
        "end": recording.end.as_ref().map(end),
    })
}

fn entry(Entry { at, what }: &Entry) -> Value {
    let mut entry = match what {
        What::Message(message) => {
            json!({"kind": "message", "leg": message.leg.name(), "headers": message.headers, "end": message.end})
        }
        What::Step(step) => self::step(step),
        What::Answer(answer) => {
            json!({"kind": "answer", "plugin": *answer.plugin, "text": answer.to_string(), "took_us": micros(answer.took)})
        }
        What::Reply(reply) => json!({"kind": "reply", "status": reply.status, "text": reply.to_string()}),
    };
    if let Value::Object(fields) = &mut entry {
        fields.insert("at_us".to_owned(), micros(*at).into());
    }
    entry
}

fn step(step: &Step) -> Value {
    let (decision, reason) = match &step.decision {
        Decision::Nothing => ("", None),
        Decision::Continues => ("continues", None),
        Decision::Waits => ("waits", None),
        Decision::Traps(reason) => ("crashes", Some(reason)),
    };
    let size = match step.callback {
        Callback::RequestBody { size, .. } | Callback::ResponseBody { size, .. } => Some(size),
        _ => None,
    };
    json!({
        "kind": "step",
        "plugin": *step.plugin,
        "place": step.place,
        "callback": step.callback.name(),
        "size": size,
        "took_us": micros(step.took),
        "calls": step.calls,
        "events": step.events.iter().map(event).collect::<Vec<_>>(),
        "omitted": step.omitted,
        "decision": decision,
        "reason": reason,
    })
}

fn event(event: &Event) -> Value {
    let kind = match event {
        Event::HeaderSet { .. } | Event::HeaderRemoved { .. } | Event::Body { .. } => "change",
        Event::Asked { .. } | Event::NotAsked { .. } => "callout",
        Event::Stored { .. } => "store",
        Event::Reply(_) | Event::Continued { .. } | Event::Closed => "decision",
        Event::Log { .. } => "log",
    };
    json!({"kind": kind, "text": event.to_string()})
}

fn end(end: &End) -> Value {
    json!({
        "took_us": micros(end.took),
        "status": end.status,
        "details": end.details,
        "cluster": end.cluster,
        "upstream": end.upstream.map(|address| address.to_string()),
        "request_bytes": end.request_bytes,
        "response_bytes": end.response_bytes,
    })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
