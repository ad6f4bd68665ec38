//! Peers byte by byte as Istio's own, and whatever they are called.

use super::*;

const NATIVE_CLIENT: &str = include_str!("../../testdata/metadata_exchange/mx_native_client.b64");
const NATIVE_SERVER: &str = include_str!("../../testdata/metadata_exchange/mx_native_server.b64");
const WASM_CLIENT: &str = include_str!("../../testdata/metadata_exchange/mx_wasm_client.b64");
const WASM_SERVER: &str = include_str!("../../testdata/metadata_exchange/mx_wasm_server.b64");

fn no_labels() -> BTreeSet<String> {
    BTreeSet::new()
}

fn client() -> Metadata {
    node("productpage-v1", "productpage", "productpage-v1", "client-cluster")
}

fn server() -> Metadata {
    node("ratings-v1", "ratings", "ratings", "server-cluster")
}

/// One of the nodes that Istio's own tests run with.
fn node(workload: &str, app: &str, canonical: &str, cluster: &str) -> Metadata {
    let labels = [
        ("app", app),
        ("version", "v1"),
        (CANONICAL_NAME, canonical),
        (CANONICAL_REVISION, "version-1"),
        ("pod-template-hash", "84975bc778"),
    ];
    Metadata {
        name: format!("{workload}-84975bc778-pxz2w"),
        namespace: "default".to_owned(),
        workload_name: workload.to_owned(),
        cluster_id: cluster.to_owned(),
        owner: WorkloadKind::Deployment.owner("default", workload),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Metadata::default()
    }
}

#[test]
fn what_is_sent_is_istios_own_byte_by_byte() {
    for (node, native) in [(client(), NATIVE_CLIENT), (server(), NATIVE_SERVER)] {
        assert_eq!(Peer::new(&node, &no_labels()).to_header(), native.trim());
    }
}

#[test]
fn native_and_old_proxies_are_understood_alike() {
    for (node, texts) in [(client(), [NATIVE_CLIENT, WASM_CLIENT]), (server(), [NATIVE_SERVER, WASM_SERVER])] {
        for text in texts {
            let peer = Peer::from_header(text.trim().as_bytes(), &no_labels());
            assert_eq!(peer, Some(Peer::new(&node, &no_labels())));
        }
    }
}

#[test]
fn additional_labels_are_kept_on_both_sides() {
    let labels = BTreeSet::from(["pod-template-hash".to_owned(), "app".to_owned(), "absent".to_owned()]);
    let sent = Peer::new(&client(), &labels).to_header();
    let peer = Peer::from_header(sent.as_bytes(), &labels).unwrap();
    assert_eq!(peer.labels, BTreeMap::from([("pod-template-hash".to_owned(), "84975bc778".to_owned())]));
    assert!(Peer::from_header(sent.as_bytes(), &no_labels()).unwrap().labels.is_empty());
}

#[test]
fn the_labels_of_kubernetes_come_first() {
    let mut node = client();
    node.labels.insert(QUALIFIED_APP.to_owned(), "page".to_owned());
    node.labels.insert(QUALIFIED_VERSION.to_owned(), String::new());
    let peer = Peer::new(&node, &no_labels());
    assert_eq!((peer.app.as_str(), peer.version.as_str()), ("page", "v1"));
    assert_eq!(peer.metadata().labels["app"], "page");
}

#[test]
fn a_node_of_which_nothing_is_known_still_says_so() {
    let sent = Peer::default().to_header();
    assert_eq!(sent, "CgwKBkxBQkVMUxICKgA=");
    assert_eq!(Peer::from_header(sent.as_bytes(), &no_labels()), Some(Peer::default()));
}

#[test]
fn the_owner_of_a_stateful_set_is_not_told() {
    let mut node = client();
    node.owner = "kubernetes://apis/apps/v1/namespaces/default/statefulsets/productpage-v1".to_owned();
    let peer = Peer::new(&node, &no_labels());
    assert_eq!(peer.kind, None);
    assert_eq!(peer.metadata().owner, "");
}

#[test]
fn padding_may_be_missing() {
    let text = NATIVE_CLIENT.trim();
    for text in [text, text.trim_end_matches('='), text.strip_suffix('=').unwrap()] {
        assert!(Peer::from_header(text.as_bytes(), &no_labels()).is_some());
    }
}

