//! OCI image layouts: images in a folder, or in a tar archive of one, as `skopeo`, `crane` and `docker save` make them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::build::Image;
use super::digest::Digest;
use super::manifest::{BadManifest, Descriptor, Document, Index, Resolved, media_type};

/// The annotation that holds an image's tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The most that an index or a manifest may have.
const MAX_DOCUMENT: u64 = 4 << 20;

/// The most files that an archive may have.
const MAX_FILES: usize = 100_000;

/// A layout that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The operating system refuses.
    #[error("cannot {act} `{path}`: {source}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// With what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// No layout.
    #[error(
        "`{0}` is no OCI image layout: it has no `index.json`; make one with `skopeo copy .. oci:FOLDER` or \
         `cargo wasmplugin push MODULE FOLDER`"
    )]
    NoLayout(String),
    /// A file of it is missing.
    #[error("`{path}` has no `{file}`; it is incomplete, so copy or pull it again")]
    Missing {
        /// The layout.
        path: String,
        /// The file in it.
        file: String,
    },
    /// A file of it holds other bytes than its name says.
    #[error("`{file}` in `{path}` does not hold what its name says; it is damaged, so copy or pull it again")]
    Damaged {
        /// The layout.
        path: String,
        /// The file in it.
        file: String,
    },
    /// A file of it is larger than allowed.
    #[error("`{file}` in `{path}` has more than {limit} bytes, and no more are read")]
    TooLarge {
        /// The layout.
        path: String,
        /// The file in it.
        file: String,
        /// The most that is allowed.
        limit: u64,
    },
    /// Several images, or none of that tag.
    #[error("`{path}` holds {found}; name one of them with `--tag`")]
    Which {
        /// The layout.
        path: String,
        /// What it holds.
        found: String,
    },
    /// A manifest in it cannot be used.
    #[error("`{path}`: {problem}")]
    Manifest {
        /// The layout.
        path: String,
        /// Why not.
        problem: BadManifest,
    },
}

/// A layout, opened.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Folder,
    /// Where in the archive each file is, and how long.
    Archive(BTreeMap<String, (u64, u64)>),
}

