//! OCI images that carry a module: made, read, refused with a reason.

pub mod acceptance;
pub mod archive;
pub mod build;
pub mod digest;
pub mod extract;
pub mod layout;
pub mod manifest;
pub mod reference;
pub mod signature;
#[cfg(test)]
mod tests;
