//! Attributes made from others by conditions, as Istio's `attributegen` extension.
//!
//! Conditions are expressions that the host evaluates; what is decided here is which attribute gets which value.

use serde::Deserialize;

/// The configuration: that of Istio's extension, unknown fields passed over as there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The attributes to make.
    pub attributes: Vec<Attribute>,
}

/// One attribute.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Attribute {
    /// When it is made.
    pub phase: Phase,
    /// Its name in filter state, behind `wasm.`.
    #[serde(alias = "outputAttribute")]
    pub output_attribute: String,
    /// The conditions, of which the first that holds decides.
    #[serde(rename = "match")]
    pub matches: Vec<Match>,
}

/// One condition with its value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Match {
    /// An expression in CEL; empty holds always.
    pub condition: String,
    /// What the attribute then is.
    pub value: String,
}

/// When an attribute is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PhaseText")]
pub enum Phase {
    /// When the exchange is over, for telemetry.
    #[default]
    AfterResponse,
    /// When the request's headers are here, for filters behind this one.
    OnRequest,
}

/// A phase as JSON has it: the name in the API, or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum PhaseText {
    Name(String),
    Number(u8),
}

impl TryFrom<PhaseText> for Phase {
    type Error = &'static str;

    fn try_from(text: PhaseText) -> Result<Self, Self::Error> {
        match text {
            PhaseText::Name(name) if name == "AFTER_RESPONSE" || name == "UNSPECIFIED" => Ok(Self::AfterResponse),
            PhaseText::Name(name) if name == "ON_REQUEST" => Ok(Self::OnRequest),
            PhaseText::Number(0 | 2) => Ok(Self::AfterResponse),
            PhaseText::Number(1) => Ok(Self::OnRequest),
            _ => Err("a phase is `ON_REQUEST` or `AFTER_RESPONSE`"),
        }
    }
}

/// Whether filter state can hold an attribute of that name, or why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("an attribute needs a name"),
        name if name.contains('.') => Err("an attribute's name has no `.`: expressions could not find it"),
        _ => Ok(()),
    }
}

/// The value of the first condition that holds; `None` if none does.
///
/// # Errors
///
/// A condition could not be evaluated; those behind it are not asked, and there is no value.
pub fn first<C, V, E>(matches: &[(C, V)], mut holds: impl FnMut(&C) -> Result<bool, E>) -> Result<Option<&V>, E> {
    for (condition, value) in matches {
        if holds(condition)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn istios_own_configuration_is_read() {
        let config: Config = serde_json::from_value(json!({
            "debug": true,
            "attributes": [
                {"output_attribute": "istio_responseClass", "match": [{"condition": "response.code >= 200", "value": "2xx"}]},
                {"phase": "ON_REQUEST", "outputAttribute": "operation", "match": [{"value": "any"}]},
                {"phase": 1}, {"phase": 0},
            ],
        }))
        .unwrap();
        let phases: Vec<_> = config.attributes.iter().map(|attribute| attribute.phase).collect();
        assert_eq!(phases, [Phase::AfterResponse, Phase::OnRequest, Phase::OnRequest, Phase::AfterResponse]);
        assert_eq!(config.attributes[0].output_attribute, "istio_responseClass");
        assert_eq!(config.attributes[1].output_attribute, "operation");
        assert!(serde_json::from_value::<Config>(json!({"attributes": [{"phase": "LATER"}]})).is_err());
    }

    #[test]
    fn the_first_condition_that_holds_decides() {
        let matches = [(Ok(false), 1), (Ok(true), 2), (Err("late"), 3)];
        assert_eq!(first(&matches, |condition| *condition), Ok(Some(&2)));
        assert_eq!(first(&matches[..1], |condition| *condition), Ok(None));
        assert_eq!(first(&matches[2..], |condition| *condition), Err("late"));
    }

    #[test]
    fn a_name_has_no_dots() {
        assert!(check_name("istio_responseClass").is_ok() && check_name("a.b").is_err() && check_name("").is_err());
    }
}
