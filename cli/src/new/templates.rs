//! The files of a new package.

use std::path::PathBuf;

use super::Kind;
use super::name::Name;

/// What takes the places of the names in braces.
pub(super) struct Template<'a> {
    pub(super) name: &'a Name,
    /// A copy of wasmplugin's repository, where the crates are taken from one.
    pub(super) repository: Option<PathBuf>,
}

macro_rules! files {
    ($kind:literal) => {
        [
            ("Cargo.toml", include_str!("../../templates/Cargo.toml.txt")),
            (".gitignore", include_str!("../../templates/gitignore.txt")),
            ("clippy.toml", include_str!("../../templates/clippy.toml.txt")),
            ("README.md", include_str!("../../templates/README.md.txt")),
            ("src/lib.rs", include_str!(concat!("../../templates/", $kind, "/lib.rs.txt"))),
            ("tests/engines.rs", include_str!(concat!("../../templates/", $kind, "/engines.rs.txt"))),
            ("deploy.yaml", include_str!(concat!("../../templates/", $kind, "/deploy.yaml.txt"))),
        ]
    };
}

impl Template<'_> {
    /// The paths and the contents.
    pub(super) fn files(&self, kind: Kind) -> Vec<(&'static str, String)> {
        let files = match kind {
            Kind::Http => files!("http"),
            Kind::Tcp => files!("tcp"),
            Kind::Singleton => files!("singleton"),
        };
        files.into_iter().map(|(path, text)| (path, self.filled(text))).collect()
    }

    fn filled(&self, text: &str) -> String {
        text.replace("{{name}}", self.name.package())
            .replace("{{crate}}", &self.name.library())
            .replace("{{Type}}", &self.name.type_name())
            .replace("{{wasmplugin}}", &self.dependency("sdk", ""))
            .replace("{{wasmplugin-host}}", &self.dependency("host", r#", features = ["native", "wasm", "envoy"]"#))
    }

    /// A crate of ours in a `Cargo.toml`: the version of this program, or the folder in the repository.
    fn dependency(&self, folder: &str, more: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match &self.repository {
            // As a TOML string without escapes.
            Some(repository) => format!("{{ path = '{}'{more} }}", repository.join(folder).display()),
            None => format!("{{ version = \"{version}\"{more} }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_filled() {
        let name = "add-header".parse().unwrap();
        for repository in [None, Some(PathBuf::from("/r"))] {
            let template = Template { name: &name, repository };
            for kind in [Kind::Http, Kind::Tcp, Kind::Singleton] {
                for (path, text) in template.files(kind) {
                    assert!(!text.contains("{{"), "{path} of {kind:?}: {text}");
                }
            }
        }
    }
}
