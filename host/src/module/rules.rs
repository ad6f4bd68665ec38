//! What Envoy demands of a module before it runs it.

use wasmparser::types::Types;

use super::error::Problem;
use super::info::{Allocator, Entry, ItemType, MemoryFacts, ModuleInfo};
use super::signatures::{self, Signature, WASI_MODULES};
use crate::abi::AbiVersion;
use crate::imports::{Import, Val};

/// The most memory that a module may ask for: 16384 pages of 64 KiB, Envoy's own limit.
pub const MAX_MEMORY: u64 = 1 << 30;

const MARKER: &str = "proxy_abi_version_";
const PAGE: u64 = 65536;
const MIB: u64 = 1 << 20;

/// Applies every rule, in Envoy's order, and completes the facts that follow from them.
pub(super) fn check(info: &mut ModuleInfo, types: &Types) -> Result<(), Problem> {
    info.abi = abi(info)?;
    imports_exist(info)?;
    exports_fit(info)?;
    info.allocator = allocator(info)?;
    info.entry = entry(info);
    info.callbacks = info
        .exports
        .iter()
        .map(|export| &export.name)
        .filter(|name| signatures::callback(info.abi, name).is_some())
        .cloned()
        .collect();
    info.memory = memory(info, types)?;
    Ok(())
}

fn abi(info: &ModuleInfo) -> Result<AbiVersion, Problem> {
    let markers: Vec<&str> =
        info.exports.iter().map(|export| export.name.as_str()).filter(|name| name.starts_with(MARKER)).collect();
    let known: Vec<AbiVersion> =
        AbiVersion::ALL.iter().copied().filter(|abi| markers.contains(&abi.marker())).collect();
    match known.as_slice() {
        [abi] => Ok(*abi),
        [] if markers.is_empty() => Err(Problem::NoAbi { found: String::new() }),
        [] => Err(Problem::NoAbi { found: format!(" (only `{}`, which is not known)", markers.join("`, `")) }),
        _ => Err(Problem::SeveralAbis(markers.join(", "))),
    }
}

fn imports_exist(info: &ModuleInfo) -> Result<(), Problem> {
    let mut missing = Vec::new();
    for import in &info.imports {
        let path = format!("{}.{}", import.module, import.name);
        match &import.ty {
            ItemType::Function { .. } => match offered(info.abi, &import.module, &import.name) {
                None => missing.push(path),
                Some(expected) if expected == import.ty => {}
                Some(expected) => {
                    return Err(Problem::ImportType {
                        import: path,
                        found: import.ty.to_string(),
                        expected: expected.to_string(),
                    });
                }
            },
            // The host creates these two.
            ItemType::Memory | ItemType::Table => {}
            ItemType::Global => return Err(Problem::ImportKind { kind: "global", import: path }),
            ItemType::Tag => return Err(Problem::ImportKind { kind: "exception tag", import: path }),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let hint = hint(&missing);
    let imports = missing.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(", ");
    Err(Problem::MissingImports { abi: info.abi, imports, hint })
}

/// The type under which the host offers an import, if it does.
fn offered(abi: AbiVersion, module: &str, name: &str) -> Option<ItemType> {
    if module == "env" {
        if let Some(import) = Import::find(name).filter(|import| import.abis.contains(&abi)) {
            return Some(item(import.params, true));
        }
        return signatures::runtime(name).map(of);
    }
    if WASI_MODULES.contains(&module) { signatures::wasi(name).map(of) } else { None }
}

fn of(signature: Signature) -> ItemType {
    item(signature.params, signature.result)
}

fn item(params: &[Val], result: bool) -> ItemType {
    let names: Vec<&str> = params.iter().map(|val| if *val == Val::I64 { "i64" } else { "i32" }).collect();
    ItemType::function(&names, if result { &["i32"] } else { &[] })
}

fn hint(missing: &[String]) -> &'static str {
    let any = |test: fn(&str) -> bool| missing.iter().any(|path| test(path));
    if any(|path| path.contains("wbindgen") || path.contains("wbg")) {
        "`wasm-bindgen` wants a JavaScript host: a dependency enables its `js` or `wasm-bindgen` feature (`getrandom`, `chrono`, `uuid`, `instant`), \
         or the module was built for `wasm32-unknown-unknown`; build for `wasm32-wasip1` and switch that feature off"
    } else if any(|path| path.starts_with("wasi:") || path.starts_with("cm32p2")) {
        "these belong to the component model; build for `wasm32-wasip1`, not `wasm32-wasip2`"
    } else if any(|path| WASI_MODULES.iter().any(|module| path.starts_with(module))) {
        "Envoy leaves these WASI functions out, so the code that calls them must go"
    } else if any(|path| path.contains("_ZN") || path.contains("env._R")) {
        "these are unresolved symbols of the program itself; the linker was told to allow undefined symbols"
    } else if any(|path| path.starts_with("env.proxy_") || path.starts_with("env.envoy_")) {
        "they belong to another version of the ABI or to another proxy; use the SDK version that fits"
    } else {
        "build for `wasm32-wasip1`, and see which dependency calls them"
    }
}

fn exports_fit(info: &ModuleInfo) -> Result<(), Problem> {
    for export in &info.exports {
        let Some(expected) = signatures::export(info.abi, &export.name).map(of) else { continue };
        if export.ty != expected {
            return Err(Problem::ExportType {
                export: export.name.clone(),
                found: export.ty.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    Ok(())
}

fn exports(info: &ModuleInfo, name: &str) -> bool {
    info.exports.iter().any(|export| export.name == name)
}

fn allocator(info: &ModuleInfo) -> Result<Allocator, Problem> {
    let order = [Allocator::Malloc, Allocator::ProxyOnMemoryAllocate];
    order.into_iter().find(|allocator| exports(info, allocator.name())).ok_or(Problem::NoAllocator)
}

fn entry(info: &ModuleInfo) -> Entry {
    if exports(info, "_initialize") {
        Entry::Initialize
    } else if exports(info, "_start") {
        Entry::Start
    } else {
        Entry::None
    }
}

fn memory(info: &ModuleInfo, types: &Types) -> Result<MemoryFacts, Problem> {
    let types = types.as_ref();
    let imported = info.imports.iter().any(|import| import.ty == ItemType::Memory);
    if types.memory_count() == 0 {
        return Err(Problem::NoMemory);
    }
    if types.memory_count() > 1 {
        return Err(Problem::MemoryKind("split into several"));
    }
    if !imported && !info.exports.iter().any(|export| export.ty == ItemType::Memory) {
        return Err(Problem::NoMemory);
    }
    let ty = types.memory_at(0);
    if ty.memory64 {
        return Err(Problem::MemoryKind("64-bit"));
    }
    if ty.shared {
        return Err(Problem::MemoryKind("shared between threads"));
    }
    let facts = MemoryFacts { initial: ty.initial * PAGE, maximum: ty.maximum.map(|pages| pages * PAGE), imported };
    if facts.initial > MAX_MEMORY {
        return Err(Problem::Memory { asked: facts.initial / MIB, limit: MAX_MEMORY / MIB });
    }
    Ok(facts)
}
