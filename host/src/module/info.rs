//! Facts about a module, read from its sections without running it.

use std::fmt;

use serde_json::Value;
use wasmparser::types::{EntityType, Types, TypesRef};
use wasmparser::{FuncType, KnownCustom, Name, Parser, Payload, ValType, Validator, WasmFeatures};

use super::error::Problem;
use super::sections::{METADATA, SCHEMA};
use crate::abi::AbiVersion;

/// What a module contains.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleInfo {
    /// The version of the ABI that it speaks.
    pub abi: AbiVersion,
    /// How it is started.
    pub entry: Entry,
    /// The export that hands out memory to the host.
    pub allocator: Allocator,
    /// Everything it imports, in its own order.
    pub imports: Vec<Import>,
    /// Everything it exports, in its own order.
    pub exports: Vec<Export>,
    /// The callbacks of the ABI among the exports (`proxy_on_request_headers`, ...), in its own order.
    pub callbacks: Vec<String>,
    /// Its linear memory.
    pub memory: MemoryFacts,
    /// The length of the whole file in bytes.
    pub size: usize,
    /// The bytes of its code section.
    pub code_size: usize,
    /// The bytes of its data section.
    pub data_size: usize,
    /// How many functions it defines itself.
    pub functions: u32,
    /// Its custom sections with their lengths, in its own order.
    pub custom_sections: Vec<(String, usize)>,
    /// What the plugin says about itself: `name`, `version`, `license`, `sdk`, and the `stats_tags` that its metrics need;
    /// as it stands in the section [`METADATA`](super::METADATA), from whoever built the module.
    pub metadata: Option<Value>,
    /// The JSON Schema of its configuration, from the section [`SCHEMA`](super::SCHEMA); [`schema_of`](Self::schema_of) knows which
    /// one counts where the module has several plugins.
    pub schema: Option<Value>,
    /// Whether it names its functions, so that a trap can say where it happened.
    pub has_names: bool,
}

impl ModuleInfo {
    /// The JSON Schema of the configuration of the plugin with this root id.
    #[must_use]
    pub fn schema_of(&self, root_id: &str) -> Option<&Value> {
        let schema = self.schema.as_ref()?;
        match schema.get("x-root-ids") {
            Some(by_root_id) => by_root_id.get(root_id),
            None => Some(schema),
        }
    }

    /// The `stats_tags` that the plugin's metrics need in the proxy, each the name of a label and its regex; nothing if
    /// the module does not say.
    #[must_use]
    pub fn stats_tags(&self) -> Option<Vec<(String, String)>> {
        let tags = self.metadata.as_ref()?.get("stats_tags")?.as_array()?;
        let text = |tag: &Value, name: &str| tag.get(name).and_then(Value::as_str).map(str::to_owned);
        tags.iter().map(|tag| Some((text(tag, "tag_name")?, text(tag, "regex")?))).collect()
    }
}

/// How a module is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// `_initialize`, then `main` or `__main_void` where they exist: a reactor, as Rust SDKs make it.
    Initialize,
    /// `_start`: a command, as TinyGo and AssemblyScript make it.
    Start,
    /// Nothing to call.
    None,
}

/// The export that hands out memory to the host. The first is preferred where both exist, as in Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// `malloc`.
    Malloc,
    /// `proxy_on_memory_allocate`.
    ProxyOnMemoryAllocate,
}

impl Allocator {
    /// The export's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Allocator::Malloc => "malloc",
            Allocator::ProxyOnMemoryAllocate => "proxy_on_memory_allocate",
        }
    }
}

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Where it is imported from, such as `env`.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// What it is.
    pub ty: ItemType,
}

/// One export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// What it is.
    pub ty: ItemType,
}

/// What an import or an export is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemType {
    /// A function with its parameters and results, such as `["i32", "i64"]`.
    Function {
        /// Types of the parameters.
        params: Vec<String>,
        /// Types of the results.
        results: Vec<String>,
    },
    /// A table of references.
    Table,
    /// A linear memory.
    Memory,
    /// A global variable.
    Global,
    /// An exception tag.
    Tag,
}

