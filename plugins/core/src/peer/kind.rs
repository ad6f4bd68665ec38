//! The kinds of workloads that peers tell each other, and the owner of a pod that says which one it is.

use std::fmt;

/// What a workload is. Other kinds, such as stateful sets, are not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// A pod that nothing owns.
    Pod,
    /// A deployment.
    Deployment,
    /// A job.
    Job,
    /// A cron job.
    CronJob,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pod, Self::Deployment, Self::Job, Self::CronJob];

    /// Such as `deployment`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deployment",
            Self::Job => "job",
            Self::CronJob => "cronjob",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind in `../deployments/<workload>`. As in Istio, only the workload's length counts, not its name.
    pub(crate) fn of_owner(owner: &str, workload: &str) -> Option<Self> {
        let end = owner.len().checked_sub(workload.len() + "s/".len())?;
        let (_, name) = owner.get(..end)?.rsplit_once('/')?;
        Self::named(name)
    }

    /// The owner that a workload of this kind has, as Istio writes it for each of them.
    #[must_use]
    pub fn owner(self, namespace: &str, workload: &str) -> String {
        format!("kubernetes://apis/apps/v1/namespaces/{namespace}/{self}s/{workload}")
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_tells_the_kind() {
        for kind in WorkloadKind::ALL {
            assert_eq!(WorkloadKind::of_owner(&kind.owner("default", "ratings-v1"), "ratings-v1"), Some(kind));
        }
        assert_eq!(WorkloadKind::of_owner("kubernetes://apis/v1/namespaces/a/pods/x", "x"), Some(WorkloadKind::Pod));
    }

    #[test]
    fn what_is_not_told_has_no_kind() {
        for (owner, workload) in [
            ("kubernetes://apis/apps/v1/namespaces/a/statefulsets/x", "x"),
            ("kubernetes://apis/apps/v1/namespaces/a/deployments/x", ""),
            ("deployments/x", "x"),
            ("s/x", "x"),
            ("", ""),
            ("é", "x"),
            ("", "a-longer-name"),
        ] {
            assert_eq!(WorkloadKind::of_owner(owner, workload), None, "{owner}");
        }
    }
}
