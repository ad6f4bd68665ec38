//! What happens when a plugin panics: the log says where, and everybody who waits in this VM is answered.
//!
//! Without it the other exchanges of the VM would wait until their clients give up, under every failure policy.

/// Installs the hook that runs before the trap.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|panic| {
        // Critical, and not through the `log` facade, which may be what panicked.
        let _ = crate::sys::log(5, &panic.to_string());
        crate::dispatch::last_words();
    }));
}

/// Natively a panic unwinds: through the callback's guard, which stands for the hook, to the test.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) struct Guard;

#[cfg(not(target_arch = "wasm32"))]
impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::dispatch::last_words();
        }
    }
}