impl Layout {
    /// Opens a folder or a tar archive.
    ///
    /// # Errors
    ///
    /// If it is neither, or no layout.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let path = path.into();
        let files = if path.is_dir() { Files::Folder } else { Files::Archive(contents(&path)?) };
        let layout = Self { path, files };
        match layout.read("index.json", MAX_DOCUMENT) {
            Ok(_) => Ok(layout),
            Err(LayoutError::Missing { .. }) => Err(LayoutError::NoLayout(layout.name())),
            Err(error) => Err(error),
        }
    }

    /// The manifest of the image with that tag, or of the only one; of an index the child for linux/amd64.
    ///
    /// # Errors
    ///
    /// If there is no such image, or it is incomplete.
    pub fn manifest(&self, tag: Option<&str>) -> Result<Resolved, LayoutError> {
        let index = self.read("index.json", MAX_DOCUMENT)?;
        let index: Index =
            serde_json::from_slice(&index).map_err(|error| self.bad(BadManifest::Unreadable(error.to_string())))?;
        let chosen = self.choose(&index, tag)?;
        let bytes = self.blob(chosen, MAX_DOCUMENT)?;
        match self.document(&bytes)? {
            Document::Manifest(manifest) => {
                Ok(Resolved { manifest, bytes, digest: chosen.digest.clone(), index: None })
            }
            Document::Index(index) => {
                let child = index.linux_amd64().map_err(|problem| self.bad(problem))?;
                let bytes = self.blob(child, MAX_DOCUMENT)?;
                match self.document(&bytes)? {
                    Document::Manifest(manifest) => Ok(Resolved {
                        manifest,
                        bytes,
                        digest: child.digest.clone(),
                        index: Some(chosen.digest.clone()),
                    }),
                    Document::Index(_) => Err(self.bad(BadManifest::Unreadable("an index in an index".to_owned()))),
                }
            }
        }
    }

    /// A blob of at most `limit` bytes, which are those of its digest.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged or too large.
    pub fn blob(&self, blob: &Descriptor, limit: u64) -> Result<Bytes, LayoutError> {
        let file = blob_file(&blob.digest);
        let bytes = self.read(&file, limit)?;
        if Digest::of(&bytes) == blob.digest && bytes.len() as u64 == blob.size {
            Ok(bytes)
        } else {
            Err(LayoutError::Damaged { path: self.name(), file })
        }
    }

    fn choose<'a>(&self, index: &'a Index, tag: Option<&str>) -> Result<&'a Descriptor, LayoutError> {
        let tag_of = |image: &Descriptor| image.annotations.get(REF_NAME).cloned();
        let found = match (tag, index.manifests.as_slice()) {
            (Some(tag), images) => images.iter().find(|image| tag_of(image).as_deref() == Some(tag)),
            (None, [only]) => Some(only),
            (None, images) if images.iter().any(|image| image.platform.is_some()) => {
                return index.linux_amd64().map_err(|problem| self.bad(problem));
            }
            (None, _) => None,
        };
        found.ok_or_else(|| {
            let tags: Vec<_> =
                index.manifests.iter().map(|image| tag_of(image).unwrap_or_else(|| image.digest.to_string())).collect();
            let found =
                if tags.is_empty() { "no image".to_owned() } else { format!("the images `{}`", tags.join("`, `")) };
            LayoutError::Which { path: self.name(), found }
        })
    }

    fn document(&self, bytes: &[u8]) -> Result<Document, LayoutError> {
        Document::parse(bytes).map_err(|problem| self.bad(problem))
    }

    fn read(&self, file: &str, limit: u64) -> Result<Bytes, LayoutError> {
        let missing = || LayoutError::Missing { path: self.name(), file: file.to_owned() };
        let failed = |error| if is_missing(&error) { missing() } else { self.io("read", error) };
        let bytes = match &self.files {
            Files::Folder => read(File::open(self.path.join(file)).map_err(failed)?, limit).map_err(failed)?,
            Files::Archive(files) => {
                let (place, size) = files.get(file).ok_or_else(missing)?;
                let mut archive = File::open(&self.path).map_err(failed)?;
                archive.seek(SeekFrom::Start(*place)).map_err(failed)?;
                read(archive.take(*size), limit).map_err(failed)?
            }
        };
        match bytes {
            Some(bytes) => Ok(bytes.into()),
            None => Err(LayoutError::TooLarge { path: self.name(), file: file.to_owned(), limit }),
        }
    }

    fn io(&self, act: &'static str, source: io::Error) -> LayoutError {
        LayoutError::Io { act, path: self.name(), source }
    }

    fn bad(&self, problem: BadManifest) -> LayoutError {
        LayoutError::Manifest { path: self.name(), problem }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Writes a layout into a folder, which is made; an image of the same tag there is replaced, others stay.
///
/// # Errors
///
/// If something cannot be written.
pub fn write_folder(folder: &Path, image: &Image, tag: &str) -> Result<(), LayoutError> {
    let failed = |source| LayoutError::Io { act: "write", path: folder.display().to_string(), source };
    let mut index = match fs::read(folder.join("index.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?,
        Err(error) if is_missing(&error) => empty_index(),
        Err(error) => return Err(failed(error)),
    };
    index.manifests.retain(|known| known.annotations.get(REF_NAME).map(String::as_str) != Some(tag));
    index.manifests.push(entry(image, tag));
    fs::create_dir_all(folder.join("blobs/sha256")).map_err(failed)?;
    for (file, bytes) in files(image, &index).map_err(|error| failed(error.into()))? {
        // By way of another name, so that a reader never sees half a file.
        let path = folder.join(&file);
        let aside = path.with_extension("partial");
        fs::write(&aside, &bytes).and_then(|()| fs::rename(&aside, &path)).map_err(failed)?;
    }
    Ok(())
}

/// Writes a layout as a tar archive, the same bytes for the same image.
///
/// # Errors
///
/// If the archive cannot be written.
pub fn write_archive(out: impl Write, image: &Image, tag: &str) -> io::Result<()> {
    let mut index = empty_index();
    index.manifests.push(entry(image, tag));
    let mut builder = tar::Builder::new(out);
    for (file, bytes) in files(image, &index)? {
        super::build::append(&mut builder, &file, &bytes)?;
    }
    builder.into_inner()?.flush()
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn entry(image: &Image, tag: &str) -> Descriptor {
    let mut descriptor = Descriptor::of(&image.media_type, &image.manifest);
    descriptor.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    descriptor
}

/// Blobs first, the index last.
fn files(image: &Image, index: &Index) -> Result<Vec<(String, Bytes)>, serde_json::Error> {
    let mut files = vec![("oci-layout".to_owned(), Bytes::from(json!({ "imageLayoutVersion": "1.0.0" }).to_string()))];
    files.extend(image.blobs.iter().map(|(blob, bytes)| (blob_file(&blob.digest), bytes.clone())));
    files.push((blob_file(&image.digest()), image.manifest.clone()));
    files.push(("index.json".to_owned(), serde_json::to_vec(index)?.into()));
    Ok(files)
}

fn blob_file(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Where the files of a tar archive are.
fn contents(path: &Path) -> Result<BTreeMap<String, (u64, u64)>, LayoutError> {
    let failed = |source| LayoutError::Io { act: "read", path: path.display().to_string(), source };
    let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
    let mut found = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(failed)?.take(MAX_FILES) {
        let entry = entry.map_err(failed)?;
        if entry.header().entry_type().is_file() {
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            found.insert(name, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(found)
}

/// Nothing if there is more than `limit`.
fn read(file: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
