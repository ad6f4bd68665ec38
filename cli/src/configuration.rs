//! A plugin's configuration as it is typed: JSON itself, or the name of a file of it.

use std::fs;

use anyhow::{Context, Result, bail};
use serde::de::IgnoredAny;
use wasmplugin_deploy::yaml::{self, Node};

/// A configuration with the place of each value, from a file of YAML or JSON, or JSON itself.
#[derive(Debug)]
pub(crate) struct Placed {
    /// The values.
    pub(crate) node: Node,
    /// The file, or the option that JSON was given with.
    pub(crate) file: String,
}

impl Placed {
    /// Takes what begins like JSON as JSON, anything else as a file's name.
    pub(crate) fn read(argument: &str) -> Result<Self> {
        let (text, file) = if argument.trim_start().starts_with(['{', '[', '"']) {
            (argument.to_owned(), "--config".to_owned())
        } else {
            let context = || format!("cannot read the configuration `{argument}`");
            (fs::read_to_string(argument).with_context(context)?, argument.to_owned())
        };
        let mut trees = yaml::read(&text);
        let tree = trees.pop().with_context(|| format!("the configuration `{file}` is empty"))?;
        let tree = tree.with_context(|| format!("the configuration `{file}` is not YAML"))?;
        if !trees.is_empty() {
            bail!("the configuration `{file}` holds several documents");
        }
        Ok(Self { node: tree.root, file })
    }
}

/// JSON, just as it was written: a plugin may report lines and columns in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// The text; empty for none.
    pub(crate) text: String,
}

impl Configuration {
    /// Takes what begins like JSON as JSON, anything else as a file's name.
    pub(crate) fn read(argument: &str) -> Result<Self> {
        let inline = argument.trim_start();
        if inline.is_empty() {
            return Ok(Self { text: String::new() });
        }
        if inline.starts_with(['{', '[', '"']) {
            check(argument).with_context(|| format!("the configuration `{argument}` is not JSON"))?;
            return Ok(Self { text: argument.to_owned() });
        }
        let text = match fs::read_to_string(argument) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no configuration file `{argument}`; write JSON itself beginning with `{{`")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read the configuration file `{argument}`"));
            }
        };
        check(&text).with_context(|| format!("the configuration file `{argument}` is not JSON"))?;
        Ok(Self { text })
    }
}

fn check(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(argument: &str) -> String {
        format!("{:#}", Configuration::read(argument).unwrap_err())
    }

    #[test]
    fn json_is_taken_as_it_is() {
        assert_eq!(Configuration::read(" {\"a\":  1}").unwrap().text, " {\"a\":  1}");
        assert_eq!(Configuration::read("").unwrap().text, "");
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        assert_eq!(error("{\"a\": }"), "the configuration `{\"a\": }` is not JSON: expected value at line 1 column 7");
        assert!(error("{} {}").contains("trailing characters"));
    }

    #[test]
    fn places_are_those_of_the_text() {
        let placed = Placed::read("{\"a\":\n  1}").unwrap();
        let at = placed.node.get("a").unwrap().at;
        assert_eq!((placed.file.as_str(), at.line, at.column), ("--config", 2, 3));
        let error = format!("{:#}", Placed::read("{\"a\": [").unwrap_err());
        assert!(error.starts_with("the configuration `--config` is not YAML: "), "{error}");
        let error = format!("{:#}", Placed::read("/nowhere.yaml").unwrap_err());
        assert!(error.starts_with("cannot read the configuration `/nowhere.yaml`: "), "{error}");
    }

    #[test]
    fn anything_else_is_a_file() {
        let path = std::env::temp_dir().join(format!("wasmplugin-configuration-{}.json", std::process::id()));
        let name = path.to_str().unwrap();
        assert!(error(name).starts_with(&format!("there is no configuration file `{name}`")));
        fs::write(&path, "{\"a\": 1}").unwrap();
        assert_eq!(Configuration::read(name).unwrap().text, "{\"a\": 1}");
        fs::write(&path, "a: 1").unwrap();
        assert!(error(name).contains("is not JSON: expected value at line 1 column 1"));
        fs::remove_file(path).unwrap();
    }
}
