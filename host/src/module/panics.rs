//! Where a module made by Rust can still panic: the places in source that its panics would name.

use wasmparser::{DataKind, Operator, Parser, Payload};

use super::Module;

/// A place in source from which a panic can come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PanicSite {
    /// The file, as the compiler was given it.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The column in it, from 1.
    pub column: u32,
}

/// No source file has as many lines, or columns.
const MOST: u32 = 1_000_000;

impl Module {
    /// The places in source that the module's panics would name, in order; each once.
    ///
    /// What the compiler has proved unreachable is not among them. They are found by their form in the module's data, where each
    /// is a pointer, a length and two numbers; so a module of another language has none.
    #[must_use]
    pub fn panic_sites(&self) -> Vec<PanicSite> {
        let segments = segments(self.bytes());
        let mut sites: Vec<PanicSite> = segments
            .iter()
            .flat_map(|segment| (0..segment.bytes.len()).step_by(4).map(move |place| (segment, place)))
            .filter_map(|(segment, place)| site(&segments, segment.bytes.get(place..)?))
            .collect();
        sites.sort();
        sites.dedup();
        sites
    }
}

/// Bytes that lie at an address when the module starts.
struct Segment<'a> {
    begin: u32,
    bytes: &'a [u8],
}

fn segments(module: &[u8]) -> Vec<Segment<'_>> {
    let mut segments = Vec::new();
    // The module was validated when it was read.
    for payload in Parser::new(0).parse_all(module).flatten() {
        let Payload::DataSection(section) = payload else { continue };
        for data in section.into_iter().flatten() {
            let DataKind::Active { offset_expr, .. } = data.kind else { continue };
            let Ok(Operator::I32Const { value }) = offset_expr.get_operators_reader().read() else { continue };
            segments.push(Segment { begin: value.cast_unsigned(), bytes: data.data });
        }
    }
    segments
}

/// The place whose form these bytes have.
fn site(segments: &[Segment<'_>], bytes: &[u8]) -> Option<PanicSite> {
    let word = |place: usize| Some(u32::from_le_bytes(bytes.get(place..place + 4)?.try_into().ok()?));
    let (address, length, line, column) = (word(0)?, word(4)?, word(8)?, word(12)?);
    if !(4..4096).contains(&length) || !(1..MOST).contains(&line) || !(1..MOST).contains(&column) {
        return None;
    }
    let segment = segments.iter().find(|segment| {
        address.checked_sub(segment.begin).is_some_and(|place| (place as usize) < segment.bytes.len())
    })?;
    let begin = (address - segment.begin) as usize;
    let file = std::str::from_utf8(segment.bytes.get(begin..begin + length as usize)?).ok()?;
    // Some compilers count the NUL behind the text.
    let file = file.trim_end_matches('\0');
    let is_file = file.ends_with(".rs") && !file.contains(|c: char| c.is_control());
    is_file.then(|| PanicSite { file: file.to_owned(), line, column })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_their_form() {
        let word = |value: u32| value.to_le_bytes().map(|byte| format!("\\{byte:02x}")).concat();
        let location = |address, length, line, column| [address, length, line, column].map(word).concat();
        let text = format!(
            r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
                (func (export "malloc") (param i32) (result i32) i32.const 0)
                (data (i32.const 1024) "src/lib.rs\00\00")
                (data (i32.const 2048) "{}{}{}{}"))"#,
            location(1024, 10, 7, 13),
            location(1024, 11, 3, 1),
            location(1025, 3, 3, 1),
            location(9999, 10, 3, 1),
        );
        let module = Module::from_bytes("test", wat::parse_str(text).unwrap()).unwrap();
        let found = module.panic_sites().into_iter().map(|site| (site.file, site.line, site.column));
        let expected = [("src/lib.rs".to_owned(), 3, 1), ("src/lib.rs".to_owned(), 7, 13)];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
