//! `/exchanges`: what was recorded of the latest exchanges and TCP connections, as JSON, and the switch for it.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wasmplugin_host::callback::Callback;
use wasmplugin_host::recording::{Body, Content, Decision, End, Entry, Event, Leg, Recording, Step, What};

use crate::answer::Answer;
use crate::board::Board;
use crate::query::Query;

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
    let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
    let tcp = recording.connection().map(|tcp| {
        json!({"source": text(tcp.source), "destination": text(tcp.destination),
            "server_name": tcp.tls.as_ref().map(|tls| &tls.server_name)})
    });
    let bodies =
        recording.told_bodies().map(|(name, body, same)| json!({"name": name, "same": same, "body": self::body(body)}));
    json!({
        "serial": recording.serial,
        "listener": *recording.listener,
        "tcp": tcp,
        "began_ms": millis(recording.began),
        "host_calls": recording.host_calls(),
        "entries": recording.entries.iter().map(|entry| self::entry(recording, entry)).collect::<Vec<_>>(),
        "bodies": bodies.collect::<Vec<_>>(),
        "request_body": recording.body(Leg::RequestIn).map(body),
        "omitted": recording.omitted,
        "end": recording.end.as_ref().map(end),
    })
}

fn entry(recording: &Recording, Entry { at, what }: &Entry) -> Value {
    let mut entry = match what {
        What::Message(message) => {
            json!({"kind": "message", "leg": message.leg.name(), "headers": message.headers, "end": message.end})
        }
        What::Trailers(trailers) => {
            json!({"kind": "trailers", "leg": trailers.leg.name(), "headers": trailers.headers})
        }
        What::Opened(opened) => json!({"kind": "opened", "text": opened.to_string()}),
        What::Connected => json!({"kind": "connected"}),
        What::Data(data) => {
            json!({"kind": "data", "leg": recording.leg_name(data.leg), "bytes": data.bytes, "end": data.end})
        }
        What::Step(step) => self::step(step, recording.connection().is_some()),
        What::Answer(answer) => {
            json!({"kind": "answer", "plugin": *answer.plugin, "text": answer.to_string(), "took_us": micros(answer.took),
                "body": answer.body.as_ref().map(body)})
        }
        What::Reply(reply) => json!({"kind": "reply", "status": reply.status, "text": reply.to_string()}),
    };
    if let Value::Object(fields) = &mut entry {
        fields.insert("at_us".to_owned(), micros(*at).into());
    }
    entry
}

fn step(step: &Step, tcp: bool) -> Value {
    let (decision, reason) = match &step.decision {
        Decision::Nothing => ("", None),
        Decision::Continues => ("continues", None),
        Decision::Waits => ("waits", None),
        Decision::Traps(reason) => ("crashes", Some(reason)),
    };
    let size = match step.callback {
        Callback::RequestBody { size, .. }
        | Callback::ResponseBody { size, .. }
        | Callback::DownstreamData { size, .. }
        | Callback::UpstreamData { size, .. } => Some(size),
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
        "events": step.events.iter().map(|event| self::event(event, tcp)).collect::<Vec<_>>(),
        "omitted": step.omitted,
        "decision": decision,
        "reason": reason,
    })
}

fn event(event: &Event, tcp: bool) -> Value {
    let kind = match event {
        Event::HeaderSet { .. } | Event::HeaderRemoved { .. } | Event::Body { .. } => "change",
        Event::Asked { .. } | Event::NotAsked { .. } | Event::Sent { .. } | Event::GivenUp { .. } => "callout",
        Event::Stored { .. } => "store",
        Event::Reply(_) | Event::Continued { .. } | Event::Closed => "decision",
        Event::Log { .. } => "log",
    };
    let asked = if let Event::Asked { body, .. } = event { body.as_ref() } else { None };
    json!({"kind": kind, "text": event.told(tcp).to_string(), "body": asked.map(body)})
}

/// A body: to be read as `text`, to be sent again as `text` or `base64` if it is `whole`.
fn body(body: &Body) -> Value {
    let (text, base64, why) = match &body.content {
        Content::Text(text) => (text.clone(), None, None),
        Content::Bytes(bytes) => (body.content.lines().join("\n"), Some(STANDARD.encode(bytes)), None),
        Content::Nothing(why) => (String::new(), None, Some(why)),
    };
    json!({
        "bytes": body.bytes,
        "text": text,
        "base64": base64,
        "not_kept": why,
        "omitted": body.omitted,
        "redacted": body.redacted,
        "end": body.end,
        "whole": body.is_whole(),
    })
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
