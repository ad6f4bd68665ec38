//! What a file that should be a module looks like: Wasm, or one of the usual mistakes.

use super::error::Problem;

const MAGIC: &[u8] = b"\0asm";
const HEADER: usize = 8;

/// The beginnings of files that people pass by mistake, what they are, and what to do.
const OTHERS: [(&[u8], &str, &str); 12] = [
    (b"\x1f\x8b", "is a gzip archive", "unpack it first (`tar -xzf` or `gunzip`); an OCI layer holds a `plugin.wasm`"),
    (b"PK\x03\x04", "is a zip archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd", "unpack it first (`zstd -d`)"),
    (b"\xfd7zXZ", "is compressed with xz", "unpack it first (`xz -d`)"),
    (b"(module", "is Wasm text", "translate it first (`wasm-tools parse` or `wat2wasm`)"),
    (b"(component", "is Wasm text of a component", "a core module for `wasm32-wasip1` is needed"),
    (b"<!", "is an HTML page", "the download gave an error page; open the address in a browser"),
    (b"<html", "is an HTML page", "the download gave an error page; open the address in a browser"),
    (b"version https://git-lfs", "is a Git LFS pointer", "fetch the real file with `git lfs pull`"),
    (b"{", "is JSON", "this is a manifest or a configuration, not the module"),
    (b"\x7fELF", "is a native program", "add `--target wasm32-wasip1` to the build"),
    (b"!<arch>", "is a static library", "set `crate-type = [\"cdylib\"]` and name the `.wasm` file"),
];

/// Accepts bytes that begin as a complete core module does.
pub(super) fn like_a_module(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Err(Problem::Empty);
    }
    if !bytes.starts_with(MAGIC) {
        if MAGIC.starts_with(bytes) {
            return Err(Problem::Truncated {
                size: bytes.len(),
                part: "header".into(),
                missing: missing(HEADER, bytes.len()),
            });
        }
        return Err(stranger(bytes));
    }
    let Some(&[a, b, c, d]) = bytes.get(4..HEADER) else {
        return Err(Problem::Truncated {
            size: bytes.len(),
            part: "header".into(),
            missing: missing(HEADER, bytes.len()),
        });
    };
    match u32::from_le_bytes([a, b, c, d]) {
        1 => complete(bytes),
        // The upper half is the layer: 1 is a component, whatever its draft version.
        version if version >> 16 == 1 => Err(Problem::Component),
        version => Err(Problem::Version(version)),
    }
}

fn stranger(bytes: &[u8]) -> Problem {
    let text = bytes.trim_ascii_start();
    for (start, what, hint) in OTHERS {
        if text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)) {
            return Problem::NotWasm { looks: format!("{what} (it begins with {})", first(bytes)), hint };
        }
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Problem::NotWasm {
            looks: "is a tar archive".into(),
            hint: "unpack it first (`tar -xf`); an OCI layer holds a `plugin.wasm`",
        };
    }
    Problem::NotWasm {
        looks: format!("begins with {}", first(bytes)),
        hint: "check that the path names the `.wasm` file",
    }
}

/// The first bytes as a reader recognises them: text where it is text, otherwise hexadecimal.
fn first(bytes: &[u8]) -> String {
    let head: Vec<u8> = bytes.iter().copied().take(12).collect();
    if head.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return format!("`{}`", String::from_utf8_lossy(&head));
    }
    let hex: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("`{}`", hex.join(" "))
}

/// Walks the section headers, so that a cut file is called cut rather than invalid.
fn complete(bytes: &[u8]) -> Result<(), Problem> {
    let mut at = HEADER;
    while let Some(&id) = bytes.get(at) {
        let part = section(id);
        let Some((size, header)) = leb(bytes.get(at + 1..).unwrap_or_default()) else {
            // An overlong number is the validator's to report; a missing one means that the file ends here.
            return if bytes.len() - at <= 5 {
                Err(Problem::Truncated { size: bytes.len(), part, missing: 1 })
            } else {
                Ok(())
            };
        };
        let end = at + 1 + header + size;
        if end > bytes.len() {
            return Err(Problem::Truncated { size: bytes.len(), part, missing: missing(end, bytes.len()) });
        }
        at = end;
    }
    Ok(())
}

fn missing(needed: usize, have: usize) -> u64 {
    (needed - have) as u64
}

fn leb(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn section(id: u8) -> String {
    let name = match id {
        0 => "custom",
        1 => "type",
        2 => "import",
        3 => "function",
        4 => "table",
        5 => "memory",
        6 => "global",
        7 => "export",
        8 => "start",
        9 => "element",
        10 => "code",
        11 => "data",
        12 => "data count",
        13 => "tag",
        _ => return format!("section {id}"),
    };
    format!("{name} section")
}
