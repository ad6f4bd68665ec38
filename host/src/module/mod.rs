//! A Proxy-Wasm module as a file: read, named, and checked before anything of it runs.
//!
//! The checks are those of Envoy 1.40, in the words of the person who has to fix the file. What passes here
//! links and instantiates; what it does then is its own affair.

use std::path::Path;

use bytes::Bytes;

use crate::abi::AbiVersion;

pub mod build;
mod error;
mod info;
mod looks;
mod panics;
mod rules;
mod sections;
mod signatures;
#[cfg(test)]
mod tests;

pub use error::{LoadError, Problem};
pub use info::{Allocator, Entry, Export, Import, ItemType, MemoryFacts, ModuleInfo};
pub use panics::PanicSite;
pub use rules::MAX_MEMORY;
pub use sections::{METADATA, SBOM, SCHEMA, with_section};
pub(crate) use signatures::{Signature, WASI_MODULES, WASI_SIGNATURES};

/// The bytes of a core Wasm module that a Proxy-Wasm host can run, and what is known about them.
#[derive(Debug, Clone)]
pub struct Module {
    name: String,
    bytes: Bytes,
    info: ModuleInfo,
}

impl Module {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// A [`LoadError`] names the file, the reason, and what to do about it.
    pub fn read(path: impl AsRef<Path>) -> Result<Module, LoadError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(LoadError::unreadable(name, path, error)),
        };
        Module::from_bytes(name, bytes)
    }

    /// Checks bytes that came from elsewhere; `name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// As for [`Module::read`].
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Result<Module, LoadError> {
        let (name, bytes) = (name.into(), bytes.into());
        match check(&bytes) {
            Ok(info) => Ok(Module { name, bytes, info }),
            Err(problem) => Err(LoadError::new(name, problem)),
        }
    }

    /// The file that the module was read from, or the name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The module itself.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What the module contains.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.info
    }

    /// The version of the ABI that the module speaks.
    #[must_use]
    pub fn abi(&self) -> AbiVersion {
        self.info.abi
    }
}

fn check(bytes: &[u8]) -> Result<ModuleInfo, Problem> {
    looks::like_a_module(bytes)?;
    let (mut info, types) = info::parse(bytes)?;
    rules::check(&mut info, &types)?;
    Ok(info)
}
