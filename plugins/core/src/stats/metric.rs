//! Istio's ten standard metrics.

use super::config::Kind;
use super::tag::Tag;

/// What every metric's name begins with.
pub const PREFIX: &str = "istio_";

/// What a stream is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// A request that is over, of HTTP or gRPC.
    Requests,
    /// The messages of a gRPC stream, over or not.
    Messages,
    /// A TCP connection, over or not.
    Connections,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Messages, Self::Connections];
}

/// A metric that is there unless the configuration drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are Istio's")]
pub enum Standard {
    RequestsTotal,
    RequestDuration,
    RequestBytes,
    ResponseBytes,
    RequestMessages,
    ResponseMessages,
    TcpSentBytes,
    TcpReceivedBytes,
    TcpConnectionsOpened,
    TcpConnectionsClosed,
}

impl Standard {
    /// All ten.
    pub const ALL: [Self; 10] = [
        Self::RequestsTotal,
        Self::RequestDuration,
        Self::RequestBytes,
        Self::ResponseBytes,
        Self::RequestMessages,
        Self::ResponseMessages,
        Self::TcpSentBytes,
        Self::TcpReceivedBytes,
        Self::TcpConnectionsOpened,
        Self::TcpConnectionsClosed,
    ];

    /// Its name behind `istio_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsTotal => "requests_total",
            Self::RequestDuration => "request_duration_milliseconds",
            Self::RequestBytes => "request_bytes",
            Self::ResponseBytes => "response_bytes",
            Self::RequestMessages => "request_messages_total",
            Self::ResponseMessages => "response_messages_total",
            Self::TcpSentBytes => "tcp_sent_bytes_total",
            Self::TcpReceivedBytes => "tcp_received_bytes_total",
            Self::TcpConnectionsOpened => "tcp_connections_opened_total",
            Self::TcpConnectionsClosed => "tcp_connections_closed_total",
        }
    }

    /// What streams it is about.
    #[must_use]
    pub const fn group(self) -> Group {
        match self {
            Self::RequestsTotal | Self::RequestDuration | Self::RequestBytes | Self::ResponseBytes => Group::Requests,
            Self::RequestMessages | Self::ResponseMessages => Group::Messages,
            Self::TcpSentBytes | Self::TcpReceivedBytes | Self::TcpConnectionsOpened | Self::TcpConnectionsClosed => {
                Group::Connections
            }
        }
    }

    /// What it counts: samples for sizes and times, sums for all else.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::RequestDuration | Self::RequestBytes | Self::ResponseBytes => Kind::Histogram,
            _ => Kind::Counter,
        }
    }

    /// Whether it has a label: those about the response only where there is one.
    #[must_use]
    pub const fn has(self, tag: Tag) -> bool {
        match self.group() {
            Group::Requests => true,
            Group::Messages => (tag as u8) < Tag::RequestProtocol as u8,
            Group::Connections => (tag as u8) < Tag::ResponseCode as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_many_as_the_specification_says() {
        let count = |metric: Standard| Tag::ALL.iter().filter(|tag| metric.has(**tag)).count();
        for metric in Standard::ALL {
            let expected = match metric.group() {
                Group::Requests => 25,
                Group::Messages => 20,
                Group::Connections => 23,
            };
            assert_eq!(count(metric), expected, "{metric:?}");
        }
    }
}
