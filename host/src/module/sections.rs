//! Custom sections: what a module carries for its readers, and no proxy loads.

/// The section with what a plugin says about itself, as JSON.
pub const METADATA: &str = "wasmplugin.metadata";

/// The section with the JSON Schema of a plugin's configuration.
pub const SCHEMA: &str = "wasmplugin.schema";

/// The section with the bill of materials of a module (CycloneDX), as JSON.
pub const SBOM: &str = "wasmplugin.sbom";

/// A module with one more custom section at its end.
#[must_use]
pub fn with_section(module: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(name.len() + data.len() + 5);
    number(name.len(), &mut content);
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    let mut bytes = module.to_vec();
    bytes.push(0);
    number(content.len(), &mut bytes);
    bytes.append(&mut content);
    bytes
}

/// A length as LEB128, seven bits at a time.
fn number(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    loop {
        let byte = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_back() {
        let plugin = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
        let plugin = wat::parse_str(plugin).unwrap();
        let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(300));
        let bytes = with_section(&with_section(&plugin, SCHEMA, long.as_bytes()), METADATA, b"no JSON");
        let module = crate::module::Module::from_bytes("test", bytes).unwrap();
        assert_eq!(module.info().schema.as_ref().unwrap()["description"].as_str().unwrap().len(), 300);
        assert_eq!(module.info().metadata, None);
        assert_eq!(module.info().stats_tags(), None);
    }

    #[test]
    fn the_tags_of_a_module_are_told() {
        let plugin = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) i32.const 0))"#;
        let metadata = br#"{"name":"a","stats_tags":[{"tag_name":"code","regex":"(x)"}]}"#;
        let bytes = with_section(&wat::parse_str(plugin).unwrap(), METADATA, metadata);
        let module = crate::module::Module::from_bytes("test", bytes).unwrap();
        assert_eq!(module.info().stats_tags(), Some(vec![("code".to_owned(), "(x)".to_owned())]));
    }
}
