//! Why a proxy does not start.

use std::io;
use std::net::SocketAddr;

/// A proxy could not be started; nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings contradict themselves.
    #[error("{0}")]
    Settings(String),
    /// A plugin does not start.
    #[error(transparent)]
    Plugin(wasmplugin_host::worker::StartError),
    /// An address cannot be listened on.
    #[error("the {what} cannot listen on `{address}`: {}", advice(source))]
    Listen {
        /// The listener or the admin port.
        what: &'static str,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system refuses a thread or what belongs to it.
    #[error("a thread of the proxy cannot be started: {0}")]
    Thread(io::Error),
}

impl StartError {
    pub(crate) const fn settings(problem: String) -> Self {
        Self::Settings(problem)
    }
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has the port; stop that one, or take another port (`0` finds a free one)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; `127.0.0.1` and `0.0.0.0` always exist".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "the system does not let this user have the port; take one above 1023".to_owned()
        }
        _ => error.to_string(),
    }
}
