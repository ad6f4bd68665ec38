//! Recordings as text, for terminals: one line per entry, and one per event below it; then the bodies.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::{
    Answer, Body, Content, Decision, Entry, Event, Leg, Message, Opened, Point, Recording, Reply, Seen, Step, What,
};
use crate::callback::Callback;

/// Where what happened begins in a line.
const INDENT: usize = 13;
/// Bytes that are no text, per line.
const ROW: usize = 32;

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connection() {
            Some(opened) => self.connection_line(f, opened)?,
            None => self.exchange_line(f)?,
        }
        for Entry { at, what } in &self.entries {
            write!(f, "{:>INDENT$}", format!("{} ms  ", Millis(*at)))?;
            match what {
                What::Message(message) => message_line(f, message, "")?,
                What::Trailers(trailers) => message_line(f, trailers, ", trailers")?,
                What::Opened(opened) => writeln!(f, "-> {opened}")?,
                What::Connected => f.write_str("-> the server is connected\n")?,
                What::Data(data) => {
                    let (arrow, name) = (arrow(data.leg), self.leg_name(data.leg));
                    writeln!(f, "{arrow} {name}: {} bytes{}", data.bytes, if data.end { ", the end" } else { "" })?;
                }
                What::Step(step) => step_lines(f, step, self.connection().is_some())?,
                What::Answer(answer) => {
                    writeln!(f, "{answer}")?;
                    answer.body.iter().try_for_each(|body| content_lines(f, body))?;
                }
                What::Reply(reply) => writeln!(f, "the proxy answers {reply}")?,
            }
        }
        if self.omitted > 0 {
            writeln!(f, "{:INDENT$}... and {} more that were not kept", "", self.omitted)?;
        }
        self.body_lines(f)?;
        self.end_line(f)
    }
}

impl Recording {
    /// What the place of a piece of data is called, such as `request body in` or `from the client`.
    #[must_use]
    pub fn leg_name(&self, leg: Leg) -> &'static str {
        match (self.connection(), leg) {
            (Some(_), leg) => leg.side(),
            (None, Leg::RequestIn) => "request body in",
            (None, Leg::RequestOut) => "request body out",
            (None, Leg::ResponseIn) => "response body in",
            (None, Leg::ResponseOut) => "response body out",
        }
    }

    /// The bodies that are not empty, with their names, and whether they are the same as at the point before.
    pub fn told_bodies(&self) -> impl Iterator<Item = (String, &Body, bool)> {
        let mut before: Option<&Seen> = None;
        self.bodies.iter().filter(|seen| seen.body.bytes > 0).map(move |seen| {
            let name = match seen.point {
                Point::End(leg) => self.leg_name(leg).to_owned(),
                Point::Behind { response, .. } => format!("{} body behind {}", side(response), seen.plugin),
            };
            let response = seen.point.is_response();
            let before = before.replace(seen).filter(|before| before.point.is_response() == response);
            (name, &seen.body, before.is_some_and(|before| before.body == seen.body))
        })
    }

    fn exchange_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |leg, name| self.message(leg).and_then(|message: &Message| message.header(name)).unwrap_or("-");
        let request = |name| Visible(field(Leg::RequestIn, name));
        let (method, host, path) = (request(":method"), request(":authority"), request(":path"));
        write!(f, "#{} {} {method} {host}{path}", self.serial, self.listener)?;
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
        f.write_char('\n')
    }

    fn connection_line(&self, f: &mut fmt::Formatter<'_>, opened: &Opened) -> fmt::Result {
        write!(f, "#{} {} TCP", self.serial, self.listener)?;
        if let Some(source) = opened.source {
            write!(f, " {source}")?;
        }
        match &self.end {
            Some(end) => writeln!(f, " -> {} after {} ms", Visible(&end.details), Millis(end.took)),
            None => f.write_str(" goes on\n"),
        }
    }

    fn body_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, body, same) in self.told_bodies() {
            write!(f, "{:INDENT$}{}, {} bytes:", "", Visible(&name), body.bytes)?;
            if same {
                f.write_str(" as before\n")?;
            } else {
                f.write_char('\n')?;
                content_lines(f, body)?;
            }
        }
        Ok(())
    }

    fn end_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(end) = &self.end else { return Ok(()) };
        let upstream = end.upstream.map_or_else(|| "nobody".to_owned(), |address| address.to_string());
        let cluster = Visible(end.cluster.as_deref().unwrap_or("no cluster"));
        let (request, response) = (Bytes(end.request_bytes), Bytes(end.response_bytes));
        match self.connection() {
            Some(_) => writeln!(
                f,
                "{:INDENT$}{cluster}, {upstream}; from the client {request}, from the server {response}",
                ""
            ),
            None => {
                writeln!(f, "{:INDENT$}{cluster}, {upstream}; request body {request}, response body {response}", "")
            }
        }
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connection")?;
        if let Some(source) = self.source {
            write!(f, " from {source}")?;
        }
        if let Some(destination) = self.destination {
            write!(f, " to {destination}")?;
        }
        let Some(tls) = &self.tls else { return Ok(()) };
        write!(f, ", {}", Visible(&tls.version))?;
        if !tls.server_name.is_empty() {
            write!(f, " for {}", Visible(&tls.server_name))?;
        }
        if tls.peer.is_empty() { Ok(()) } else { write!(f, ", by {}", Visible(&tls.peer)) }
    }
}