#[test]
fn garbage_is_no_peer() {
    let text = NATIVE_CLIENT.trim();
    let (spare_bits, foreign) = (text.replace("MQ==", "MR=="), text.replacen('C', "-", 1));
    let (cut, padded, long) =
        (text.get(..text.len() - 8).unwrap(), format!("{text}=="), "CgA".repeat(header::MAX_METADATA_BYTES));
    for garbage in
        ["", "=", "==", "A", "hello", " ", "CgwKBkxBQkVMUxICKgA= ", &spare_bits, &foreign, cut, &padded, &long]
    {
        assert_eq!(Peer::from_header(garbage.as_bytes(), &no_labels()), None, "{garbage}");
    }
    assert_eq!(Peer::from_header(b"\xff\xfe", &no_labels()), None);
}

#[test]
fn filter_state_has_the_keys_of_the_native_filters() {
    let state = Struct::decode(&Peer::new(&client(), &no_labels()).to_state()).unwrap();
    let texts: Vec<_> = state.texts().collect();
    assert_eq!(
        texts,
        [
            ("app", "productpage"),
            ("cluster", "client-cluster"),
            ("name", "productpage-v1-84975bc778-pxz2w"),
            ("namespace", "default"),
            ("revision", "version-1"),
            ("service", "productpage-v1"),
            ("type", "deployment"),
            ("version", "v1"),
            ("workload", "productpage-v1"),
        ]
    );
}

/// A generator that needs no crate and is the same on every machine: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn text(&mut self) -> String {
        let pieces = ["", "a", "ratings", "v1", "é", "\0", "/", "=", "s/", "日本", ";", "\"", "\n"];
        let length = match self.below(20) {
            0 => 80,
            _ => self.below(4),
        };
        (0..length).map(|_| pieces[self.below(pieces.len())]).collect()
    }

    fn metadata(&mut self) -> Metadata {
        let mut metadata = Metadata::default();
        for key in Metadata::TEXTS {
            if self.below(4) > 0 {
                metadata.set(key, &self.text());
            }
        }
        if self.below(2) == 0 {
            let kind = WorkloadKind::ALL[self.below(4)];
            metadata.owner = kind.owner(&metadata.namespace, &metadata.workload_name);
        }
        let names =
            [APP, VERSION, QUALIFIED_APP, QUALIFIED_VERSION, CANONICAL_NAME, CANONICAL_REVISION, "role", "é", ""];
        for _ in 0..self.below(7) {
            metadata.labels.insert(names[self.below(names.len())].to_owned(), self.text());
        }
        metadata
    }
}

/// `PEERS=1000000 cargo test -p istio-core any_node` tries a million nodes.
#[test]
fn any_node_arrives_as_it_was_sent() {
    let nodes = std::env::var("PEERS").ok().map_or(5_000, |nodes| nodes.parse().expect("PEERS is a number"));
    let labels = BTreeSet::from(["role".to_owned(), "é".to_owned(), String::new()]);
    let (random, mut kinds, mut labelled) = (&mut Random(7), 0, 0);
    for number in 0..nodes {
        let node = random.metadata();
        let peer = Peer::new(&node, &labels);
        let sent = peer.to_header();
        assert_eq!(Peer::from_header(sent.as_bytes(), &labels).as_ref(), Some(&peer), "{number}: {node:?}");
        assert_eq!(Peer::from_state(&peer.to_state()).as_ref(), Some(&peer), "{number}: {node:?}");
        // What arrived is sent on as the same bytes.
        assert_eq!(Peer::new(&peer.metadata(), &labels).to_header(), sent, "{number}: {node:?}");
        kinds += usize::from(peer.kind.is_some());
        labelled += usize::from(!peer.labels.is_empty());
    }
    println!("{nodes} nodes: {kinds} of a known kind, {labelled} with additional labels");
    assert!(kinds > nodes / 4 && labelled > nodes / 4);
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Peer::from_state(&bytes);
        let _ = Peer::from_header(&bytes, &no_labels());
        use base64::Engine as _;
        let header = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let _ = Peer::from_header(header.as_bytes(), &no_labels());
    }
}
