//! Makes a module smaller without changing what it does: what nobody reaches goes, what is there twice stays once, and
//! numbers take the bytes that they need.
//!
//! The linker leaves five bytes for every index, keeps a copy of a function for each type that it was made for even where
//! the copies are equal, and cannot know which exports no proxy will call.

use std::collections::HashMap;

use wasm_encoder::reencode::{Error, Reencode};
use wasm_encoder::{CodeSection, Encode, ExportSection, FunctionSection, ImportSection};
use wasmparser_for_encoder as wasmparser;
use wasmparser_for_encoder::{
    CodeSectionReader, ElementItems, ExportSectionReader, ExternalKind, FunctionBody, FunctionSectionReader,
    ImportSectionReader, Operator, Parser, Payload, TypeRef, Validator,
};

/// The module without these exports, and without what only they reach.
///
/// With `keep_names` a module that names its functions or carries debug information is left as it is, since both speak of
/// functions by their old numbers; otherwise they go.
pub(super) fn shrink(module: &[u8], unused_exports: &[&str], keep_names: bool) -> Result<Vec<u8>, Error> {
    let facts = Facts::of(module, unused_exports)?;
    if keep_names && facts.for_debuggers {
        return Ok(module.to_vec());
    }
    let stand_ins = facts.stand_ins()?;
    let numbers = facts.numbers(&stand_ins)?;
    let mut shrinking = Shrinking { imported: facts.imported(), unused_exports, numbers };
    let mut smaller = wasm_encoder::Module::new();
    shrinking.parse_core_module(&mut smaller, Parser::new(0), module)?;
    let smaller = smaller.finish();
    // Better no module than a broken one.
    Validator::new().validate_all(&smaller)?;
    Ok(smaller)
}

/// What a module's functions are, and where it begins.
struct Facts<'a> {
    /// The type of every function, the imported ones first.
    types: Vec<u32>,
    bodies: Vec<FunctionBody<'a>>,
    /// Functions that are reached from outside of functions.
    roots: Vec<u32>,
    for_debuggers: bool,
}

impl<'a> Facts<'a> {
    fn of(module: &'a [u8], unused_exports: &[&str]) -> Result<Self, Error> {
        let mut facts = Self { types: Vec::new(), bodies: Vec::new(), roots: Vec::new(), for_debuggers: false };
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        if let TypeRef::Func(ty) = import?.ty {
                            facts.types.push(ty);
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        facts.types.push(ty?);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if export.kind == ExternalKind::Func && !unused_exports.contains(&export.name) {
                            facts.roots.push(export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => facts.roots.push(func),
                Payload::GlobalSection(section) => {
                    for global in section {
                        facts.expression(global?.init_expr.get_operators_reader())?;
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        match element?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    facts.roots.push(function?);
                                }
                            }
                            ElementItems::Expressions(_, expressions) => {
                                for expression in expressions {
                                    facts.expression(expression?.get_operators_reader())?;
                                }
                            }
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => facts.bodies.push(body),
                Payload::CustomSection(section) => {
                    facts.for_debuggers |= is_for_debuggers(section.name());
                }
                _ => {}
            }
        }
        Ok(facts)
    }

    /// Notes the functions that a constant expression names.
    fn expression(&mut self, operators: wasmparser::OperatorsReader<'a>) -> Result<(), Error> {
        for operator in operators {
            self.roots.extend(named(&operator?));
        }
        Ok(())
    }

    /// How many functions are imported.
    fn imported(&self) -> usize {
        self.types.len().saturating_sub(self.bodies.len())
    }

    /// For every function the first one that is equal to it: by type, and by code once calls to equal functions count as
    /// equal.
    fn stand_ins(&self) -> Result<Vec<u32>, Error> {
        let mut stand_ins = identity(self.types.len());
        loop {
            let mut first = HashMap::new();
            let mut next = stand_ins.clone();
            for ((place, ty), body) in self.types.iter().enumerate().skip(self.imported()).zip(&self.bodies) {
                let mut code = CodeSection::new();
                Renumbering(&stand_ins).parse_function_body(&mut code, body.clone())?;
                let mut bytes = Vec::new();
                code.encode(&mut bytes);
                let stand_in = *first.entry((*ty, bytes)).or_insert(place as u32);
                if let Some(slot) = next.get_mut(place) {
                    *slot = stand_in;
                }
            }
            if next == stand_ins {
                return Ok(stand_ins);
            }
            stand_ins = next;
        }
    }

    /// The new number of every function, or of the one that stands for it; nothing for what is not reached.
    fn numbers(&self, stand_ins: &[u32]) -> Result<Vec<Option<u32>>, Error> {
        let stand_in = |function: u32| stand_ins.get(function as usize).copied().unwrap_or(function);
        let mut reached = vec![false; self.types.len()];
        let mut pending: Vec<u32> = self.roots.iter().map(|root| stand_in(*root)).collect();
        while let Some(function) = pending.pop() {
            let Some(seen) = reached.get_mut(function as usize) else { continue };
            if std::mem::replace(seen, true) {
                continue;
            }
            let body = (function as usize).checked_sub(self.imported()).and_then(|place| self.bodies.get(place));
            for operator in body.map(FunctionBody::get_operators_reader).transpose()?.into_iter().flatten() {
                pending.extend(named(&operator?).map(stand_in));
            }
        }
        let mut next = 0..;
        let own: Vec<_> = reached.iter().map(|reached| reached.then(|| next.next()).flatten()).collect();
        Ok(stand_ins.iter().map(|function| own.get(*function as usize).copied().flatten()).collect())
    }
}

/// Whether a custom section tells about functions.
fn is_for_debuggers(section: &str) -> bool {
    section == "name" || section.starts_with(".debug")
}

fn identity(length: usize) -> Vec<u32> {
    (0..).take(length).collect()
}

/// The function that an instruction names.
fn named(operator: &Operator<'_>) -> Option<u32> {
    match operator {
        Operator::Call { function_index }
        | Operator::ReturnCall { function_index }
        | Operator::RefFunc { function_index } => Some(*function_index),
        _ => None,
    }
}

/// Code with other numbers for functions.
struct Renumbering<'a>(&'a [u32]);

