//! What is known of a request: its header lines, by borrowed bytes.

/// The header lines of a request, pseudo headers (`:path` …) included.
pub trait Headers {
    /// The values of all lines of a name, in their order. Names asked for are lower case.
    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]>;
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.iter().filter(move |(line, _)| line.as_ref().eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|(_, value)| value.as_ref())
    }
}

/// The first line of a name; empty when there is none.
pub(crate) fn first<'a, H: Headers + ?Sized>(headers: &'a H, name: &str) -> &'a [u8] {
    headers.values(name).next().unwrap_or_default()
}
