//! What the SDK's first page says is shown by a test is shown by a test that exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../sdk/README.md");

/// The names of the form `file::test` in backticks.
fn named() -> BTreeSet<(&'static str, &'static str)> {
    let page = PAGE.split("## What it can do").nth(1).unwrap();
    let quoted = page.split('`').skip(1).step_by(2);
    let names = quoted.filter_map(|name| name.split_once("::")).filter(|(file, _)| file_of(file).is_some());
    names.collect()
}

/// The text of a file of scenarios.
fn file_of(name: &str) -> Option<String> {
    let simple =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.rs"));
    if simple { fs::read_to_string(file).ok() } else { None }
}

#[test]
fn every_test_that_the_first_page_names_exists() {
    let named = named();
    assert!(named.len() > 60, "the page names many tests: {}", named.len());
    for (file, test) in named {
        let text = file_of(file).unwrap();
        assert!(test == "*" || text.contains(&format!("fn {test}(")), "there is no test `{file}::{test}`");
    }
}

/// A name in backticks with a misspelt file would not be looked at above.
#[test]
fn every_name_is_of_a_file_that_exists() {
    let page = PAGE.split("## What it can do").nth(1).unwrap();
    for name in page.split('`').skip(1).step_by(2) {
        let Some((file, test)) = name.split_once("::") else { continue };
        let is_item = test.starts_with(char::is_uppercase) || file.starts_with(char::is_uppercase);
        let is_form = name == "file::name";
        assert!(is_item || is_form || file_of(file).is_some(), "there is no file of scenarios for `{name}`");
    }
}