const fn arrow(leg: Leg) -> &'static str {
    match leg {
        Leg::RequestIn | Leg::RequestOut => "->",
        Leg::ResponseIn | Leg::ResponseOut => "<-",
    }
}

fn message_line(f: &mut fmt::Formatter<'_>, message: &Message, part: &str) -> fmt::Result {
    write!(f, "{} {}{part}:", arrow(message.leg), message.leg.name())?;
    for name in [":method", ":path", ":status"] {
        if let Some(value) = message.header(name) {
            write!(f, " {}", Visible(value))?;
        }
    }
    let fields = message.headers.iter().filter(|(name, _)| !name.starts_with(':'));
    for (at, (name, value)) in fields.enumerate() {
        let sign = match (at, part) {
            (0, "") => ";",
            (0, _) => "",
            _ => ",",
        };
        write!(f, "{sign} {}: {}", Visible(name), Visible(value))?;
    }
    f.write_char('\n')
}

fn step_lines(f: &mut fmt::Formatter<'_>, step: &Step, tcp: bool) -> fmt::Result {
    let name = step.callback.name().trim_start_matches("proxy_on_").replace('_', " ");
    write!(f, "{}: {name}", step.plugin)?;
    if let Callback::RequestBody { size, end, .. }
    | Callback::ResponseBody { size, end, .. }
    | Callback::DownstreamData { size, end, .. }
    | Callback::UpstreamData { size, end, .. } = step.callback
    {
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
        writeln!(f, "{:INDENT$}  {}", "", event.told(tcp))?;
        if let Event::Asked { body: Some(body), .. } = event {
            content_lines(f, body)?;
        }
    }
    if step.omitted > 0 {
        writeln!(f, "{:INDENT$}  ... and {} more that were not kept", "", step.omitted)?;
    }
    if let Decision::Traps(reason) = &step.decision {
        writeln!(f, "{:INDENT$}  {}", "", Visible(reason))?;
    }
    Ok(())
}

fn content_lines(f: &mut fmt::Formatter<'_>, body: &Body) -> fmt::Result {
    for line in body.content.lines() {
        writeln!(f, "{:INDENT$}  | {}", "", Visible(&line))?;
    }
    match &body.content {
        Content::Nothing(why) => writeln!(f, "{:INDENT$}  ... not kept: {}", "", Visible(why)),
        _ if body.omitted > 0 => writeln!(f, "{:INDENT$}  ... {} bytes more", "", body.omitted),
        _ => Ok(()),
    }
}

impl Content {
    /// The lines of a text; of what is no text, its bytes in hexadecimal beside those that are letters.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Text(text) => text.lines().map(str::to_owned).collect(),
            Self::Bytes(bytes) => bytes.chunks(ROW).map(row).collect(),
            Self::Nothing(_) => Vec::new(),
        }
    }
}

fn row(bytes: &[u8]) -> String {
    let mut line = String::new();
    for byte in bytes {
        line.push_str(&format!("{byte:02x}"));
    }
    let letters = bytes.iter().map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '.' });
    format!("{line:<width$}  {}", letters.collect::<String>(), width = 2 * ROW)
}

impl Event {
    /// In words; where it is about a TCP connection, in those that fit one.
    pub fn told(&self, tcp: bool) -> impl fmt::Display {
        Told { event: self, tcp }
    }
}

/// An event in words.
struct Told<'a> {
    event: &'a Event,
    tcp: bool,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, tcp } = *self;
        match event {
            Event::HeaderSet { map, name, value } => write!(f, "sets {map} {}: {}", Visible(name), Visible(value)),
            Event::HeaderRemoved { map, name } => write!(f, "removes {map} {}", Visible(name)),
            Event::Body { response, before, after } => {
                let what = match (tcp, response) {
                    (false, false) => "the request body",
                    (false, true) => "the response body",
                    (true, false) => "what comes from the client",
                    (true, true) => "what comes from the server",
                };
                write!(f, "changes {what}, {before} to {after} bytes")
            }
            Event::Asked { cluster, request, body } => {
                write!(f, "asks `{}`: {}", Visible(cluster), Visible(request))?;
                body.as_ref().map_or(Ok(()), |body| write!(f, ", {} bytes", body.bytes))
            }
            Event::NotAsked { cluster, status } => write!(f, "cannot ask `{}`: {status}", Visible(cluster)),
            Event::Sent { cluster, message, end } => {
                let cluster = Visible(cluster);
                match message {
                    Some(length) => write!(f, "sends `{cluster}` a message, {length} bytes")?,
                    None => write!(f, "sends `{cluster}` no more")?,
                }
                f.write_str(if *end && message.is_some() { ", the last" } else { "" })
            }
            Event::GivenUp { cluster } => write!(f, "gives up on `{}`", Visible(cluster)),
            Event::Stored { path, length } => write!(f, "stores `{}`, {length} bytes", Visible(path)),
            Event::Reply(reply) => write!(f, "answers {reply}"),
            Event::Continued { .. } if tcp => f.write_str("lets the connection go on"),
            Event::Continued { response } => write!(f, "lets the {} go on", side(*response)),
            Event::Closed => f.write_str("cuts it off"),
            Event::Log { level, text } => write!(f, "logs {level}: {}", Visible(text)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, cluster, result, took, .. } = self;
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
