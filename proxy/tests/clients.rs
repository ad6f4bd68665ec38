//! Clients that see every byte, or speak HTTP/2.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection that speaks HTTP/1.1 by hand.
pub(crate) struct Client(BufReader<TcpStream>);

/// A response as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// A connection to a server that may take its time.
    pub(crate) fn patient(address: SocketAddr, patience: Duration) -> Self {
        let client = Self::connect(address);
        client.0.get_ref().set_read_timeout(Some(patience)).unwrap();
        client
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends bytes as they are. The server may have closed the connection already.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.get_mut().write_all(bytes.as_ref()).ok();
        self
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).answer()
    }

    /// The next response.
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("the connection was cut in the middle of a response")
    }

    /// The next response; nothing if it is not complete.
    pub(crate) fn try_answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if answer.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(self.line()?.trim(), 16).ok()?;
                if size == 0 {
                    answer.trailers = self.fields()?;
                    break;
                }
                answer.body += &self.exactly(size)?;
                self.line()?;
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = self.exactly(length.parse().ok()?)?;
        }
        Some(answer)
    }

    /// The status line and the headers of the next response.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let line = self.line()?;
        let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some(Answer { status, headers: self.fields()?, body: String::new(), trailers: Vec::new() })
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) => not_a_timeout(&error),
        }
    }

    pub(crate) fn exactly(&mut self, size: usize) -> Option<String> {
        let mut bytes = vec![0; size];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Some(String::from_utf8(bytes).unwrap()),
            Err(error) => not_a_timeout(&error),
        }
    }

    /// Everything until the server ends the connection, in whichever way.
    pub(crate) fn rest(&mut self, bytes: &mut Vec<u8>) {
        if let Err(error) = self.0.read_to_end(bytes) {
            not_a_timeout::<()>(&error);
        }
    }

    /// Whether the server closes the connection, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => {
                not_a_timeout::<()>(&error);
                true
            }
        }
    }

    pub(crate) fn leave(self) {
        self.0.get_ref().shutdown(Shutdown::Both).ok();
    }
}

fn not_a_timeout<T>(error: &std::io::Error) -> Option<T> {
    assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "the server says nothing");
    None
}

/// Waits until something is true.
pub(crate) fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let began = Instant::now();
    while !test() {
        assert!(began.elapsed() < PATIENCE, "it never happens that {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
