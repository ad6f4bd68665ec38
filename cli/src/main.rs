//! `cargo wasmplugin`: builds, runs and tries Envoy and Istio Wasm plugins.
//!
//! # Layout
//!
//! One file or folder per verb; what verbs share is a file of its own: [`workspace`] knows what can be built, [`engine`]
//! starts a proxy of either kind, [`image`] knows what a user may name as an image, [`registry`] how to reach one,
//! [`documents`] reads Kubernetes objects, [`configuration`] what a plugin is to be configured with, [`address`] where a server is, [`pair`] reads `NAME=VALUE`, [`table`] aligns what
//! is printed. Results go to the standard output, everything else to the standard error.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

mod address;
mod bench;
mod build;
mod cache;
mod check;
mod client;
mod code;
mod completions;
mod configuration;
mod demo;
mod deploy;
mod doctor;
mod documents;
mod duration;
mod engine;
mod exit;
mod image;
mod inspect;
mod lint;
mod logger;
mod man;
mod mesh;
mod migrate;
mod modules;
mod new;
mod output;
mod pair;
mod pull;
mod push;
mod registry;
mod run;
mod secrets;
mod stats_tags;
mod stop;
mod table;
mod test;
mod token;
mod verify;
mod workspace;

use exit::Exit;

/// Build, run and try Envoy and Istio Wasm plugins.
#[derive(Debug, Parser)]
#[command(
    name = "cargo-wasmplugin",
    bin_name = "cargo wasmplugin",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:
  cargo wasmplugin demo                       see what plugins can do
  cargo wasmplugin new my-plugin              make a package for a new plugin
  cargo wasmplugin build                      build the one in this folder into a module
  cargo wasmplugin test                       run its tests, on all engines
  cargo wasmplugin modules                    build all plugins and examples of this workspace
  cargo wasmplugin run target/modules/hello.wasm --upstream localhost:3000
  cargo wasmplugin push target/modules/hello.wasm ghcr.io/me/hello:1.0.0
  cargo wasmplugin inspect ghcr.io/me/hello:1.0.0
  cargo wasmplugin lint deploy/               check resources before a cluster sees them
  cargo wasmplugin doctor                     what is missing on this machine, and what to type"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::Arguments),
    Build(build::Arguments),
    Cache(cache::Arguments),
    Check(check::Arguments),
    Completions(completions::Arguments),
    Demo(demo::Arguments),
    Deploy(Box<deploy::Arguments>),
    Doctor(doctor::Arguments),
    Inspect(inspect::Arguments),
    Lint(lint::Arguments),
    Man(man::Arguments),
    Migrate(migrate::Arguments),
    Modules(modules::Arguments),
    New(new::Arguments),
    Pull(pull::Arguments),
    Push(push::Arguments),
    Run(run::Arguments),
    StatsTags(stats_tags::Arguments),
    Test(test::Arguments),
    Token(token::Arguments),
    Verify(verify::Arguments),
}

fn main() -> Exit {
    logger::install();
    let result = match Arguments::parse_from(own_arguments(std::env::args_os())).verb {
        Verb::Bench(arguments) => bench::bench(&arguments),
        Verb::Build(arguments) => build::build(&arguments),
        Verb::Cache(arguments) => cache::cache(&arguments),
        Verb::Check(arguments) => check::check(&arguments),
        Verb::Completions(arguments) => completions::completions(&arguments),
        Verb::Demo(arguments) => demo::demo(&arguments),
        Verb::Deploy(arguments) => deploy::deploy(&arguments),
        Verb::Doctor(arguments) => doctor::doctor(&arguments),
        Verb::Inspect(arguments) => inspect::inspect(&arguments),
        Verb::Lint(arguments) => lint::lint(&arguments),
        Verb::Man(arguments) => man::man(&arguments),
        Verb::Migrate(arguments) => migrate::migrate(&arguments),
        Verb::Modules(arguments) => modules::modules(&arguments),
        Verb::New(arguments) => new::new(&arguments),
        Verb::Pull(arguments) => pull::pull(&arguments),
        Verb::Push(arguments) => push::push(&arguments),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::StatsTags(arguments) => stats_tags::stats_tags(&arguments),
        Verb::Test(arguments) => test::test(&arguments),
        Verb::Token(arguments) => token::token(&arguments),
        Verb::Verify(arguments) => verify::verify(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        Exit::Failure
    })
}

/// Started as `cargo wasmplugin VERB`, cargo puts its own name for us before the verb.
fn own_arguments(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    arguments
        .enumerate()
        .filter(|(place, argument)| *place != 1 || argument != "wasmplugin")
        .map(|(_, argument)| argument)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(own_arguments(arguments.iter().map(OsString::from)))
    }

    #[test]
    fn the_table_of_verbs_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn cargo_may_say_our_name_first() {
        assert!(matches!(parse(&["cargo-wasmplugin", "modules"]).unwrap().verb, Verb::Modules(_)));
        assert!(matches!(parse(&["cargo-wasmplugin", "wasmplugin", "modules"]).unwrap().verb, Verb::Modules(_)));
        assert!(parse(&["cargo-wasmplugin", "wasmplugin", "wasmplugin"]).is_err());
    }
}