impl Reencode for Renumbering<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        Ok(self.0.get(function as usize).copied().unwrap_or(function))
    }
}

/// The whole module, written anew.
struct Shrinking<'a> {
    imported: usize,
    unused_exports: &'a [&'a str],
    numbers: Vec<Option<u32>>,
}

impl Shrinking<'_> {
    /// Whether the function at a place among all is written: those that are reached and that nobody stands for.
    fn kept(&self, place: usize) -> bool {
        let earlier = self.numbers.get(..place).unwrap_or_default();
        let number = self.numbers.get(place).copied().flatten();
        number.is_some() && !earlier.contains(&number)
    }
}

impl Reencode for Shrinking<'_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32, Error> {
        // Nothing that is written names what is not reached.
        Ok(self.numbers.get(function as usize).copied().flatten().unwrap_or(function))
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: ImportSectionReader<'_>,
    ) -> Result<(), Error> {
        let mut place = 0;
        for import in section.into_imports() {
            let import = import?;
            let function = matches!(import.ty, TypeRef::Func(_));
            if !function || self.kept(place) {
                self.parse_import(imports, import)?;
            }
            place += usize::from(function);
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Result<(), Error> {
        for (place, ty) in (self.imported..).zip(section) {
            let ty = ty?;
            if self.kept(place) {
                functions.function(ty);
            }
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Result<(), Error> {
        for export in section {
            let export = export?;
            if !self.unused_exports.contains(&export.name) {
                self.parse_export(exports, export)?;
            }
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Result<(), Error> {
        for (place, body) in (self.imported..).zip(section) {
            let body = body?;
            if self.kept(place) {
                self.parse_function_body(code, body)?;
            }
        }
        Ok(())
    }

    /// What is there for debuggers, and what compilers note about themselves, is of no use to a proxy.
    fn parse_custom_section(
        &mut self,
        module: &mut wasm_encoder::Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<(), Error> {
        if !is_for_debuggers(section.name()) && !["producers", "target_features"].contains(&section.name()) {
            module.section(&self.custom_section(section)?);
        }
        Ok(())
    }
}
