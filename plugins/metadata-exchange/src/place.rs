//! Where peers are left for other plugins, CEL and the access log.

use istio_core::wire;
use wasmplugin::Result;
use wasmplugin::filter_state::{Declaration, FilterState, Kind, Span};

/// The two names under which a peer is left.
#[derive(Debug)]
pub(crate) struct Place {
    /// Who it is.
    pub(crate) peer: FilterState,
    /// What it calls itself.
    pub(crate) id: FilterState,
}

/// Who sent the request or opened the connection.
pub(crate) const DOWNSTREAM: Place =
    Place { peer: FilterState::of(wire::DOWNSTREAM_PEER), id: FilterState::of(wire::DOWNSTREAM_PEER_ID) };

/// Who got it.
pub(crate) const UPSTREAM: Place =
    Place { peer: FilterState::of(wire::UPSTREAM_PEER), id: FilterState::of(wire::UPSTREAM_PEER_ID) };

/// Says what is left there, so that CEL can look inside.
pub(crate) fn declare() -> Result<()> {
    for Place { peer, id } in [DOWNSTREAM, UPSTREAM] {
        // As long as the request, through internal redirects too; on TCP that is the connection.
        let declaration = Declaration::new().span(Span::Request);
        peer.declare(&declaration.clone().kind(Kind::Protobuf(wire::PEER_SCHEMA.to_owned())))?;
        id.declare(&declaration.kind(Kind::Text))?;
    }
    Ok(())
}
