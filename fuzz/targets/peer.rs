//! What a peer says of itself: in a header in base 64, before the bytes of a connection, and in filter state.

#![no_main]

use std::collections::BTreeSet;

use istio_core::peer::Peer;
use istio_core::peer::preface::{Head, Preface};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let labels = BTreeSet::from(["role".to_owned()]);
    if let Some(peer) = Peer::from_header(data, &labels) {
        let again = Peer::from_header(peer.to_header().as_bytes(), &labels);
        assert_eq!(again.as_ref(), Some(&peer), "what is read can be said");
    }
    if let Some(peer) = Peer::from_state(data) {
        assert_eq!(Peer::from_state(&peer.to_state()).as_ref(), Some(&peer), "what is read can be left");
    }
    if let Some(preface) = Preface::read(data, &labels) {
        let encoded = preface.encode();
        let Head::Preface(length) = Head::read(&encoded) else { panic!("what is read is not too long") };
        let body = &encoded[encoded.len() - length..];
        assert_eq!(Preface::read(body, &labels).as_ref(), Some(&preface), "what is read can be said");
    }
    let _head = Head::read(data);
});
