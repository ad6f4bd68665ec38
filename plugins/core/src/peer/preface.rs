//! What TCP proxies tell each other before the first byte of a connection.

use super::Peer;
use super::header::{self, MAX_ID_BYTES};
use super::protobuf::{Content, Fields, put};
use super::structure::Struct;
use std::collections::BTreeSet;

/// The four bytes that a preface begins with.
pub const MAGIC: [u8; 4] = 0x3D23_0467_u32.to_be_bytes();

/// The magic and the length of what follows.
pub const HEAD_BYTES: usize = 8;

/// How long what follows may be. Istio's own have about 500 bytes and know no limit.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

const TYPE: &[u8] = b"type.googleapis.com/google.protobuf.Struct";

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Too few bytes to tell, but the beginning of a preface.
    Short,
    /// The peer's own bytes: it says nothing of itself.
    Plain,
    /// A preface of which so many bytes follow the head.
    Preface(usize),
    /// A preface that is too long to be one.
    Oversized,
}

impl Head {
    /// Looks at what has come so far.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(magic) {
            return Self::Plain;
        }
        let length = bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk()).copied().map(u32::from_be_bytes);
        match length.map(usize::try_from) {
            None => Self::Short,
            Some(Ok(length)) if length <= MAX_BODY_BYTES => Self::Preface(length),
            Some(_) => Self::Oversized,
        }
    }
}

/// What a preface says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preface {
    /// The id of the proxy's node; may be empty.
    pub id: String,
    /// Who it is.
    pub peer: Peer,
}

impl Preface {
    /// The whole preface, head and all.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = Struct::default();
        fields.insert(header::METADATA, self.peer.metadata().write());
        fields.insert_text(header::ID, &self.id);
        let mut any = Vec::new();
        put(1, TYPE, &mut any);
        put(2, &fields.encode(), &mut any);
        let length = u32::try_from(any.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&MAGIC[..], &length, &any].concat()
    }

    /// Reads what follows the head; `None` where it is nothing that a peer says. The labels are those of
    /// [`Peer::from_header`].
    #[must_use]
    pub fn read(body: &[u8], additional_labels: &BTreeSet<String>) -> Option<Self> {
        let (mut of_type, mut message) = (false, None);
        for field in Fields(body) {
            match field.ok()? {
                (1, Content::Bytes(TYPE)) if !of_type => of_type = true,
                (2, Content::Bytes(bytes)) if message.is_none() => message = Some(bytes),
                _ => return None,
            }
        }
        let fields = Struct::decode(message.filter(|_| of_type)?)?;
        let metadata = super::Metadata::read(fields.fields(header::METADATA)?);
        let id = fields.text(header::ID).filter(|id| id.len() <= MAX_ID_BYTES).unwrap_or_default().to_owned();
        Some(Self { id, peer: Peer::new(&metadata, additional_labels) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: &[u8] = include_bytes!("../../testdata/metadata_exchange/tcp_native_client.bin");
    const HEADER: &str = include_str!("../../testdata/metadata_exchange/mx_native_client.b64");

    fn client() -> Preface {
        let peer = Peer::from_header(HEADER.trim().as_bytes(), &BTreeSet::new()).unwrap();
        Preface { id: "client".to_owned(), peer }
    }

    #[test]
    fn it_is_istios_own_byte_by_byte() {
        assert_eq!(client().encode(), NATIVE);
        assert_eq!(Head::read(NATIVE), Head::Preface(NATIVE.len() - HEAD_BYTES));
        assert_eq!(Preface::read(&NATIVE[HEAD_BYTES..], &BTreeSet::new()), Some(client()));
    }

    #[test]
    fn who_has_no_id_sends_none() {
        let preface = Preface { id: String::new(), ..client() };
        let bytes = preface.encode();
        assert!(!bytes.windows(2).any(|pair| pair == b"id"));
        assert_eq!(Preface::read(&bytes[HEAD_BYTES..], &BTreeSet::new()), Some(preface));
    }

    #[test]
    fn the_head_is_told_byte_by_byte() {
        for length in 0..HEAD_BYTES {
            assert_eq!(Head::read(&NATIVE[..length]), Head::Short);
        }
        assert_eq!(Head::read(b"GET / HTTP/1.1"), Head::Plain);
        assert_eq!(Head::read(b"\x3d\x23\x04\x68\0\0\0\0"), Head::Plain);
        assert_eq!(Head::read(b"\x3d\x24"), Head::Plain);
        for (length, head) in [
            (0, Head::Preface(0)),
            (MAX_BODY_BYTES as u32, Head::Preface(MAX_BODY_BYTES)),
            (MAX_BODY_BYTES as u32 + 1, Head::Oversized),
            (u32::MAX, Head::Oversized),
        ] {
            assert_eq!(Head::read(&[MAGIC, length.to_be_bytes()].concat()), head);
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_no_preface() {
        let body = &NATIVE[HEAD_BYTES..];
        for length in 0..body.len() {
            assert_eq!(Preface::read(&body[..length], &BTreeSet::new()), None, "{length}");
        }
        for place in 0..46 {
            let mut changed = body.to_vec();
            changed[place] ^= 1;
            assert_eq!(Preface::read(&changed, &BTreeSet::new()), None, "{place}");
        }
        assert_eq!(Preface::read(&[body, body].concat(), &BTreeSet::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Head::read(&bytes);
            let _ = Preface::read(&bytes, &BTreeSet::new());
        }
    }
}
