//! A module, ready to be instantiated.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, ExternType, Instance, InstancePre, Linker, Memory, Store, Table};

use super::code_cache::CodeCache;
use super::data::Data;
use super::fuel::FuelMeter;
use super::{engine, link};
use crate::module::{self, LoadError, ModuleInfo, Problem};

/// A module, checked and compiled; cheap to clone, and shared by all workers.
#[derive(Clone)]
pub struct Module(Arc<Compiled>);

struct Compiled {
    source: module::Module,
    engine: &'static Engine,
    plan: Plan,
    meter: Option<Arc<FuelMeter>>,
    digest: OnceLock<String>,
}

/// How an instance comes about.
enum Plan {
    /// All imports are functions, bound once for all instances.
    Ready(InstancePre<Data>),
    /// A memory or a table is imported, and each instance gets its own.
    Each(Box<Linker<Data>>, wasmtime::Module),
}

/// How to compile a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Measures fuel, for benchmarks and for limits on fuel; it costs a little speed.
    pub fuel: bool,
}

impl Module {
    /// Reads, checks and compiles a file.
    ///
    /// # Errors
    ///
    /// A [`LoadError`] names the file, the reason, and what to do about it.
    pub fn read(path: impl AsRef<Path>) -> Result<Module, LoadError> {
        Module::compile(module::Module::read(path)?, Settings::default())
    }

    /// Checks and compiles bytes that came from elsewhere; `name` stands for the file in messages.
    ///
    /// # Errors
    ///
    /// As for [`Module::read`].
    pub fn from_bytes(name: impl Into<String>, bytes: impl Into<bytes::Bytes>) -> Result<Module, LoadError> {
        Module::compile(module::Module::from_bytes(name, bytes)?, Settings::default())
    }

    /// Compiles a module that is checked already.
    ///
    /// # Errors
    ///
    /// Only if the module uses what the engine does not know.
    pub fn compile(source: module::Module, settings: Settings) -> Result<Module, LoadError> {
        Module::with(source, settings, |engine, bytes| wasmtime::Module::new(engine, bytes))
    }

    /// As [`compile`](Module::compile), but takes the code from the cache if it is there.
    ///
    /// # Errors
    ///
    /// As for [`compile`](Module::compile).
    pub fn cached(source: module::Module, cache: &CodeCache) -> Result<Module, LoadError> {
        Module::with(source, Settings::default(), |engine, bytes| cache.compile(engine, bytes))
    }

    fn with(
        source: module::Module,
        settings: Settings,
        compile: impl FnOnce(&Engine, &[u8]) -> wasmtime::Result<wasmtime::Module>,
    ) -> Result<Module, LoadError> {
        let fail = |reason: String| LoadError::new(source.name().to_owned(), Problem::Compile(reason));
        let engine = engine::engine(settings.fuel).map_err(fail)?;
        let compiled = compile(engine, source.bytes()).map_err(|error| fail(format!("{error:#}")))?;
        let linker = link::linker(engine, source.abi()).map_err(|error| fail(format!("{error:#}")))?;
        let functions_only = compiled.imports().all(|import| matches!(import.ty(), ExternType::Func(_)));
        let plan = if functions_only {
            Plan::Ready(linker.instantiate_pre(&compiled).map_err(|error| fail(format!("{error:#}")))?)
        } else {
            Plan::Each(Box::new(linker), compiled)
        };
        let meter = settings.fuel.then(Arc::default);
        Ok(Module(Arc::new(Compiled { source, engine, plan, meter, digest: OnceLock::new() })))
    }

    /// The file that the module was read from, or the name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.source.name()
    }

    /// What the module contains.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        self.0.source.info()
    }

    /// The module as it was read.
    #[must_use]
    pub fn source(&self) -> &module::Module {
        &self.0.source
    }

    /// The SHA-256 of the module as it was read, such as `sha256:2c26…`.
    #[must_use]
    pub fn digest(&self) -> &str {
        self.0.digest.get_or_init(|| {
            let bytes = Sha256::digest(self.0.source.bytes());
            bytes.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
        })
    }

    /// The fuel used so far by all instances, if [`Settings::fuel`] was set.
    #[must_use]
    pub fn meter(&self) -> Option<&Arc<FuelMeter>> {
        self.0.meter.as_ref()
    }

    pub(super) fn engine(&self) -> &'static Engine {
        self.0.engine
    }

    pub(super) fn instantiate(&self, store: &mut Store<Data>) -> wasmtime::Result<Instance> {
        match &self.0.plan {
            Plan::Ready(ready) => ready.instantiate(store),
            Plan::Each(linker, module) => {
                let mut linker = Linker::clone(linker);
                for import in module.imports() {
                    match import.ty() {
                        ExternType::Memory(ty) => {
                            let memory = Memory::new(&mut *store, ty)?;
                            store.data_mut().memory = Some(memory);
                            linker.define(&mut *store, import.module(), import.name(), memory)?;
                        }
                        ExternType::Table(ty) => {
                            let null = wasmtime::Ref::null(ty.element().heap_type());
                            let table = Table::new(&mut *store, ty, null)?;
                            linker.define(&mut *store, import.module(), import.name(), table)?;
                        }
                        _ => {}
                    }
                }
                linker.instantiate(store, module)
            }
        }
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("name", &self.name()).field("abi", &self.info().abi).finish_non_exhaustive()
    }
}
