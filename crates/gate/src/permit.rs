//! The permit: proof that a call passed the gate.

use reeve_types::Obligations;

/// A call that the gate has admitted. The only way to reach an effect.
///
/// It owns the call, so what was approved is what runs. It is used by value, so one admission is one execution. It
/// can be neither built, cloned, edited nor deserialised outside this crate.
#[must_use = "a permit that is dropped has admitted nothing"]
#[derive(Debug)]
pub struct Permitted<C> {
    call: C,
    limits: Obligations,
}

impl<C> Permitted<C> {
    pub(crate) fn mint(call: C, limits: Obligations) -> Self {
        Self { call, limits }
    }

    /// Looks at the call without using the permit up.
    pub fn call(&self) -> &C {
        &self.call
    }

    /// What the executor must respect although the act is allowed.
    pub fn limits(&self) -> Obligations {
        self.limits
    }

    /// Uses the permit up: the call leaves exactly once.
    pub fn open(self) -> (C, Obligations) {
        (self.call, self.limits)
    }

    /// Narrows the permit to the typed effect that the call stands for. Still one permit, still one effect: the untyped
    /// call is used up. A driver's signature demands the narrow kind, so that it cannot be handed another act's permit.
    pub fn narrow<E, F>(self, effect: impl FnOnce(C) -> Result<E, F>) -> Result<Permitted<E>, F> {
        Ok(Permitted { call: effect(self.call)?, limits: self.limits })
    }
}
