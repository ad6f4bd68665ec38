//! Makes a plugin or an example without a scenario a compile error: lists the folders, and the test binary must
//! have a module of that name with at least one scenario in it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new("..");
    let mut checks = String::new();
    for room in ["examples", "plugins"] {
        let room = root.join(room);
        println!("cargo::rerun-if-changed={}", room.display());
        for name in modules_in(&room) {
            let module = name.replace('-', "_");
            checks += &format!(
                "const _: () = assert!(!crate::{module}::SCENARIOS.is_empty(), \"`{name}` has no scenario: add one to `tests/{module}.rs`\");\n"
            );
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("every_module_has_a_scenario.rs"), checks)
}

/// The folders that become modules: those whose manifest asks for a `cdylib`.
fn modules_in(room: &Path) -> Vec<String> {
    let Ok(folders) = fs::read_dir(room) else { return Vec::new() };
    let mut names: Vec<_> = folders
        .filter_map(Result::ok)
        .filter(|folder| fs::read_to_string(folder.path().join("Cargo.toml")).is_ok_and(|text| text.contains("cdylib")))
        .filter_map(|folder| folder.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
