//! Where the state lives while no guest has it.

use std::ops::{Deref, DerefMut};

use crate::vm::VmState;

/// The state, at home between guest calls.
pub(crate) struct Home(pub(super) Option<Box<VmState>>);

impl Home {
    /// Lends the state to a guest.
    pub(super) fn lend<T>(&mut self, run: impl FnOnce(Box<VmState>) -> (Box<VmState>, T)) -> T {
        #[expect(clippy::expect_used, reason = "INVARIANT: it leaves only below, and only until the guest returns")]
        let state = self.0.take().expect("the state is at home");
        let (state, result) = run(state);
        self.0 = Some(state);
        result
    }
}

impl Deref for Home {
    type Target = VmState;

    fn deref(&self) -> &VmState {
        #[expect(clippy::expect_used, reason = "INVARIANT: `lend` has it back before anybody can look")]
        self.0.as_deref().expect("the state is at home")
    }
}

impl DerefMut for Home {
    fn deref_mut(&mut self) -> &mut VmState {
        #[expect(clippy::expect_used, reason = "INVARIANT: `lend` has it back before anybody can look")]
        self.0.as_deref_mut().expect("the state is at home")
    }
}
