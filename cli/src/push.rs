//! The verb `push`: a module becomes an image in a registry, or in an OCI layout.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::json;
use wasmplugin_deploy::image::build::{self, Contents, Image};
use wasmplugin_deploy::image::digest::Digest;
use wasmplugin_deploy::image::layout;
use wasmplugin_deploy::image::manifest::Document;
use wasmplugin_deploy::image::reference::Reference;
use wasmplugin_deploy::image::signature::{self, PrivateKey};
use wasmplugin_deploy::registry::{Registry, RegistryError};
use wasmplugin_host::module::Module;

use crate::exit::{self, Exit};
use crate::image::{self, Blobs, Source};
use crate::output::{self, Format};
use crate::pair::pair;
use crate::registry::{self, Meter, RegistryArguments};

/// Push a module as an image that Istio, Envoy Gateway and Higress accept.
///
/// The same module always becomes the same image. Prints the digest to pin: that of the image's manifest, which is what
/// Istio compares. An OCI layout, or a tarball of one, is pushed as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo wasmplugin push target/modules/hello.wasm ghcr.io/me/hello:1.0.0
  cargo wasmplugin push hello.wasm localhost:5000/hello:dev --plain-http localhost:5000
  cargo wasmplugin push hello.wasm ghcr.io/me/hello:1.0.0 --sign cosign.key
  cargo wasmplugin push hello.wasm ./layout                     into an OCI layout folder
  cargo wasmplugin push hello.wasm hello.tar                    into a tarball of one
  cargo wasmplugin push hello.tar ghcr.io/me/hello:1.0.0        an image that was made before

Logins are those of `docker login` and `podman login`, credential helpers included.")]
pub(crate) struct Arguments {
    /// A `.wasm` file, an OCI layout folder, or a tarball of one.
    #[arg(value_name = "MODULE")]
    module: String,
    /// Where to: `registry/repository:tag`, or a folder (`./layout`) or a tarball (`image.tar`) for an OCI layout.
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// The form of the image; `cncf` is refused by all three, `solo` and `docker` are for registries and tools that need them.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: Form,
    /// A file to put into the image beside the module. May be repeated. The form must have an archive.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// A root id that the module registers. May be repeated.
    #[arg(long, value_name = "ID")]
    root_id: Vec<String>,
    /// A note for readers. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    annotation: Vec<(String, String)>,
    /// Signs the image with a key in PEM, of cosign or openssl; the password of cosign's is read from COSIGN_PASSWORD.
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// The image in an OCI layout, by its tag; the tag in one that is written (`latest`).
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    registry: RegistryArguments,
}

/// The form of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// An OCI image, accepted by all three.
    #[default]
    Oci,
    /// A Docker image, accepted by all three.
    Docker,
    /// Solo's artifact of two layers, accepted by all three.
    Solo,
    /// CNCF's artifact, accepted by none of the three.
    Cncf,
}

impl From<Form> for build::Format {
    fn from(form: Form) -> Self {
        match form {
            Form::Oci => Self::Oci,
            Form::Docker => Self::Docker,
            Form::Solo => Self::Solo,
            Form::Cncf => Self::Cncf,
        }
    }
}

/// Makes the image and sends it.
pub(crate) fn push(arguments: &Arguments) -> Result<Exit> {
    let key = arguments.sign.as_deref().map(private_key).transpose()?;
    if let Some(path) = image::target_path(&arguments.destination) {
        if key.is_some() {
            exit::usage("signatures are kept in registries: push the layout to one with `--sign`");
        }
        let image = registry::wait(made(arguments))?;
        write(&path, &image, arguments.tag.as_deref().unwrap_or("latest"))?;
        return print(arguments, &path.display().to_string(), None, &image.digest(), false);
    }
    let reference = image::reference(&arguments.destination)?;
    if reference.digest().is_some() {
        exit::usage("the destination has a digest: name a tag, the digest follows from the content");
    }
    let registry = arguments.registry.registry()?;
    let digest = registry::wait(async {
        let image = made(arguments).await?;
        let meter = Arc::new(Meter::new("pushing"));
        let shown = Arc::clone(&meter);
        let pushed =
            registry.push(&reference, &image, Arc::new(move |done, total| shown.show(done, Some(total)))).await;
        meter.clear();
        let digest = pushed?;
        if let Some(key) = &key {
            sign(&registry, &reference, &digest, key).await?;
        }
        Ok(digest)
    })?;
    print(arguments, &reference.to_string(), Some(&reference), &digest, key.is_some())
}

