//! Memory of a verifier: tokens that passed, and signatures that were verified before. It saves time and decides nothing.
//!
//! A token is found by its whole text and the whole request: that saves parsing, signatures and Datalog. Bounded, in number and
//! in bytes. A stranger fills it with nothing: only what an authority's key has signed is remembered.

use std::hash::RandomState;
use std::sync::Arc;

use super::claims::Claims;
use super::request::Request;
use crate::signatures::Signatures;
use crate::table::Table;

/// Bytes of the longest token text that is remembered. Origin: four delegations with checks of a holder's own.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the longest request that is remembered: callers of a service choose parts of it.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// Bytes at the end of a token by which it is looked for: its last signature and the secret after it, which no two
/// tokens have in common.
const TAIL_BYTES: usize = 96;

/// Size of a memory. A token takes about 3 KiB and 24 at most, with its request; a signature half of one and 4 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySize {
    /// Most tokens, each for one request.
    pub tokens: usize,
    /// Most signatures.
    pub signatures: usize,
}

impl Default for MemorySize {
    /// 2,048 tokens and 4,096 signatures: about 8 MiB, and 64 at most.
    fn default() -> Self {
        Self {
            tokens: 2_048,
            signatures: 4_096,
        }
    }
}

/// Memory of one verifier.
#[derive(Debug)]
pub(crate) struct Memory {
    checked: Table<Checked>,
    signatures: Signatures,
}

impl Memory {
    /// Empty memory.
    pub(crate) fn new(size: MemorySize, hasher: RandomState) -> Self {
        Self {
            checked: Table::new(size.tokens, hasher.clone()),
            signatures: Signatures::new(size.signatures, hasher),
        }
    }

    pub(crate) fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// Claims of a token that has passed the same request.
    pub(crate) fn claims(&self, token: &str, request: &Request) -> Option<Arc<Claims>> {
        let mut shelf = self.checked.shelf(&(tail(token), request))?;
        let found = shelf.find(|checked| *checked.token == *token && checked.request == *request);
        found.map(|checked| Arc::clone(&checked.claims))
    }

    /// Remembers that a token has passed a request.
    pub(crate) fn keep(&self, token: &str, request: &Request, claims: &Arc<Claims>) {
        if token.len() > TEXT_BYTES_MAX || request.bytes() > REQUEST_BYTES_MAX {
            return;
        }
        let checked = Checked {
            token: token.into(),
            request: request.clone(),
            claims: Arc::clone(claims),
        };
        if let Some(mut shelf) = self.checked.shelf(&(tail(token), request)) {
            shelf.put(checked, |old| {
                *old.token == *token && old.request == *request
            });
        }
    }
}

fn tail(token: &str) -> &[u8] {
    let bytes = token.as_bytes();
    &bytes[bytes.len().saturating_sub(TAIL_BYTES)..]
}

/// Token that has passed a request: all but what changes with time and knowledge.
struct Checked {
    token: Box<str>,
    request: Request,
    claims: Arc<Claims>,
}
