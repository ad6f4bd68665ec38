//! The facts about one request or connection, read from the proxy: only those that the policies look at.

use std::net::IpAddr;

use istio_core::rbac::claims::Claim;
use istio_core::rbac::config::SourceIp;
use istio_core::rbac::facts::{Facts, Metadata, Needs, address};
use wasmplugin::attributes::{self, Address, Attribute, Map, Phases, Value};
use wasmplugin::headers::Headers;
use wasmplugin::{Error, Result};

use crate::claims::{self, Claims};
use crate::source::Source;

/// What filters have left with the exchange.
const FILTER_STATE: Attribute<Map> = Attribute::named("filter_state", Phases::EXCHANGE);

/// Longer names of a peer are refused, in bytes. No authority signs them, and to look for all namespaces in one takes time that
/// grows with the square of its length.
const LONGEST_NAME: usize = 8 * 1024;

/// Where facts come from that a stock Envoy has no attribute for.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) source_ip: Option<SourceIp>,
    pub(crate) peer_principals: Option<String>,
}

/// What was read; [`Facts`] borrows from it.
#[derive(Debug, Default)]
pub(crate) struct Reading<'r> {
    headers: Vec<(&'r [u8], &'r [u8])>,
    identities: Vec<String>,
    other_names: Vec<String>,
    direct_ip: Option<IpAddr>,
    remote_ip: Option<IpAddr>,
    destination: Option<Address>,
    sni: Option<String>,
    claims: Claims,
    metadata: Vec<(&'r str, &'r str, String)>,
}

impl<'r> Reading<'r> {
    /// Asks the proxy. What cannot be read is an error: a fact that is taken for missing would pass every `notX`.
    pub(crate) fn of(source: Source<'r>, needs: &'r Needs, places: &Places) -> Result<Self> {
        let mut reading = Self::default();
        if needs.method || needs.path || needs.authority || needs.headers {
            reading.headers = source.headers()?.map(lines).unwrap_or_default();
        }
        if needs.identities {
            reading.read_names(source, places.peer_principals.as_deref())?;
        }
        if needs.other_names {
            reading.other_names.extend(source.attribute(attributes::CONNECTION_DNS_SAN_PEER_CERTIFICATE)?);
            reading.other_names.extend(source.attribute(attributes::CONNECTION_SUBJECT_PEER_CERTIFICATE)?);
        }
        if reading.identities.iter().chain(&reading.other_names).any(|name| name.len() > LONGEST_NAME) {
            return Err("a name in the peer's certificate is too long".into());
        }
        if needs.direct_ip {
            reading.direct_ip = direct_ip(source, places.source_ip.as_ref())?;
        }
        if needs.remote_ip {
            reading.remote_ip = present(source, attributes::SOURCE_ADDRESS)?.ip();
        }
        if needs.destination_ip || needs.destination_port {
            reading.destination = Some(present(source, attributes::DESTINATION_ADDRESS)?);
        }
        if needs.sni {
            let name = source.attribute(attributes::CONNECTION_REQUESTED_SERVER_NAME)?;
            reading.sni = name.filter(|name| !name.is_empty());
        }
        if !needs.claims.is_empty() {
            reading.claims = Claims::read(source, &needs.claims)?;
        }
        for (namespace, key) in &needs.metadata {
            let place = attributes::DYNAMIC_METADATA.field::<Map>(namespace).field::<Vec<u8>>(key);
            if let Some(bytes) = source.attribute(place)? {
                // Metadata comes without its type. A list, a number or a flag that is taken for a text would slip past a
                // `DENY`, or satisfy an `ALLOW`.
                let unclear = || Error::app(format!("the metadata `{namespace}` `{key}` is not surely a text"));
                reading.metadata.push((namespace, key, claims::text(&bytes, false).ok_or_else(unclear)?));
            }
        }
        Ok(reading)
    }

    /// Hands the facts on. What is done with them is behind `dyn`, so that a module carries this once.
    pub(crate) fn hand_to(&self, decide: &mut dyn FnMut(&Facts<'_>)) -> Result<()> {
        let line = |wanted: &[u8]| self.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let identities: Vec<&[u8]> = self.identities.iter().map(String::as_bytes).collect();
        let other_names: Vec<&[u8]> = self.other_names.iter().map(String::as_bytes).collect();
        let claims = self.claims.parse()?;
        let metadata: Vec<Metadata<'_>> = self
            .metadata
            .iter()
            .map(|(namespace, key, text)| Metadata { namespace, key, value: Claim::Text(text.as_str().into()) })
            .collect();
        decide(&Facts {
            method: line(b":method"),
            path: line(b":path"),
            authority: line(b":authority"),
            headers: &self.headers,
            identities: &identities,
            other_names: &other_names,
            direct_ip: self.direct_ip,
            remote_ip: self.remote_ip,
            destination_ip: self.destination.as_ref().and_then(Address::ip),
            destination_port: self.destination.as_ref().and_then(port),
            sni: self.sni.as_deref().map(str::as_bytes),
            claims: claims.as_ref(),
            metadata: &metadata,
        });
        Ok(())
    }

    /// Reads the URI names of the peer's certificate.
    fn read_names(&mut self, source: Source<'_>, place: Option<&str>) -> Result<()> {
        match place {
            None => self.identities.extend(source.attribute(attributes::CONNECTION_URI_SAN_PEER_CERTIFICATE)?),
            Some(key) => match source.attribute(FILTER_STATE.field::<String>(key))? {
                Some(list) => self.identities.extend(list.split(',').filter(|name| is_name(name)).map(str::to_owned)),
                None if source.attribute(attributes::CONNECTION_MTLS)? == Some(true) => {
                    return Err(nothing_at("the names of the peer's certificate", key));
                }
                None => {}
            },
        }
        Ok(())
    }
}

/// All header lines, those of the request line among them.
fn lines(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
}

/// Whether there is a name: Envoy writes `-` for none.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "-")
}

/// The address of the peer of the TCP connection.
fn direct_ip(source: Source<'_>, place: Option<&SourceIp>) -> Result<Option<IpAddr>> {
    match place {
        Some(SourceIp::FilterState(key)) => {
            let text = source.attribute(FILTER_STATE.field::<Vec<u8>>(key))?;
            let ip = text.as_deref().and_then(address).map(|(ip, _)| ip);
            ip.map(Some).ok_or_else(|| nothing_at("the address of the direct peer", key))
        }
        Some(SourceIp::Downstream) => Ok(present(source, attributes::SOURCE_ADDRESS)?.ip()),
        None => Err("nothing says where the address of the direct peer comes from".into()),
    }
}

/// An attribute that every connection has.
fn present<T: Value>(source: Source<'_>, attribute: Attribute<T>) -> Result<T> {
    let name = attribute.to_string();
    source.attribute(attribute)?.ok_or_else(|| Error::from(format!("there is no `{name}`")))
}

fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Ip(address) => Some(address.port()),
        Address::Other(_) => None,
    }
}

fn nothing_at(what: &str, key: &str) -> Error {
    format!("{what} cannot be read from filter state `{key}`").into()
}
