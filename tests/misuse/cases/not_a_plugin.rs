//! A type becomes a plugin by implementing `Http`.

struct Nothing;

wasmplugin::plugin!(Nothing);

fn main() {}
