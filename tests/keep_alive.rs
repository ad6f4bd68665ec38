//! A client that asks many times on one connection, for tests that need thousands of requests in a real Envoy.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a `GET` with these header lines, whatever bytes they have.
pub(crate) fn get<N: AsRef<[u8]>, V: AsRef<[u8]>>(lines: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    let mut request = b"GET / HTTP/1.1\r\n".to_vec();
    for (name, value) in lines {
        request.extend([name.as_ref(), b": ", value.as_ref(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    request
}

/// Sends the requests on one connection, each when the one before is answered, and hands over the answers' heads.
pub(crate) fn ask(address: SocketAddr, requests: impl IntoIterator<Item = Vec<u8>>) -> io::Result<Vec<String>> {
    let connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    let mut connection = BufReader::new(connection);
    let ask = |request: Vec<u8>| {
        connection.get_mut().write_all(&request)?;
        head(&mut connection)
    };
    requests.into_iter().map(ask).collect()
}

/// The head of the next answer; its body is read away.
fn head(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if connection.read_until(b'\n', &mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    connection.read_exact(&mut body).map(|()| head)
}
