//! The labels of Istio's standard metrics.

use serde::Deserialize;

macro_rules! tags {
    ($($tag:ident = $name:literal,)*) => {
        /// A label of Istio's standard metrics. The order is that in which the last Wasm version of Istio's `stats` wrote
        /// them into a metric's name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are Istio's, and `labels` says what each is")]
        pub enum Tag {
            $($tag,)*
        }

        impl Tag {
            /// All of them, in their order.
            pub const ALL: [Self; 25] = [$(Self::$tag),*];

            /// What the label is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$tag => $name,)*
                }
            }

            /// The label of this name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$tag),)*
                    _ => None,
                }
            }
        }
    };
}

tags! {
    Reporter = "reporter",
    SourceWorkload = "source_workload",
    SourceWorkloadNamespace = "source_workload_namespace",
    SourcePrincipal = "source_principal",
    SourceApp = "source_app",
    SourceVersion = "source_version",
    SourceCanonicalService = "source_canonical_service",
    SourceCanonicalRevision = "source_canonical_revision",
    SourceCluster = "source_cluster",
    DestinationWorkload = "destination_workload",
    DestinationWorkloadNamespace = "destination_workload_namespace",
    DestinationPrincipal = "destination_principal",
    DestinationApp = "destination_app",
    DestinationVersion = "destination_version",
    DestinationService = "destination_service",
    DestinationServiceName = "destination_service_name",
    DestinationServiceNamespace = "destination_service_namespace",
    DestinationCanonicalService = "destination_canonical_service",
    DestinationCanonicalRevision = "destination_canonical_revision",
    DestinationCluster = "destination_cluster",
    RequestProtocol = "request_protocol",
    ResponseFlags = "response_flags",
    ConnectionSecurityPolicy = "connection_security_policy",
    ResponseCode = "response_code",
    GrpcResponseStatus = "grpc_response_status",
}

/// The order in which Istio's own tests, and the native filter, show the labels: the order of `stats_tags`.
pub const SHOWN: [Tag; 25] = [
    Tag::Reporter,
    Tag::SourceWorkload,
    Tag::SourceCanonicalService,
    Tag::SourceCanonicalRevision,
    Tag::SourceWorkloadNamespace,
    Tag::SourcePrincipal,
    Tag::SourceApp,
    Tag::SourceVersion,
    Tag::SourceCluster,
    Tag::DestinationWorkload,
    Tag::DestinationWorkloadNamespace,
    Tag::DestinationPrincipal,
    Tag::DestinationApp,
    Tag::DestinationVersion,
    Tag::DestinationService,
    Tag::DestinationCanonicalService,
    Tag::DestinationCanonicalRevision,
    Tag::DestinationServiceName,
    Tag::DestinationServiceNamespace,
    Tag::DestinationCluster,
    Tag::RequestProtocol,
    Tag::ResponseCode,
    Tag::GrpcResponseStatus,
    Tag::ResponseFlags,
    Tag::ConnectionSecurityPolicy,
];

/// How many of Istio's labels a metric has without further ado.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Who talks to whom, how, and how it ended: what alerts and service graphs need.
    Minimal,
    /// What Istio's dashboards and Kiali ask for: without principals, and without the labels `app` and `version`.
    Standard,
    /// All 25, as Istio has it.
    #[default]
    Full,
}

impl Profile {
    /// Whether metrics have this label.
    #[must_use]
    pub const fn has(self, tag: Tag) -> bool {
        match self {
            Self::Full => true,
            Self::Standard => !matches!(
                tag,
                Tag::SourcePrincipal
                    | Tag::SourceApp
                    | Tag::SourceVersion
                    | Tag::DestinationPrincipal
                    | Tag::DestinationApp
                    | Tag::DestinationVersion
            ),
            Self::Minimal => matches!(
                tag,
                Tag::Reporter
                    | Tag::SourceWorkload
                    | Tag::SourceWorkloadNamespace
                    | Tag::DestinationWorkload
                    | Tag::DestinationWorkloadNamespace
                    | Tag::DestinationServiceName
                    | Tag::DestinationServiceNamespace
                    | Tag::RequestProtocol
                    | Tag::ConnectionSecurityPolicy
                    | Tag::ResponseCode
                    | Tag::GrpcResponseStatus
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_one_to_one() {
        for tag in Tag::ALL {
            assert_eq!(Tag::named(tag.name()), Some(tag));
            assert_eq!(SHOWN.iter().filter(|shown| **shown == tag).count(), 1, "{tag:?}");
        }
        assert_eq!(Tag::named("istio"), None);
    }

    #[test]
    fn each_profile_has_what_the_smaller_one_has() {
        for tag in Tag::ALL {
            assert!(!Profile::Minimal.has(tag) || Profile::Standard.has(tag), "{tag:?}");
            assert!(Profile::Full.has(tag));
        }
    }
}
