//! Real builds of tiny crates in a folder of their own.

use std::fs;

use super::*;

/// A workspace that removes itself.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, crates: &[(&str, &str, &str)], profile: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("wasmplugin-{name}-{}", std::process::id()));
        let members: Vec<String> = crates.iter().map(|(name, ..)| format!("{name:?}")).collect();
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join("Cargo.toml"),
            format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n{profile}", members.join(", ")),
        )
        .unwrap();
        for (name, kinds, code) in crates {
            let member = folder.join(name);
            fs::create_dir_all(member.join("src")).unwrap();
            let manifest = format!(
                "[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [{kinds}]\n"
            );
            fs::write(member.join("Cargo.toml"), manifest).unwrap();
            fs::write(member.join("src/lib.rs"), code).unwrap();
        }
        Folder(folder)
    }

    fn options(&self) -> Options {
        Options {
            directory: Some(self.0.clone()),
            target_directory: Some(self.0.join("target")),
            quiet: true,
            ..Options::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PLUGIN: &str = r#"
#[unsafe(no_mangle)] pub extern "C" fn proxy_abi_version_0_2_1() {}
#[unsafe(no_mangle)] pub extern "C" fn proxy_on_memory_allocate(len: usize) -> *mut u8 { Vec::with_capacity(len).leak().as_mut_ptr() }
"#;

#[test]
fn packages_become_modules() {
    let folder = Folder::new(
        "build",
        &[("one", r#""cdylib", "rlib""#, PLUGIN), ("two-words", r#""cdylib""#, PLUGIN), ("plain", r#""rlib""#, "")],
        "",
    );
    let options = folder.options();
    let built = build(&["two-words", "one"], &options).unwrap();
    assert_eq!(built.iter().map(|module| module.package.as_str()).collect::<Vec<_>>(), ["two-words", "one"]);
    assert!(built.iter().all(|module| !module.fresh));
    for module in &built {
        assert_eq!(crate::module::Module::read(&module.path).unwrap().abi(), crate::abi::AbiVersion::V0_2_1);
    }
    assert!(build(&["one"], &options).unwrap().iter().all(|module| module.fresh));

    let message = build(&["three"], &options).unwrap_err().to_string();
    assert!(message.contains("no package `three`") && message.contains("`two-words`"), "{message}");
    let message = build(&["plain"], &options).unwrap_err().to_string();
    assert!(message.contains("crate-type") && message.contains("plain"), "{message}");
}

#[test]
fn compiler_errors_are_shown() {
    let folder = Folder::new("broken", &[("broken", r#""cdylib""#, "fn wrong() -> u32 { true }")], "");
    let message = build(&["broken"], &folder.options()).unwrap_err().to_string();
    assert!(message.contains("cargo cannot build `broken`") && message.contains("mismatched types"), "{message}");
}

#[test]
fn the_workspaces_own_profile_is_used() {
    let folder = Folder::new("profile", &[("own", r#""cdylib""#, PLUGIN)], "[profile.wasm]\ninherits = \"dev\"\n");
    assert!(Workspace::at(&folder.0).unwrap().has_profile(PROFILE));
    let built = build(&["own"], &folder.options()).unwrap();
    let module = crate::module::Module::read(&built[0].path).unwrap();
    assert!(module.info().custom_sections.iter().any(|(name, _)| name.starts_with(".debug")), "it was not stripped");
}

#[test]
fn folders_without_a_package() {
    let message = wasm("/nowhere").unwrap_err().to_string();
    assert!(message.contains("`/nowhere`") && message.contains("no such directory"), "{message}");
}

#[test]
fn a_profile_that_strips_is_taken_at_its_word() {
    // Cargo leaves the names in, since the package has settings of its own.
    let profile =
        "[profile.wasm]\ninherits = \"release\"\nstrip = true\n[profile.wasm.package.one]\nopt-level = \"s\"\n";
    let folder = Folder::new("stripped", &[("one", r#""cdylib""#, PLUGIN)], profile);
    let built = build(&["one"], &folder.options()).unwrap();
    let module = crate::module::Module::read(&built[0].path).unwrap();
    let sections: Vec<_> = module.info().custom_sections.iter().map(|(name, _)| name.clone()).collect();
    assert!(!module.info().has_names && sections.iter().all(|name| !name.starts_with(".debug")), "{sections:?}");
}
