//! The verb `lint`: what a cluster would say about Istio's Wasm resources, and what it would not say.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmplugin_deploy::document::Document;
use wasmplugin_deploy::finding::{Finding, Severity};
use wasmplugin_deploy::lint::{self, KnownModule, Report, Surroundings, rule};
use wasmplugin_deploy::version::IstioVersion;
use wasmplugin_deploy::yaml::SyntaxError;
use wasmplugin_host::module::Module;

use crate::documents::{self, Found};
use crate::exit::{self, Exit};
use crate::output::{self, Format};
use crate::registry::RegistryArguments;
use crate::table::Table;

mod online;

/// Check WasmPlugins, TrafficExtensions and EnvoyFilters before a cluster sees them.
///
/// Tells what the API server and istiod would refuse, which fields would be dropped without a word, and what both admit
/// although it does not work or has hurt others. Documents of other kinds are skipped, but Secrets and Gateways among
/// them are looked at where a plugin refers to them. With `--online` registries are asked whether the images are there, in a form
/// that Istio takes, and configurations are held against the schemas of the modules in them. Ends with 1 if anything is an
/// error, or refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin lint deploy/
  cargo wasmplugin lint plugin.yaml --istio 1.27
  cargo wasmplugin lint plugin.yaml --module target/modules/hello.wasm   the configuration too
  cargo wasmplugin lint deploy/ --online                                 the images too
  kubectl get wasmplugins -A -o yaml | cargo wasmplugin lint -
  cargo wasmplugin lint --rules                                          every rule")]
pub(crate) struct Arguments {
    /// Files of YAML or JSON, folders of them, or `-` for the standard input.
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The version of Istio that they are for.
    #[arg(long, default_value_t = IstioVersion::LATEST, value_name = "VERSION")]
    istio: IstioVersion,
    /// A module whose JSON Schema the configuration is held against; with `URL=` for plugins with that url only.
    #[arg(long = "module", value_name = "[URL=]FILE")]
    modules: Vec<String>,
    /// The namespace whose resources are for the whole mesh.
    #[arg(long, default_value = "istio-system", value_name = "NAMESPACE")]
    root_namespace: String,
    /// Ask registries for the images; with the pull secrets among the documents, or else with this machine's logins.
    #[arg(long)]
    online: bool,
    /// End with 1 over warnings too.
    #[arg(long)]
    strict: bool,
    /// List all rules, and check nothing.
    #[arg(long)]
    rules: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registries: RegistryArguments,
}

/// How a component begins, where a module has version 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// A document with everything that was found in it.
#[derive(Debug)]
struct Judged<'a> {
    file: &'a str,
    document: Result<(&'a Document, Report), &'a SyntaxError>,
}

/// Checks, and prints what was found.
pub(crate) fn lint(arguments: &Arguments) -> Result<Exit> {
    if arguments.rules {
        output::print(&match arguments.output {
            Format::Text => rules_text(),
            Format::Json => rules_json(),
        })?;
        return Ok(Exit::Success);
    }
    let found = documents::read(&arguments.inputs)?;
    let mut surroundings = Surroundings {
        istio: arguments.istio,
        root_namespace: arguments.root_namespace.clone(),
        modules: arguments.modules.iter().map(|argument| known_module(argument)).collect::<Result<_>>()?,
        images: Vec::new(),
    };
    if arguments.online {
        let documents: Vec<_> = found.iter().filter_map(|found| found.document.as_ref().ok()).collect();
        let (images, modules) = online::ask(&documents, &arguments.registries)?;
        surroundings.images = images;
        surroundings.modules.extend(modules);
    }
    let judged = judge(&found, &surroundings);
    output::print(&match arguments.output {
        Format::Text => text(&judged, found.len() - judged.len()),
        Format::Json => format!("{:#}\n", Value::from_iter(judged.iter().map(Judged::json))),
    })?;
    let worst = judged.iter().flat_map(Judged::findings).map(|finding| finding.severity).min();
    let limit = if arguments.strict { Severity::Warning } else { Severity::Error };
    Ok(if worst.is_some_and(|worst| worst <= limit) { Exit::Failure } else { Exit::Success })
}

