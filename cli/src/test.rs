//! The verb `test`: a plugin's own tests, with everything they need made ready before.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use wasmplugin_host::envoy::binary;
use wasmplugin_host::module::build;

use crate::engine::envoy_folder;
use crate::exit::Exit;
use crate::output::{self, Format};

/// Run a plugin's tests.
///
/// Builds the module and obtains an Envoy first, where tests want them, so that what is wrong there is told once and not by
/// every test; then cargo runs the tests. A test belongs to the engine in whose name its own name ends, such as `wasm` or
/// `refuses_envoy`; all others, those beside the source among them, run natively.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin test                             all tests of the package in this folder
  cargo wasmplugin test --engine native             the quick ones
  cargo wasmplugin test --engine wasm,envoy header  those with `header` in their name, as a module
  cargo wasmplugin test -- --nocapture
  cargo wasmplugin test --output json | jq .failed")]
pub(crate) struct Arguments {
    /// Only tests with this in their name.
    #[arg(value_name = "NAME")]
    filter: Option<String>,
    /// The package; the one in this folder unless given.
    #[arg(long, short, value_name = "NAME")]
    package: Option<String>,
    /// Only tests for these engines; all unless given.
    #[arg(long = "engine", value_enum, value_delimiter = ',', value_name = "ENGINE")]
    engines: Vec<Engine>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    /// Further arguments for the tests, such as `--nocapture`.
    #[arg(last = true, value_name = "TEST ARGUMENT")]
    arguments: Vec<String>,
}

/// What runs the plugin in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// The test's own process.
    Native,
    /// Wasmtime, with the module.
    Wasm,
    /// A real Envoy, with the module.
    Envoy,
}

impl Engine {
    const ALL: [Self; 3] = [Self::Native, Self::Wasm, Self::Envoy];

    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Envoy => "envoy",
        }
    }

    /// The one that a test is for.
    fn of(test: &str) -> Self {
        let ends = |engine: &Self| {
            let before = test.strip_suffix(engine.name());
            before.is_some_and(|before| before.is_empty() || before.ends_with([':', '_']))
        };
        Self::ALL.into_iter().find(ends).unwrap_or(Self::Native)
    }
}

/// Makes everything ready, and runs the tests.
pub(crate) fn test(arguments: &Arguments) -> Result<Exit> {
    let package = arguments.package.clone().map_or_else(|| build::package_in("."), Ok)?;
    let engines: &[Engine] = if arguments.engines.is_empty() { &Engine::ALL } else { &arguments.engines };
    let tests = list(&package)?;
    let chosen = choose(&tests, engines, arguments.filter.as_deref());
    let needs = |engine| chosen.iter().any(|test| Engine::of(test) == engine);
    if needs(Engine::Wasm) || needs(Engine::Envoy) {
        build::build(&[&package], &build::Options::default())?;
    }
    let mut cargo = cargo(&package);
    if needs(Engine::Envoy) {
        let envoy = binary::find_or_install(&envoy_folder())?;
        if let Some(warning) = envoy.warning() {
            eprintln!("warning: {warning}");
        }
        cargo.env("ENVOY", envoy.path);
    }
    if arguments.engines.is_empty() {
        cargo.args(&arguments.filter).arg("--");
    } else if chosen.is_empty() {
        let names: Vec<_> = engines.iter().map(|engine| format!("`{}`", engine.name())).collect();
        bail!("`{package}` has no such test for {}: let its name end in the engine's", names.join(" or "));
    } else {
        // Documentation has no engine.
        cargo.args(["--tests", "--", "--exact"]).args(chosen);
    }
    cargo.args(&arguments.arguments);
    run(cargo, arguments.output)
}

/// `cargo test` for a package.
fn cargo(package: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.args(["test", "--package", package]).stdin(Stdio::null());
    cargo
}

/// The names of all tests.
fn list(package: &str) -> Result<Vec<String>> {
    let mut cargo = cargo(package);
    cargo.args(["--tests", "--", "--list", "--format", "terse"]).stderr(Stdio::inherit());
    let output = cargo.output().context("cannot run `cargo`; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("the tests of `{package}` cannot be compiled; cargo's messages stand above");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Those for one of the engines, with the filter in their name.
fn choose<'a>(tests: &'a [String], engines: &[Engine], filter: Option<&str>) -> Vec<&'a str> {
    let named = |test: &&str| filter.is_none_or(|filter| test.contains(filter));
    let mut chosen: Vec<_> =
        tests.iter().map(String::as_str).filter(|test| engines.contains(&Engine::of(test))).filter(named).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn run(mut cargo: Command, format: Format) -> Result<Exit> {
    if format == Format::Json {
        cargo.stdout(Stdio::piped()).stderr(Stdio::inherit());
    }
    let child = cargo.spawn().context("cannot run `cargo`; install Rust from https://rustup.rs")?;
    let output = child.wait_with_output().context("`cargo` cannot be waited for")?;
    if format == Format::Json {
        let text = String::from_utf8_lossy(&output.stdout);
        // What failed says why, for people.
        eprint!("{text}");
        output::print(&format!("{:#}\n", told(&text)))?;
    }
    Ok(if output.status.success() { Exit::Success } else { Exit::Failure })
}

/// What became of each test, from lines such as `test tests::a ... ok`.
fn told(text: &str) -> Value {
    let result = |line: &str| {
        let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let result = result.split([',', ' ']).next().unwrap_or_default().to_lowercase();
        Some(json!({"name": name, "engine": Engine::of(name).name(), "result": result}))
    };
    let tests: Vec<_> = text.lines().filter_map(result).collect();
    let count =
        |word: &str| tests.iter().filter(|test| test.get("result").is_some_and(|result| result == word)).count();
    json!({"passed": count("ok"), "failed": count("failed"), "ignored": count("ignored"), "tests": tests})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_for_the_engine_that_its_name_ends_in() {
        for (test, engine) in [
            ("native", Engine::Native),
            ("wasm", Engine::Wasm),
            ("limits::envoy", Engine::Envoy),
            ("passes_envoy", Engine::Envoy),
            ("tests::a_wrong_status_is_refused", Engine::Native),
            ("knows_no_otherenvoy", Engine::Native),
            ("wasm_is_read", Engine::Native),
        ] {
            assert_eq!(Engine::of(test), engine, "{test}");
        }
        let tests = ["wasm", "native", "a_wasm", "tests::b", "wasm"].map(str::to_owned);
        assert_eq!(choose(&tests, &[Engine::Wasm], None), ["a_wasm", "wasm"]);
        assert_eq!(choose(&tests, &[Engine::Native, Engine::Wasm], Some("a_")), ["a_wasm"]);
        assert!(choose(&tests, &[Engine::Envoy], None).is_empty());
    }

    #[test]
    fn what_tests_print_is_counted() {
        let told = told("running 3 tests\ntest a::wasm ... ok\ntest b ... FAILED\ntest c ... ignored, slow\nok\n");
        assert_eq!((&told["passed"], &told["failed"], &told["ignored"]), (&1.into(), &1.into(), &1.into()));
        assert_eq!(told["tests"][0], json!({"name": "a::wasm", "engine": "wasm", "result": "ok"}));
    }
}
