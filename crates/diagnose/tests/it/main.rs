//! Rules on made-up evidence: what they find, what they leave alone, and the words they use.

#![expect(clippy::expect_used, reason = "a test that cannot have its evidence must fail")]

mod sample;
mod silence;
mod topics;
mod words;

/// What a case changes in evidence that begins healthy.
type Change = fn(&mut reeve_diagnose::EvidenceSet);
