//! The header lines of a request, as the rules see them.

use istio_core::jwt;
use wasmplugin::headers::Headers;

/// Lines that the SDK has read.
pub(crate) struct Lines<'r>(pub(crate) &'r Headers);

impl jwt::Headers for Lines<'_> {
    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.get_all(name).map(|value| value.as_bytes())
    }
}
