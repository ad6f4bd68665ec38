//! The admin page: one file, which asks this port for everything that it shows.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The page.
pub(crate) const HTML: &str = include_str!("page.html");

/// What a browser lets the page do: run its own script and style, ask its own origin, and nothing else.
pub(crate) fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            digest("script"),
            digest("style")
        )
    })
}

/// How a policy names what stands in the page between these tags.
fn digest(tag: &str) -> String {
    let inside = HTML.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
    let inside = inside.map(|(inside, _)| inside).unwrap_or_default();
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_brings_everything_along() {
        assert_eq!((HTML.matches("<script>").count(), HTML.matches("<style>").count()), (1, 1));
        for other in [
            "http://",
            "https://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " src=",
            " href=",
        ] {
            assert!(!HTML.contains(other), "`{other}`");
        }
        assert!(policy().contains("script-src 'sha256-") && !policy().contains("unsafe"));
    }
}