/// `hello.wasm`, or `oci://registry/hello:1=hello.wasm`
fn known_module(argument: &str) -> Result<KnownModule> {
    let (url, file) = match argument.rsplit_once('=') {
        Some((url, file)) => (Some(url.to_owned()), file),
        None => (None, argument),
    };
    if file.is_empty() {
        exit::usage(format_args!("`--module {argument}` names no file"));
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read the module `{file}`"))?;
    module(url, file, bytes)
}

/// What rules want to know of a module.
fn module(url: Option<String>, name: &str, bytes: Vec<u8>) -> Result<KnownModule> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if bytes.starts_with(COMPONENT) {
        return Ok(KnownModule { url, size, is_component: true, schema: None });
    }
    let module = Module::from_bytes(name, bytes)?;
    Ok(KnownModule { url, size, is_component: false, schema: module.info().schema.clone() })
}

/// What is known, in the order of the documents; those of other kinds are left out.
fn judge<'a>(found: &'a [Found], surroundings: &Surroundings) -> Vec<Judged<'a>> {
    let documents: Vec<_> = found.iter().filter_map(|found| found.document.as_ref().ok()).collect();
    let mut reports = lint::lint(&documents, surroundings).into_iter();
    found
        .iter()
        .filter_map(|found| {
            let document = match &found.document {
                Ok(document) => Ok((document, reports.next()??)),
                Err(error) => Err(error),
            };
            Some(Judged { file: &found.file, document })
        })
        .collect()
}

impl Judged<'_> {
    fn findings(&self) -> Vec<Finding> {
        match &self.document {
            Ok((_, report)) => report.findings.clone(),
            Err(error) => vec![Finding {
                severity: Severity::Error,
                code: "syntax",
                path: String::new(),
                at: error.at,
                message: format!("this is not YAML: {}", error.message),
                help: String::new(),
            }],
        }
    }

    /// The form that scripts rely on.
    fn json(&self) -> Value {
        let word = |valid| if valid { "valid" } else { "invalid" };
        let (line, kind, name, crd, istiod, admitted) = match &self.document {
            Ok((document, report)) => {
                let admission = &report.admission;
                let crd = admission.crd.refused.is_empty();
                let istiod = admission.istiod.refused.is_empty();
                (document.at().line, report.kind.name(), document.name(), crd, istiod, admission.is_admitted())
            }
            Err(error) => (error.at.line, "", "", false, false, false),
        };
        json!({
            "file": self.file,
            "line": line,
            "kind": kind,
            "name": name,
            "crd": word(crd),
            "istiod": word(istiod),
            "admitted": admitted,
            "findings": self.findings().iter().map(finding_json).collect::<Value>(),
        })
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity,
        "code": finding.code,
        "path": finding.path,
        "line": finding.at.line,
        "column": finding.at.column,
        "message": finding.message,
        "help": finding.help,
    })
}

fn text(judged: &[Judged<'_>], skipped: usize) -> String {
    let mut text = String::new();
    let mut counts = [0_usize; 3];
    for document in judged {
        let named = match &document.document {
            Ok((document, report)) => format!("{} `{}`: ", report.kind.name(), document.name()),
            Err(_) => String::new(),
        };
        for finding in document.findings() {
            if let Some(count) = counts.get_mut(finding.severity as usize) {
                *count += 1;
            }
            let Finding { severity, code, path, at, message, help } = finding;
            let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
            // Writing to a text cannot fail.
            let _written = writeln!(text, "{}:{at}: {severity}[{code}]: {named}{path}{message}", document.file);
            if !help.is_empty() {
                let _written = writeln!(text, "  help: {help}");
            }
        }
    }
    let [errors, warnings, infos] = counts;
    let _written = write!(
        text,
        "{}: {}, {}, {}",
        counted(judged.len(), "document"),
        counted(errors, "error"),
        counted(warnings, "warning"),
        counted(infos, "note"),
    );
    if skipped > 0 {
        let _written = write!(text, "; {} of other kinds skipped", counted(skipped, "document"));
    }
    text.push('\n');
    text
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn rules_text() -> String {
    let mut table = Table::new(["code", "severity", "about", "what to do"]);
    for rule in rule::RULES {
        table.row([rule.code, rule.severity.word(), rule.title, rule.help], Vec::new());
    }
    table.render("")
}

fn rules_json() -> String {
    let rule = |rule: &rule::Rule| json!({ "code": rule.code, "severity": rule.severity, "about": rule.title, "help": rule.help });
    format!("{:#}\n", rule::RULES.iter().map(rule).collect::<Value>())
}
