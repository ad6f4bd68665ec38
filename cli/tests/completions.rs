//! `cargo wasmplugin completions` and `man`.

use std::fs;
use std::path::Path;

use crate::command::{Scratch, wasmplugin};

#[test]
fn every_shell_learns_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = wasmplugin(&["completions", shell]);
        assert!(
            run.code == Some(0) && ["migrate", "doctor", "build"].iter().all(|verb| run.out.contains(verb)),
            "{shell}: {run:#?}"
        );
    }
    assert_eq!(wasmplugin(&["completions", "dos"]).code, Some(2));
}

#[test]
fn every_verb_has_a_page() {
    let scratch = Scratch::new("beside", "");
    let folder = Path::new(scratch.path()).parent().unwrap().join("man1");
    assert_eq!(wasmplugin(&["man", folder.to_str().unwrap()]).code, Some(0));
    let page = fs::read_to_string(folder.join("cargo-wasmplugin-lint.1")).unwrap();
    assert!(page.contains("kubectl get wasmplugins"), "{page}");
}
