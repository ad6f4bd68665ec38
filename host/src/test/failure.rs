//! Why a proxy did not start, and why an exchange got no proper response.

use std::time::Duration;

use super::driver::LogLine;
use super::message::Response;

/// A proxy that did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    logs: Vec<LogLine>,
}

impl StartError {
    /// A refusal for the given reason, with what the plugins logged until then.
    pub fn new(message: impl Into<String>, logs: Vec<LogLine>) -> Self {
        Self { message: message.into(), logs }
    }

    /// What the plugins logged before the start failed; mostly the plugin's own complaint.
    pub fn logs(&self) -> &[LogLine] {
        &self.logs
    }
}

/// An exchange that did not end with a whole response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection (or the stream) was cut before the end; what had arrived until then, if anything.
    #[error("the exchange was cut {}", describe(.0.as_deref()))]
    Reset(Option<Box<Response>>),
    /// Nothing will ever answer, or nothing did in the given time.
    #[error("the exchange hangs: no answer after {}", seconds(.0))]
    Hung(Duration),
    /// The proxy did not take the request, or the test asked for something impossible.
    #[error("the exchange was refused: {0}")]
    Refused(String),
}

impl Failure {
    /// What had arrived of a response that was cut.
    pub fn arrived(&self) -> Option<&Response> {
        match self {
            Self::Reset(arrived) => arrived.as_deref(),
            _ => None,
        }
    }
}

fn describe(arrived: Option<&Response>) -> String {
    match arrived {
        Some(response) => format!("after status {} and {} bytes of body", response.status(), response.body().len()),
        None => "before any answer".to_owned(),
    }
}

fn seconds(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::Headers;

    #[test]
    fn a_failure_says_how_far_it_came() {
        let headers: Headers = [(":status", "200")].into_iter().collect();
        let part = Response::new(headers, vec!["abc".into()], Headers::new());
        assert_eq!(
            Failure::Reset(Some(Box::new(part))).to_string(),
            "the exchange was cut after status 200 and 3 bytes of body"
        );
        assert_eq!(Failure::Reset(None).to_string(), "the exchange was cut before any answer");
        assert_eq!(Failure::Hung(Duration::from_millis(2500)).to_string(), "the exchange hangs: no answer after 2.5 s");
    }
}
