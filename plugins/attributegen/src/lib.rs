//! Istio's `attributegen` as a plugin: the host evaluates conditions, `istio_core::attribute_gen` says what follows.

use istio_core::attribute_gen::{self, Attribute, Config, Phase};
use wasmplugin::cel::{Expression, Subject};
use wasmplugin::config::ConfigError;
use wasmplugin::filter_state::{Declaration, FilterState, Kind, Span};
use wasmplugin::metrics::Counter;
use wasmplugin::{Flow, Http, LogEntry, RequestHead, Result};

/// Makes attributes of exchanges. It never refuses anything.
#[derive(Debug)]
struct AttributeGen {
    on_request: Vec<Made>,
    after_response: Vec<Made>,
    runtime_errors: Counter,
}

/// An attribute with its parsed conditions; none holds always.
#[derive(Debug)]
struct Made {
    place: FilterState,
    matches: Vec<(Option<Expression>, String)>,
}

/// As in Istio, a configuration with a mistake in it makes no attributes at all, and the proxy runs on.
impl TryFrom<&[u8]> for AttributeGen {
    type Error = ConfigError;

    fn try_from(configuration: &[u8]) -> Result<Self, ConfigError> {
        let made = read(configuration).unwrap_or_else(|error| {
            log::error!("no attributes are made: {error}");
            Counter::new("wasm_filter.attributegen.type.config.error_count").inc(1);
            Vec::new()
        });
        let (on_request, after_response): (Vec<_>, Vec<_>) =
            made.into_iter().partition(|(phase, _)| *phase == Phase::OnRequest);
        let only = |list: Vec<(Phase, Made)>| list.into_iter().map(|(_, made)| made).collect();
        let runtime_errors = Counter::new("wasm_filter.attributegen.type.runtime.error_count");
        Ok(Self { on_request: only(on_request), after_response: only(after_response), runtime_errors })
    }
}

impl Http for AttributeGen {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        self.make(&self.on_request, request, |place, value| request.set_filter_state(place, value));
        Ok(Flow::Continue)
    }

    fn on_log(&self, entry: &LogEntry) {
        self.make(&self.after_response, entry, |place, value| entry.set_filter_state(place, value));
    }
}

impl AttributeGen {
    fn make(&self, list: &[Made], on: &impl Subject, set: impl Fn(&FilterState, &str) -> Result<()>) {
        for Made { place, matches } in list {
            let holds = |condition: &Option<Expression>| match condition {
                Some(condition) => condition.holds(on),
                None => Ok(true),
            };
            let outcome = attribute_gen::first(matches, holds).and_then(|value| match value {
                Some(value) => set(place, value),
                None => Ok(()),
            });
            if let Err(error) = outcome {
                log::debug!("an attribute is not made: {error}");
                self.runtime_errors.inc(1);
            }
        }
    }
}

fn read(configuration: &[u8]) -> Result<Vec<(Phase, Made)>> {
    let config: Config =
        if configuration.is_empty() { Config::default() } else { serde_json::from_slice(configuration)? };
    config.attributes.into_iter().map(|attribute| Ok((attribute.phase, compile(attribute)?))).collect()
}

fn compile(attribute: Attribute) -> Result<Made> {
    let name = attribute.output_attribute;
    attribute_gen::check_name(&name).map_err(|reason| format!("`{name}`: {reason}"))?;
    let place = FilterState::named(name);
    // As long as the request, so that the access log and the other filters find it, whatever comes later.
    place.declare(&Declaration::new().kind(Kind::Text).span(Span::Request))?;
    let parse = |text: &str| if text.is_empty() { Ok(None) } else { Expression::parse(text).map(Some) };
    let matches = attribute.matches.into_iter().map(|one| Ok((parse(&one.condition)?, one.value)));
    Ok(Made { place, matches: matches.collect::<Result<_>>()? })
}

wasmplugin::plugin!(AttributeGen, config = [u8]);
