//! The decision about one TCP connection, and the moment when it can be made.

use istio_core::rbac::config::Protocol;
use istio_core::rbac::decision::Custom;
use istio_core::rbac::facts::Needs;
use wasmplugin::attributes;
use wasmplugin::future::race;
use wasmplugin::tcp::{Connection, Downstream, Upstream};
use wasmplugin::{Done, Result};

use crate::Rbac;
use crate::source::Source;

/// Who has sent the first bytes.
enum First {
    Client,
    Server,
}

/// Lets a connection go on, or closes it.
pub(crate) async fn decide(rbac: &Rbac, connection: Connection) -> Result<Done> {
    if rbac.protocol != Protocol::Tcp {
        return Err("the policies are compiled for `http`: set `protocol` to `tcp`".into());
    }
    let [needs, custom_needs] = [rbac.engine.needs(), rbac.engine.custom_needs()];
    if !(of_the_handshake(needs) || of_the_handshake(custom_needs)) {
        return if allowed(rbac, Source::Connection(&connection))? { connection.pass() } else { connection.close() };
    }
    // A handshake tells who the peer is; it is over when the first bytes come.
    let (mut client, mut server) = connection.into_halves()?;
    if let First::Server = first(&mut client, &mut server).await?
        && client.head().attribute(attributes::CONNECTION_MTLS)? != Some(true)
    {
        log::warn!("a server that speaks first cannot be protected by names of a peer that has shown none");
        rbac.metrics.count_refusal();
        return client.close();
    }
    if !allowed(rbac, Source::Connection(&client.head()))? {
        return client.close();
    }
    let _both_have_to_pass = server.pass()?;
    client.pass()
}

/// Whether facts are needed that are not there before a handshake is over.
fn of_the_handshake(needs: &Needs) -> bool {
    needs.identities || needs.other_names || needs.sni
}

/// Waits for the first bytes, or the end, of either side.
async fn first(client: &mut Downstream, server: &mut Upstream) -> Result<First> {
    let client = async { client.peek(1).await.map(|_| First::Client) };
    let server = async { server.peek(1).await.map(|_| First::Server) };
    race(client, server).await
}

fn allowed(rbac: &Rbac, source: Source<'_>) -> Result<bool> {
    // An authorizer over HTTP is not asked about connections, so there is nothing between passing and refusing.
    if rbac.custom(source)? != Custom::Pass {
        rbac.metrics.count_refusal();
        return Ok(false);
    }
    Ok(rbac.decide(source)?.outcome.allowed())
}
