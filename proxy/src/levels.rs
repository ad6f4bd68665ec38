//! `/logging`: how loud plugins are.

use crate::answer::Answer;
use crate::board::Board;
use crate::query::Query;

/// Envoy's words, from the loudest on.
const LEVELS: [&str; 7] = ["trace", "debug", "info", "warning", "error", "critical", "off"];

/// Changes the level if the query says so, and tells it.
pub(crate) fn logging(board: &Board, query: &Query<'_>) -> Answer {
    for (name, value) in query.pairs() {
        let at = LEVELS.iter().position(|level| *level == value);
        match (name, at.and_then(|at| u32::try_from(at).ok())) {
            ("level" | "wasm", Some(level)) => board.services.set_log_level(level),
            ("level" | "wasm", None) => {
                return Answer::refused(format!("there is no level `{value}`; there are {}\n", LEVELS.join(", ")));
            }
            _ => return Answer::refused(format!("there is no logger `{name}`; there is `wasm`\n")),
        }
    }
    let level = usize::try_from(board.services.log_level()).ok().and_then(|level| LEVELS.get(level));
    Answer::text(format!("active loggers:\n  wasm: {}\n", level.unwrap_or(&"off")))
}
