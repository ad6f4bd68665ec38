//! The first argument of a gRPC callout: a cluster's name, or Envoy's message `GrpcService`.

use crate::abi::Status;

/// Whom a gRPC callout asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) cluster: String,
    pub(crate) authority: String,
}

impl Service {
    /// Reads the argument as Envoy does: as a message if it can be one, as a name only otherwise.
    pub(crate) fn read(bytes: &[u8], known: impl Fn(&str) -> bool) -> Result<Self, Status> {
        let Some(fields) = fields(bytes) else {
            let cluster = std::str::from_utf8(bytes).ok().filter(|name| known(name)).ok_or(Status::ParseFailure)?;
            return Ok(Self { cluster: cluster.to_owned(), authority: cluster.to_owned() });
        };
        let envoy = fields.iter().rev().find_map(|(number, value)| value.filter(|_| *number == 1));
        let target = envoy.and_then(self::fields).ok_or(Status::BadArgument)?;
        let text = |wanted| {
            let value = target.iter().rev().find_map(|(number, value)| value.filter(|_| *number == wanted));
            value.and_then(|value| std::str::from_utf8(value).ok()).filter(|text| !text.is_empty())
        };
        let cluster = text(1).ok_or(Status::BadArgument)?;
        // Measured: a name that Envoy does not know is another failure here than it is alone.
        if !known(cluster) {
            return Err(Status::InternalFailure);
        }
        Ok(Self { cluster: cluster.to_owned(), authority: text(2).unwrap_or(cluster).to_owned() })
    }
}

/// A field's number, and its bytes where it has a length.
type Field<'a> = (u64, Option<&'a [u8]>);

/// The fields of a protobuf message; nothing if it is none.
fn fields(mut rest: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(length)?;
        rest = after;
        if key >> 3 == 0 {
            return None;
        }
        fields.push((key >> 3, (key & 7 == 2).then_some(value)));
    }
    Some(fields)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(String, String), Status> {
        Service::read(bytes, |name| name == "authz").map(|service| (service.cluster, service.authority))
    }

    #[test]
    fn names_and_messages() {
        assert_eq!(read(b"authz"), Ok(("authz".to_owned(), "authz".to_owned())));
        assert_eq!(read(b"\x0a\x07\x0a\x05authz"), Ok(("authz".to_owned(), "authz".to_owned())));
        assert_eq!(read(b"\x0a\x0a\x0a\x05authz\x12\x01h"), Ok(("authz".to_owned(), "h".to_owned())));
        assert_eq!(read(b"nobody"), Err(Status::ParseFailure));
        assert_eq!(read(b"\x0a\x08\x0a\x06nobody"), Err(Status::InternalFailure));
    }

    #[test]
    fn a_name_that_looks_like_a_message_is_read_as_one() {
        assert_eq!(read(b"authority"), Err(Status::BadArgument));
        assert_eq!(read(b""), Err(Status::BadArgument));
    }
}
