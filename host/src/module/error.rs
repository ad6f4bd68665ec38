//! Why a file cannot be loaded as a Proxy-Wasm module, and what to do about it.

use std::io;
use std::path::Path;

use crate::abi::AbiVersion;

/// A file that is not a module which Envoy, or this host, would run.
#[derive(Debug, thiserror::Error)]
#[error("cannot load `{file}`: {problem}")]
pub struct LoadError {
    file: String,
    problem: Problem,
}

impl LoadError {
    pub(crate) fn new(file: String, problem: Problem) -> LoadError {
        LoadError { file, problem }
    }

    pub(super) fn unreadable(file: String, path: &Path, error: io::Error) -> LoadError {
        let problem = if path.is_dir() {
            Problem::Directory
        } else if error.kind() == io::ErrorKind::NotFound {
            Problem::NoSuchFile
        } else {
            Problem::Unreadable(error)
        };
        LoadError::new(file, problem)
    }

    /// The file, or the name that the bytes were given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

const BUILD: &str = "build it with `cargo build --release --target wasm32-wasip1`";

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Nothing is there.
    #[error("there is no such file; {BUILD}, or correct the path")]
    NoSuchFile,
    /// A folder is there.
    #[error("it is a directory; name the `.wasm` file inside it")]
    Directory,
    /// The operating system refuses.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// No bytes.
    #[error("the file is empty; {BUILD}")]
    Empty,
    /// Something else than Wasm.
    #[error("it is not a Wasm module: it {looks}, where a module begins with `00 61 73 6d`; {hint}")]
    NotWasm {
        /// What it looks like, and its first bytes.
        looks: String,
        /// What to do.
        hint: &'static str,
    },
    /// A component of the component model.
    #[error(
        "it is a Wasm component, and Proxy-Wasm hosts run core modules; build it for `wasm32-wasip1` \
         (not `wasm32-wasip2`), and do not pass it through `wasm-tools component new` or `cargo component`"
    )]
    Component,
    /// A Wasm version from the future.
    #[error("it says that it is Wasm of version {0}, and only version 1 is known")]
    Version(u32),
    /// The file ends too early.
    #[error(
        "the file is cut short: it has {size} bytes, and its {part} needs {missing} more; \
         download or build it again"
    )]
    Truncated {
        /// The length of the file.
        size: usize,
        /// The part that is incomplete.
        part: String,
        /// How many bytes are missing, at least.
        missing: u64,
    },
    /// Not valid according to the Wasm specification, or a proposal that is not supported.
    #[error(
        "it is not valid Wasm: {message} (at offset 0x{offset:x}); build it again, or report it to the tool that made it"
    )]
    Invalid {
        /// What the validator says.
        message: String,
        /// Where it says so.
        offset: usize,
    },
    /// No `proxy_abi_version_*` export.
    #[error(
        "it exports no `proxy_abi_version_0_1_0`, `proxy_abi_version_0_2_0` or `proxy_abi_version_0_2_1`{found}, so it is not a \
         Proxy-Wasm plugin; in Rust, the crate needs `crate-type = [\"cdylib\"]` and an entry such as `wasmplugin::plugin!(..)`"
    )]
    NoAbi {
        /// Another marker that was found, with its introduction.
        found: String,
    },
    /// Several `proxy_abi_version_*` exports.
    #[error("it exports several ABI versions ({0}); it must speak exactly one")]
    SeveralAbis(String),
    /// No allocator.
    #[error(
        "it exports neither `malloc` nor `proxy_on_memory_allocate`, so the host has no way to hand over bytes; \
         a Proxy-Wasm SDK exports one, unless a tool such as `wasm-opt` or `wasm-strip` removed it"
    )]
    NoAllocator,
    /// No memory.
    #[error("it has no memory named `memory` among its exports, so the host has no way to hand over bytes")]
    NoMemory,
    /// Imports that no Proxy-Wasm host offers.
    #[error("it imports what no Proxy-Wasm host of ABI {abi} offers: {imports}; {hint}")]
    MissingImports {
        /// The ABI that the module speaks.
        abi: AbiVersion,
        /// The imports, in backticks.
        imports: String,
        /// Where they usually come from, and what to do.
        hint: &'static str,
    },
    /// An import with a type of its own.
    #[error(
        "it imports `{import}` as `{found}`, and the host offers `{expected}`; the module was made against another version of the ABI"
    )]
    ImportType {
        /// `module.name`.
        import: String,
        /// As imported.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// An imported global, tag, or a second memory.
    #[error(
        "it imports the {kind} `{import}`, which no Proxy-Wasm host offers; link it statically (no `-shared`, no dynamic linking)"
    )]
    ImportKind {
        /// `global`, `tag`, ...
        kind: &'static str,
        /// `module.name`.
        import: String,
    },
    /// A callback with a type of its own.
    #[error("its export `{export}` is `{found}`, and the host would call it as `{expected}`")]
    ExportType {
        /// The export.
        export: String,
        /// As exported.
        found: String,
        /// As it should be.
        expected: String,
    },
    /// More memory than allowed, from the start.
    #[error(
        "it asks for {asked} MiB of memory at the start, and the limit is {limit} MiB; give the linker a smaller initial memory or stack"
    )]
    Memory {
        /// What it asks for.
        asked: u64,
        /// What it may have.
        limit: u64,
    },
    /// 64-bit or shared memory.
    #[error(
        "its memory is {0}, and Proxy-Wasm needs one plain 32-bit memory; build it for `wasm32-wasip1`, without threads"
    )]
    MemoryKind(&'static str),
    /// Valid Wasm that the engine does not compile.
    #[error("it cannot be compiled: {0}")]
    Compile(String),
}
