//! What modules weigh. The same source gives the same bytes, so a change shows at once and on every machine.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::engines::Plugin;

/// The most bytes that a module may have which is not in the table: an example.
const EXAMPLE: u64 = 200_000;

/// The most bytes that these modules may have. `hello` stands for a module that does nothing; the plugins are shipped
/// with a bill of materials of ten kilobytes besides, within 250 and 600 KB.
const BUDGETS: &[(&str, u64)] = &[("hello", 60_000), ("jwt", 590_000), ("rbac", 240_000)];

#[test]
fn modules_keep_to_their_budgets() {
    let budget = |name: &str| BUDGETS.iter().find(|(known, _)| *known == name).map_or(EXAMPLE, |(_, budget)| *budget);
    let (mut table, mut over) = (String::new(), Vec::new());
    for name in examples().into_iter().chain(["jwt", "rbac"].map(str::to_owned)) {
        let module = Plugin { package: name.clone().leak(), register: || () }.module();
        let size = fs::metadata(module).unwrap().len();
        writeln!(table, "{name:<20}{size:>8} of {:>8}", budget(&name)).unwrap();
        if size > budget(&name) {
            over.push(name);
        }
    }
    println!("{table}");
    assert!(over.is_empty(), "too large: {over:?}\n{table}");
}

fn examples() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let folders = fs::read_dir(folder).unwrap().map(|folder| folder.unwrap().path());
    let plugins = folders.filter(|folder| folder.join("src/lib.rs").exists());
    let mut names: Vec<_> = plugins.map(|folder| folder.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
