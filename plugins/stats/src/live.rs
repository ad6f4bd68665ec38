//! The streams that are not over, as far as reports need to know.

use hashbrown::HashMap;
use istio_core::stats::facts::Protocol;
use istio_core::stats::frames::Frames;

use crate::recorder::Amounts;

/// More streams than a worker ever has; what is over is still counted at its end.
const MOST: usize = 100_000;

/// How many ended streams leave their memory to new ones.
const SPARE: usize = 1_000;

/// Bytes of a host that are kept, as many as a label has.
pub(crate) const LONGEST_HOST: usize = 512;

/// For how many ticks a report waits for the peer to be known.
const PATIENCE: u8 = 3;

/// One stream.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) protocol: Protocol,
    /// Its beginning was not seen.
    pub(crate) is_new: bool,
    /// The host that a gRPC stream asked for; empty if it is not kept.
    pub(crate) host: Vec<u8>,
    pub(crate) request: Frames,
    pub(crate) response: Frames,
    /// How often its bodies were looked into.
    pub(crate) looks: u8,
    /// Messages are no longer counted here, since Envoy's `grpc_stats` does.
    pub(crate) is_counted_elsewhere: bool,
    /// What was reported of the two directions: bytes or messages, from the client and to it.
    pub(crate) told: [u64; 2],
    pub(crate) opened: bool,
    waited: u8,
}

impl Live {
    fn new() -> Self {
        Self {
            protocol: Protocol::Http,
            is_new: true,
            host: Vec::new(),
            request: Frames::default(),
            response: Frames::default(),
            looks: 0,
            is_counted_elsewhere: false,
            told: [0; 2],
            opened: false,
            waited: 0,
        }
    }

    fn clear(&mut self) {
        let mut host = std::mem::take(&mut self.host);
        host.clear();
        *self = Self { host, ..Self::new() };
    }

    /// Whether the report of this tick is left out because the peer may still become known.
    pub(crate) fn waits_for_peer(&mut self) -> bool {
        self.waited = self.waited.saturating_add(1);
        self.waited <= PATIENCE
    }

    /// Notes what was counted.
    pub(crate) fn reported(&mut self, amounts: &Amounts) {
        let [from_client, to_client] = &mut self.told;
        *from_client = from_client.saturating_add(amounts.from_client);
        *to_client = to_client.saturating_add(amounts.to_client);
        self.opened = true;
    }
}

/// All streams that are not over.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    live: HashMap<u32, Live>,
    spare: Vec<Live>,
    /// There were too many once, and some were not kept.
    has_missed: bool,
}

impl Streams {
    /// A stream begins; nothing is returned for one too many.
    pub(crate) fn begin(&mut self, id: u32, protocol: Protocol) -> Option<&mut Live> {
        if self.live.len() >= MOST {
            self.has_missed = true;
            return None;
        }
        let mut live = self.spare.pop().unwrap_or_else(Live::new);
        live.protocol = protocol;
        live.is_new = false;
        Some(self.live.entry(id).insert(live).into_mut())
    }

    /// Whether a stream that is not kept may have begun all the same.
    pub(crate) fn has_missed(&self) -> bool {
        self.has_missed
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Live> {
        self.live.get_mut(&id)
    }

    /// A stream is over; one that was never seen to begin is a new one.
    pub(crate) fn end(&mut self, id: u32) -> Live {
        self.take(id).or_else(|| self.spare.pop()).unwrap_or_else(Live::new)
    }

    pub(crate) fn take(&mut self, id: u32) -> Option<Live> {
        self.live.remove(&id)
    }

    pub(crate) fn put_back(&mut self, id: u32, live: Live) {
        self.live.insert(id, live);
    }

    /// Keeps the memory of a stream that is over.
    pub(crate) fn recycle(&mut self, mut live: Live) {
        if self.spare.len() < SPARE {
            live.clear();
            self.spare.push(live);
        }
    }

    /// The streams that are reported before they are over, in no order.
    pub(crate) fn list_periodic(&self, out: &mut Vec<u32>) {
        out.extend(self.live.iter().filter(|(_, live)| live.protocol != Protocol::Http).map(|(id, _)| *id));
    }
}
