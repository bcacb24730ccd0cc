//! Verifier with a memory.

use std::hash::RandomState;

use super::established::Opened;
use super::memory::{Memory, MemorySize};
use super::verified;
use super::{Knowledge, Now, Request, TokenVerifier, Verdict};

/// Verifier that remembers what it has verified. Its verdicts are those of its [`TokenVerifier`].
///
/// A token that passed the same request before costs its rules, its end and the age of the knowledge: about a microsecond,
/// without an allocation. A token that shares blocks with others costs its own. Tokens with checks of their holder's own
/// making, and single-use tokens, are verified anew each time.
///
/// It keeps tokens in memory for as long as they are not displaced. Never waits for another thread.
#[derive(Debug)]
pub struct RememberingVerifier {
    verifier: TokenVerifier,
    memory: Memory,
}

impl RememberingVerifier {
    /// Verifier with an empty memory. `hasher`: keys of the memory's tables, so that no stranger can aim at one place.
    #[must_use]
    pub fn new(verifier: TokenVerifier, size: MemorySize, hasher: RandomState) -> Self {
        Self {
            verifier,
            memory: Memory::new(size, hasher),
        }
    }

    /// Verifier without the memory.
    #[must_use]
    pub fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// Verifies as [`TokenVerifier::verify`] does.
    pub fn verify(
        &self,
        token: &str,
        request: &Request,
        knowledge: &Knowledge<'_>,
        now: Now,
    ) -> Verdict {
        let config = self.verifier.config();
        let claims = self.memory.claims(token, request);
        let again =
            claims.and_then(|claims| verified::check_again(&claims, knowledge, now, config));
        if let Some(again) = again {
            return again.into();
        }
        let signatures = Some(self.memory.signatures());
        let opened = Opened::read(token, knowledge.keyring, signatures, config);
        let verdict = self.verifier.judge(opened, request, knowledge, now);
        if let Verdict::Allow(verified) = &verdict
            && verified.claims().reusable
        {
            self.memory.keep(token, request, verified.claims());
        }
        verdict
    }
}
