//! When a module that is there already is asked for again.

/// The field `imagePullPolicy` of Istio's resources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// [`IfNotPresent`](Self::IfNotPresent), but [`Always`](Self::Always) for an image whose URL ends with `:latest`.
    #[default]
    Unspecified,
    /// Never while there is a module for the URL.
    IfNotPresent,
    /// Whenever the resource has changed.
    Always,
}

impl PullPolicy {
    /// Whether a change of the resource makes a module be asked for again. `path` is the URL's, without its query; only
    /// the literal end `:latest` counts, an image without a tag does not.
    #[must_use]
    pub(crate) fn heeds_changes(self, scheme: &str, path: &str) -> bool {
        match self {
            Self::Always => true,
            Self::IfNotPresent => false,
            Self::Unspecified => scheme == "oci" && path.ends_with(":latest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_literal_latest_of_an_image_is_asked_for_again() {
        let heeds = |scheme, path| PullPolicy::Unspecified.heeds_changes(scheme, path);
        assert!(heeds("oci", "r/a:latest"));
        assert!(
            !heeds("oci", "r/a")
                && !heeds("oci", "r/a:v1")
                && !heeds("oci", "r/a:latest/")
                && !heeds("http", "/a:latest")
        );
        assert!(
            PullPolicy::Always.heeds_changes("http", "/x")
                && !PullPolicy::IfNotPresent.heeds_changes("oci", "a:latest")
        );
    }
}