/// The image that the arguments describe.
async fn made(arguments: &Arguments) -> Result<Image> {
    match Source::parse(&arguments.module)? {
        Source::Module(path) => Ok(build::build(&contents(arguments, &path)?, arguments.format.into())?),
        Source::Layout(layout) => {
            let blobs = Blobs::Layout(&layout);
            let resolved = blobs.manifest(arguments.tag.as_deref()).await?;
            blobs.image(&resolved, &|_| ()).await
        }
        Source::Registry(_) => {
            bail!(
                "there is no file `{}`; build it with `cargo wasmplugin build`, or pull an image with `cargo wasmplugin pull`",
                arguments.module
            )
        }
    }
}

fn contents(arguments: &Arguments, path: &Path) -> Result<Contents> {
    let module = Module::read(path)?;
    let info = module.info();
    let mut files = BTreeMap::new();
    if let Some(schema) = &info.schema {
        files.insert("schema.json".to_owned(), Bytes::from(schema.to_string()));
    }
    for path in &arguments.file {
        let name = path.file_name().with_context(|| format!("`{}` has no file name", path.display()))?;
        let bytes = fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        files.insert(name.to_string_lossy().into_owned(), bytes.into());
    }
    if files.contains_key("plugin.wasm") || files.contains_key("runtime-config.json") {
        exit::usage("`plugin.wasm` and `runtime-config.json` are made by this command: give the file another name");
    }
    let mut annotations = BTreeMap::new();
    for (field, key) in [("name", "title"), ("version", "version"), ("license", "licenses")] {
        if let Some(value) =
            info.metadata.as_ref().and_then(|metadata| metadata.get(field)).and_then(|value| value.as_str())
        {
            annotations.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
        }
    }
    annotations.extend(arguments.annotation.iter().cloned());
    Ok(Contents {
        module: module.bytes().clone(),
        files,
        root_ids: arguments.root_id.clone(),
        abi: Some(module.abi().to_string()),
        annotations,
    })
}

fn write(path: &Path, image: &Image, tag: &str) -> Result<()> {
    if path.extension().is_some_and(|extension| extension == "tar") {
        let mut bytes = Vec::new();
        layout::write_archive(&mut bytes, image, tag)?;
        output::write_file(path, &bytes)
    } else {
        Ok(layout::write_folder(path, image, tag)?)
    }
}

fn private_key(path: &Path) -> Result<PrivateKey> {
    let pem = fs::read_to_string(path).with_context(|| format!("cannot read the key `{}`", path.display()))?;
    let password = std::env::var("COSIGN_PASSWORD").unwrap_or_default();
    PrivateKey::from_pem(&pem, &password).with_context(|| format!("cannot use the key `{}`", path.display()))
}

/// Adds a signature to those that the image has.
async fn sign(registry: &Registry, image: &Reference, digest: &Digest, key: &PrivateKey) -> Result<()> {
    let target = image.tagged(signature::tag(digest));
    let before = match registry.document(&target).await {
        Ok((bytes, _)) => match Document::parse(&bytes)? {
            Document::Manifest(manifest) => Some(manifest),
            Document::Index(_) => bail!("there is an index at `{target}`, where signatures are kept; remove it"),
        },
        Err(RegistryError::NotFound { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let signed = signature::image(&signature::sign(&image.name(), digest, key), before.as_ref())?;
    registry
        .push(&target, &signed, Arc::new(|_, _| ()))
        .await
        .context("the image was pushed, but its signature was not")?;
    Ok(())
}

fn print(arguments: &Arguments, shown: &str, image: Option<&Reference>, digest: &Digest, signed: bool) -> Result<Exit> {
    let pinned = image.map(|image| format!("oci://{}", image.at(digest)));
    if arguments.format == Form::Cncf {
        eprintln!("warning: Istio, Envoy Gateway and Higress refuse this form; push without `--format cncf` for them");
    }
    output::print(&match arguments.output {
        Format::Text => {
            let pin = pinned.map(|pinned| format!("url     {pinned}\n")).unwrap_or_default();
            let signed = if signed { "signed  yes\n" } else { "" };
            format!("pushed  {shown}\ndigest  {digest}\n{pin}{signed}")
        }
        Format::Json => {
            let value = json!({ "destination": shown, "digest": digest, "url": pinned, "signed": signed });
            format!("{value:#}\n")
        }
    })?;
    Ok(Exit::Success)
}
