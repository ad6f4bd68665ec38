//! The verb `cache`: the modules that were pulled, shown, removed, carried to other machines.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::json;
use wasmplugin_deploy::cache::{Cache, Entry, Removed};
use wasmplugin_deploy::image::archive::MAX_MODULE_SIZE;

use crate::exit::Exit;
use crate::output::{self, Format};
use crate::registry;
use crate::table::Table;

/// Show, clean and carry the cache of modules.
///
/// It is shared by all commands and proxies of this user; all of it can be pulled again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin cache ls
  cargo wasmplugin cache rm ghcr.io/me/hello
  cargo wasmplugin cache gc --unused-for 24h
  cargo wasmplugin cache export modules.tar      for a machine that reaches no registry
  cargo wasmplugin cache import modules.tar      there")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// The folder of the cache; `$WASMPLUGIN_CACHE` or `~/.cache/wasmplugin` unless given.
    #[arg(long, global = true, value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is there.
    Ls,
    /// Remove modules.
    Rm {
        /// Words that a module's name, URL or digest contains.
        #[arg(required_unless_present = "all")]
        modules: Vec<String>,
        /// Removes everything.
        #[arg(long, conflicts_with = "modules")]
        all: bool,
    },
    /// Remove what nobody has asked for in a while, and what a killed process left behind.
    Gc {
        /// How long nobody has asked: `30m`, `24h` or `7d`.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
        unused_for: Duration,
    },
    /// Write modules into a file.
    Export {
        /// The file, a tar archive.
        file: PathBuf,
        /// Words that a module's name, URL or digest contains; everything unless given.
        modules: Vec<String>,
    },
    /// Take in modules that were exported. Import only what you trust: a file says itself what its modules are called.
    Import {
        /// The file.
        file: PathBuf,
    },
}

/// Does what is asked.
pub(crate) fn cache(arguments: &Arguments) -> Result<Exit> {
    let cache = registry::cache(arguments.cache.as_ref())?;
    match &arguments.verb {
        Verb::Ls => list(&cache, arguments.output),
        Verb::Rm { modules, .. } => {
            let removed = cache.remove(|entry| modules.is_empty() || matches(entry, modules))?;
            if removed.modules == 0 && !modules.is_empty() {
                bail!("no module matches {}; `cargo wasmplugin cache ls` lists them", quoted(modules));
            }
            removal(removed, arguments.output)
        }
        Verb::Gc { unused_for } => removal(cache.purge(*unused_for)?, arguments.output),
        Verb::Export { file, modules } => export(&cache, file, modules, arguments.output),
        Verb::Import { file } => {
            let reader = File::open(file).with_context(|| format!("cannot read `{}`", file.display()))?;
            let count = cache
                .import(BufReader::new(reader), MAX_MODULE_SIZE)
                .with_context(|| format!("cannot import `{}`", file.display()))?;
            counted("imported", count, arguments.output)
        }
    }
}

fn list(cache: &Cache, format: Format) -> Result<Exit> {
    let entries = cache.list()?;
    let text = match format {
        Format::Json => {
            let entries: Vec<_> = entries
                .iter()
                .map(|entry| {
                    json!({
                        "name": entry.record.name,
                        "digest": entry.record.checksum,
                        "content": entry.record.content,
                        "size": entry.record.size,
                        "urls": entry.urls,
                        "unusedSeconds": idle(entry).as_secs(),
                        "file": entry.path,
                    })
                })
                .collect();
            format!("{:#}\n", json!(entries))
        }
        Format::Text if entries.is_empty() => format!("the cache `{}` is empty\n", cache.root().display()),
        Format::Text => {
            let mut table = Table::new(["module", "digest", "size", "unused for"]);
            for entry in &entries {
                let digest: String = entry.record.checksum.hex().chars().take(12).collect();
                let cells = [entry.record.name.clone(), digest, registry::size(entry.record.size), ago(idle(entry))];
                table.row(cells, entry.urls.iter().filter(|url| **url != entry.record.name).cloned().collect());
            }
            table.render("")
        }
    };
    output::print(&text)?;
    Ok(Exit::Success)
}

fn export(cache: &Cache, file: &std::path::Path, modules: &[String], format: Format) -> Result<Exit> {
    let mut bytes = Vec::new();
    let count = cache.export(&mut bytes, |entry| modules.is_empty() || matches(entry, modules))?;
    if count == 0 {
        bail!("there is no module to export; `cargo wasmplugin cache ls` lists them");
    }
    output::write_file(file, &bytes)?;
    counted("exported", count, format)
}

fn matches(entry: &Entry, words: &[String]) -> bool {
    let record = &entry.record;
    words.iter().any(|word| {
        record.name.contains(word.as_str())
            || record.checksum.to_string().contains(word.as_str())
            || entry.urls.iter().any(|url| url.contains(word.as_str()))
    })
}

fn removal(removed: Removed, format: Format) -> Result<Exit> {
    output::print(&match format {
        Format::Text => format!("removed {}, {}\n", modules(removed.modules), registry::size(removed.bytes)),
        Format::Json => format!("{:#}\n", json!({ "removed": removed.modules, "bytes": removed.bytes })),
    })?;
    Ok(Exit::Success)
}

fn counted(done: &str, count: u64, format: Format) -> Result<Exit> {
    output::print(&match format {
        Format::Text => format!("{done} {}\n", modules(count)),
        Format::Json => format!("{:#}\n", json!({ done: count })),
    })?;
    Ok(Exit::Success)
}

fn modules(count: u64) -> String {
    if count == 1 { "1 module".to_owned() } else { format!("{count} modules") }
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

fn idle(entry: &Entry) -> Duration {
    SystemTime::now().duration_since(entry.last_used).unwrap_or_default()
}

fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let found = units.iter().find_map(|(letter, seconds)| {
        let number: u64 = text.strip_suffix(*letter)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    found.map(Duration::from_secs).ok_or_else(|| "it must be a number and a unit: `30m`, `24h` or `7d`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(time("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(time("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["", "5", "h", "-1h", "1w", "99999999999999999999d"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
