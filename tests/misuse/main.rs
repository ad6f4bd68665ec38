//! What must not compile, and what the compiler says then. A crate of its own, so that its cases build little.
//!
//! After a change of wording: `TRYBUILD=overwrite cargo test -p misuse`, and read the difference.

#[test]
fn misuse_does_not_compile() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
