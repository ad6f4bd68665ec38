//! What a page of the admin port says.

use hyper::StatusCode;
use serde_json::Value;

/// An answer of the admin port, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// Its `content-type`.
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

impl Answer {
    const TEXT: &str = "text/plain; charset=UTF-8";
    const JSON: &str = "application/json";
    pub(crate) const HTML: &str = "text/html; charset=UTF-8";
    /// The text of Prometheus.
    pub(crate) const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// A page of that `content-type`.
    pub(crate) const fn of(kind: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, kind, body }
    }

    pub(crate) const fn text(body: String) -> Self {
        Self::of(Self::TEXT, body)
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::of(Self::JSON, format!("{value:#}\n"))
    }

    /// What is wrong, as a text.
    pub(crate) const fn problem(status: StatusCode, body: String) -> Self {
        Self { status, kind: Self::TEXT, body }
    }

    /// What is wrong with the request.
    pub(crate) const fn refused(body: String) -> Self {
        Self::problem(StatusCode::BAD_REQUEST, body)
    }
}
