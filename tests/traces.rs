//! The calls between proxy and plugin, line by line: as Envoy's documentation of itself, its log, has them.

use std::fmt::Write as _;

use wasmplugin_host::test::{Engine, Proxy, TraceLine};
use wasmplugin_host::trace::comparable;

use crate::drives::{COURSES, Course};

/// Where the engine in memory and Envoy differ, and may.
struct Accepted {
    /// The drive; nothing in it: every one.
    drive: &'static str,
    /// What a line begins with.
    line: &'static str,
    #[expect(dead_code, reason = "it is for the reader")]
    reason: &'static str,
}

const ACCEPTED: &[Accepted] = &[];

/// The trace of each drive, in its order.
fn traces(course: &Course, engine: Engine) -> Vec<Vec<String>> {
    let builder = (course.setup)(course.plugin.on(engine)).trace(true);
    let mut proxy = builder.start().unwrap_or_else(|error| panic!("{}: {error}", course.plugin.package));
    let mut seen = proxy.trace().len();
    let mut traces = Vec::new();
    for drive in course.drives {
        let _ = (drive.run)(&mut proxy);
        traces.push(next(&mut proxy, &mut seen, drive.name));
    }
    traces
}

/// What came since the last time, without what two right hosts need not share.
fn next(proxy: &mut Proxy, seen: &mut usize, drive: &str) -> Vec<String> {
    let lines = proxy.trace();
    let new = lines.get(*seen..).unwrap_or_default().to_vec();
    *seen = lines.len();
    let accepted = |line: &String| {
        ACCEPTED.iter().any(|known| (known.drive.is_empty() || known.drive == drive) && line.starts_with(known.line))
    };
    without_early_ticks(comparable(new)).iter().map(TraceLine::to_string).filter(|line| !accepted(line)).collect()
}

/// Envoy's timers count in whole milliseconds and come a bit too early: then the SDK looks at its watch and asks for
/// the rest. Such ticks are left out, and how long a tick takes does not matter.
fn without_early_ticks(lines: Vec<TraceLine>) -> Vec<TraceLine> {
    let mut kept = Vec::new();
    let mut tick: Option<Vec<TraceLine>> = None;
    for mut line in lines {
        if let TraceLine::Call { name, arguments } = &mut line
            && name == "env.proxy_set_tick_period_milliseconds"
        {
            arguments.iter_mut().for_each(|period| *period = (*period).min(1));
        }
        let is_tick = |name: &String| name == "proxy_on_tick";
        match &line {
            TraceLine::Enter { name, .. } if is_tick(name) => tick = Some(vec![line]),
            TraceLine::Leave { name, .. } if is_tick(name) => {
                let mut tick = tick.take().unwrap_or_default();
                tick.push(line);
                let works = |line: &TraceLine| {
                    matches!(line, TraceLine::Call { name, .. } if name == "env.proxy_set_effective_context")
                };
                if tick.iter().any(works) {
                    kept.append(&mut tick);
                }
            }
            _ => tick.as_mut().unwrap_or(&mut kept).push(line),
        }
    }
    kept
}

#[test]
fn every_drive_has_the_trace_that_envoy_has() {
    let mut wrong = String::new();
    for course in COURSES {
        let (ours, envoys) = (traces(course, Engine::Wasm), traces(course, Engine::Envoy));
        for ((drive, ours), envoys) in course.drives.iter().zip(ours).zip(envoys) {
            if ours != envoys {
                let _ = writeln!(wrong, "\n{}: {}\n{}", course.plugin.package, drive.name, difference(&ours, &envoys));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The lines around the first difference; `<` is ours, `>` is Envoy's.
fn difference(ours: &[String], envoys: &[String]) -> String {
    let same = ours.iter().zip(envoys).take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    for line in ours.get(same.saturating_sub(6)..same).unwrap_or_default() {
        let _ = writeln!(text, "  {line}");
    }
    for (mark, lines) in [("<", ours), (">", envoys)] {
        for line in lines.get(same..).unwrap_or_default().iter().take(12) {
            let _ = writeln!(text, "{mark} {line}");
        }
    }
    text
}