impl ItemType {
    /// A function whose parameters and results are named as in Wasm text.
    pub(super) fn function(params: &[&str], results: &[&str]) -> ItemType {
        let own = |types: &[&str]| types.iter().map(ToString::to_string).collect();
        ItemType::Function { params: own(params), results: own(results) }
    }
}

impl fmt::Display for ItemType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ItemType::Function { params, results } if results.is_empty() => write!(f, "({})", params.join(", ")),
            ItemType::Function { params, results } => write!(f, "({}) -> {}", params.join(", "), results.join(", ")),
            ItemType::Table => f.write_str("table"),
            ItemType::Memory => f.write_str("memory"),
            ItemType::Global => f.write_str("global"),
            ItemType::Tag => f.write_str("tag"),
        }
    }
}

/// A module's linear memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryFacts {
    /// Bytes at the start.
    pub initial: u64,
    /// Bytes that it may grow to, where the module says so itself.
    pub maximum: Option<u64>,
    /// Whether the host creates it.
    pub imported: bool,
}

/// Validates the whole module and gathers its facts.
pub(super) fn parse(bytes: &[u8]) -> Result<(ModuleInfo, Types), Problem> {
    // The proposals that the engine compiles; an unknown one is refused here, with its name and its offset.
    let features = WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::MEMORY64
        | WasmFeatures::THREADS;
    let types = Validator::new_with_features(features).validate_all(bytes)?;
    let mut info = ModuleInfo {
        abi: AbiVersion::V0_2_1,
        entry: Entry::None,
        allocator: Allocator::Malloc,
        imports: imports(types.as_ref()),
        exports: exports(types.as_ref()),
        callbacks: Vec::new(),
        memory: MemoryFacts::default(),
        size: bytes.len(),
        code_size: 0,
        data_size: 0,
        functions: 0,
        custom_sections: Vec::new(),
        metadata: None,
        schema: None,
        has_names: false,
    };
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::CodeSectionStart { count, range, .. } => {
                info.functions = count;
                info.code_size = range.len();
            }
            Payload::DataSection(section) => info.data_size = section.range().len(),
            Payload::CustomSection(section) => {
                info.custom_sections.push((section.name().to_owned(), section.data().len()));
                // What is no JSON says nothing.
                match section.name() {
                    METADATA => info.metadata = serde_json::from_slice(section.data()).ok(),
                    SCHEMA => info.schema = serde_json::from_slice(section.data()).ok(),
                    _ => {}
                }
                if let KnownCustom::Name(mut names) = section.as_known() {
                    info.has_names |= names.any(|name| matches!(name, Ok(Name::Function(_))));
                }
            }
            _ => {}
        }
    }
    Ok((info, types))
}

fn imports(types: TypesRef<'_>) -> Vec<Import> {
    let found = types.core_imports().into_iter().flatten();
    found.map(|(module, name, ty)| Import { module: module.into(), name: name.into(), ty: item(types, ty) }).collect()
}

fn exports(types: TypesRef<'_>) -> Vec<Export> {
    let found = types.core_exports().into_iter().flatten();
    found.map(|(name, ty)| Export { name: name.into(), ty: item(types, ty) }).collect()
}

fn item(types: TypesRef<'_>, ty: EntityType) -> ItemType {
    match ty {
        EntityType::Func(id) | EntityType::FuncExact(id) => match types.get(id).map(|sub| &sub.composite_type.inner) {
            Some(wasmparser::CompositeInnerType::Func(function)) => function_type(function),
            _ => ItemType::function(&["?"], &[]),
        },
        EntityType::Table(_) => ItemType::Table,
        EntityType::Memory(_) => ItemType::Memory,
        EntityType::Global(_) => ItemType::Global,
        EntityType::Tag(_) => ItemType::Tag,
    }
}

fn function_type(function: &FuncType) -> ItemType {
    let names = |types: &[ValType]| types.iter().map(ToString::to_string).collect();
    ItemType::Function { params: names(function.params()), results: names(function.results()) }
}

impl From<wasmparser::BinaryReaderError> for Problem {
    fn from(error: wasmparser::BinaryReaderError) -> Problem {
        Problem::Invalid { message: error.message().to_owned(), offset: error.offset() }
    }
}
