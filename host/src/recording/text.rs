//! Recordings as text, for terminals: one line per entry, and one per event below it.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::{Answer, Decision, Entry, Event, Leg, Message, Recording, Reply, Step, What};
use crate::callback::Callback;

/// Where what happened begins in a line.
const INDENT: usize = 13;

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |leg, name| self.message(leg).and_then(|message: &Message| message.header(name)).unwrap_or("-");
        let request = |name| Visible(field(Leg::RequestIn, name));
        write!(
            f,
            "#{} {} {} {}{}",
            self.serial,
            self.listener,
            request(":method"),
            request(":authority"),
            request(":path")
        )?;
        match &self.end {
            Some(end) => {
                match end.status {
                    Some(status) => write!(f, " -> {status}")?,
                    None => f.write_str(" -> cut off")?,
                }
                write!(f, " in {} ms", Millis(end.took))?;
                if !end.details.is_empty() {
                    write!(f, " ({})", Visible(&end.details))?;
                }
            }
            None => f.write_str(" goes on")?,
        }
        f.write_char('\n')?;
        for Entry { at, what } in &self.entries {
            write!(f, "{:>INDENT$}", format!("{} ms  ", Millis(*at)))?;
            match what {
                What::Message(message) => message_line(f, message)?,
                What::Step(step) => step_lines(f, step)?,
                What::Answer(answer) => writeln!(f, "{answer}")?,
                What::Reply(reply) => writeln!(f, "the proxy answers {reply}")?,
            }
        }
        if self.omitted > 0 {
            writeln!(f, "{:INDENT$}... and {} more that were not kept", "", self.omitted)?;
        }
        if let Some(end) = &self.end {
            let upstream = end.upstream.map_or_else(|| "nobody".to_owned(), |address| address.to_string());
            let cluster = end.cluster.as_deref().unwrap_or("no cluster");
            writeln!(
                f,
                "{:INDENT$}{}, {upstream}; request body {}, response body {}",
                "",
                Visible(cluster),
                Bytes(end.request_bytes),
                Bytes(end.response_bytes)
            )?;
        }
        Ok(())
    }
}

fn message_line(f: &mut fmt::Formatter<'_>, message: &Message) -> fmt::Result {
    let arrow = match message.leg {
        Leg::RequestIn | Leg::RequestOut => "->",
        Leg::ResponseIn | Leg::ResponseOut => "<-",
    };
    write!(f, "{arrow} {}:", message.leg.name())?;
    for name in [":method", ":path", ":status"] {
        if let Some(value) = message.header(name) {
            write!(f, " {}", Visible(value))?;
        }
    }
    let fields = message.headers.iter().filter(|(name, _)| !name.starts_with(':'));
    for (at, (name, value)) in fields.enumerate() {
        write!(f, "{} {}: {}", if at == 0 { ";" } else { "," }, Visible(name), Visible(value))?;
    }
    f.write_char('\n')
}

fn step_lines(f: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    let name = step.callback.name().trim_start_matches("proxy_on_").replace('_', " ");
    write!(f, "{}: {name}", step.plugin)?;
    if let Callback::RequestBody { size, end, .. } | Callback::ResponseBody { size, end, .. } = step.callback {
        write!(f, " ({size} bytes{})", if end { ", the end" } else { "" })?;
    }
    f.write_str(match &step.decision {
        Decision::Nothing => "",
        Decision::Continues => ", continues",
        Decision::Waits => ", waits",
        Decision::Traps(_) => ", CRASHES",
    })?;
    write!(f, "; {} ms, {} host calls", Millis(step.took), step.host_calls())?;
    for (at, (name, count)) in step.calls.iter().enumerate() {
        let name = name.trim_start_matches("proxy_");
        write!(f, "{}{name} {count}", if at == 0 { ": " } else { ", " })?;
    }
    f.write_char('\n')?;
    for event in &step.events {
        writeln!(f, "{:INDENT$}  {event}", "")?;
    }
    if step.omitted > 0 {
        writeln!(f, "{:INDENT$}  ... and {} more that were not kept", "", step.omitted)?;
    }
    if let Decision::Traps(reason) = &step.decision {
        writeln!(f, "{:INDENT$}  {}", "", Visible(reason))?;
    }
    Ok(())
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderSet { map, name, value } => write!(f, "sets {map} {}: {}", Visible(name), Visible(value)),
            Self::HeaderRemoved { map, name } => write!(f, "removes {map} {}", Visible(name)),
            Self::Body { response, before, after } => {
                write!(f, "changes the {} body, {before} to {after} bytes", side(*response))
            }
            Self::Asked { cluster, request } => write!(f, "asks `{}`: {}", Visible(cluster), Visible(request)),
            Self::NotAsked { cluster, status } => write!(f, "cannot ask `{}`: {status}", Visible(cluster)),
            Self::Stored { path, length } => write!(f, "stores `{}`, {length} bytes", Visible(path)),
            Self::Reply(reply) => write!(f, "answers {reply}"),
            Self::Continued { response } => write!(f, "lets the {} go on", side(*response)),
            Self::Closed => f.write_str("cuts the exchange off"),
            Self::Log { level, text } => write!(f, "logs {level}: {}", Visible(text)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, cluster, result, took } = self;
        let (cluster, result) = (Visible(cluster), Visible(result));
        write!(f, "`{cluster}` answers `{plugin}` after {} ms: {result}", Millis(*took))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, details, body } = self;
        write!(f, "{status}, {body} bytes")?;
        if details.is_empty() { Ok(()) } else { write!(f, " ({})", Visible(details)) }
    }
}

const fn side(response: bool) -> &'static str {
    if response { "response" } else { "request" }
}

/// A time in milliseconds, to the microsecond.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64() * 1000.0)
    }
}

/// Bytes that came and that went on.
struct Bytes((u64, u64));

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self((came, left)) = self;
        if came == left { write!(f, "{came} bytes") } else { write!(f, "{came} to {left} bytes") }
    }
}

/// What strangers wrote, without what a terminal would obey.
struct Visible<'a>(&'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
}
