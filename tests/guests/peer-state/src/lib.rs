//! Leaves a peer with every request, as metadata exchange does, for scenarios that are about what is made of it.

use wasmplugin::filter_state::{Declaration, FilterState, Kind};
use wasmplugin::{Flow, Http, RequestHead, Result};

/// Which peer.
#[derive(serde::Deserialize)]
struct Config {
    /// `upstream_peer` or `downstream_peer`.
    name: String,
    /// The bytes of the `Struct`; without them the peer is not known.
    state: Vec<u8>,
}

struct PeerState {
    name: FilterState,
    state: Vec<u8>,
}

impl TryFrom<Config> for PeerState {
    type Error = wasmplugin::config::ConfigError;

    fn try_from(config: Config) -> Result<Self, Self::Error> {
        let name = FilterState::named(config.name);
        let schema = "type.googleapis.com/google.protobuf.Struct".to_owned();
        name.declare(&Declaration::new().kind(Kind::Protobuf(schema)))?;
        Ok(Self { name, state: config.state })
    }
}

impl Http for PeerState {
    fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
        if !self.state.is_empty() {
            request.set_filter_state(&self.name, &self.state)?;
        }
        Ok(Flow::Continue)
    }
}

wasmplugin::plugin!(PeerState, config = Config);
