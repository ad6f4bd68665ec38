//! The version of Istio that something is made for.

use std::fmt;
use std::str::FromStr;

/// A minor version of Istio 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IstioVersion {
    minor: u16,
}

/// A text that names no version of Istio.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of Istio that has WasmPlugin; write one like `1.30`, 1.12 or later")]
pub struct NotVersion(String);

impl IstioVersion {
    /// The newest one that this crate knows.
    pub const LATEST: Self = Self::one(32);

    /// `1.minor`.
    #[must_use]
    pub const fn one(minor: u16) -> Self {
        Self { minor }
    }

    /// Whether it serves TrafficExtension.
    #[must_use]
    pub fn has_traffic_extension(self) -> bool {
        self >= Self::one(30)
    }

    /// Whether `FAIL_RELOAD` exists.
    #[must_use]
    pub fn has_fail_reload(self) -> bool {
        self >= Self::one(27)
    }

    /// Whether plugins for connections, and targets, exist.
    #[must_use]
    pub fn has_network_plugins(self) -> bool {
        self >= Self::one(20)
    }

    /// Whether `failStrategy` is honoured.
    #[must_use]
    pub fn honours_fail_strategy(self) -> bool {
        self >= Self::one(19)
    }

    /// Whether the Envoy below is known to keep VMs apart that differ in nothing but their environment. Up to 1.37 the
    /// second plugin sees the environment of the first (envoy#40881), from 1.39 on it does not; 1.38, which Istio 1.30
    /// stands on, was not measured.
    #[must_use]
    pub fn separates_environments(self) -> bool {
        self >= Self::one(31)
    }

    /// What stands before `<namespace>.<name>` in the names of filters and their resources; 1.21 to 1.25 misspell it.
    #[must_use]
    pub fn resource_prefix(self) -> &'static str {
        match self.minor {
            30.. => "extensions.istio.io/trafficextension/",
            26..=29 => "extensions.istio.io/wasmplugin/",
            21..=25 => "extenstions.istio.io/wasmplugin/",
            _ => "",
        }
    }
}

impl fmt::Display for IstioVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "1.{}", self.minor)
    }
}

/// `1.30`, `1.30.2`, `v1.30`
impl FromStr for IstioVersion {
    type Err = NotVersion;

    fn from_str(text: &str) -> Result<Self, NotVersion> {
        let minor = || {
            let mut numbers = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
            let first = numbers.next()?;
            let minor = numbers.next()?.split('-').next()?.parse().ok()?;
            (first == "1").then_some(minor)
        };
        minor().filter(|minor| *minor >= 12).map(Self::one).ok_or_else(|| NotVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for text in ["1.30", "v1.30", "1.30.2", "1.30.0-rc.1", "1.30-dev"] {
            assert_eq!(text.parse(), Ok(IstioVersion::one(30)), "{text}");
        }
        for text in ["", "1", "2.0", "1.x", "1.11", "latest"] {
            assert!(text.parse::<IstioVersion>().is_err(), "{text}");
        }
        assert!(IstioVersion::one(9) < IstioVersion::one(30));
    }
}
