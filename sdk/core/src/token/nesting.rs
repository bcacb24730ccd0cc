//! Nesting of a token's Datalog: collections in collections, and conditions in conditions.
//!
//! The decoder of the format goes one call deeper for each level, and gives up at a depth of its own without saying why. So
//! where it gives up, the bytes are walked here, without calls in calls, to say what is too deep.

use super::size::NESTING_MAX;
use crate::TokenError;

/// Message of the format, as far as anything nested can be in it.
#[derive(Clone, Copy)]
enum Message {
    Block,
    Fact,
    Rule,
    Check,
    Predicate,
    Expression,
    Operation,
    Closure,
    Term,
    Collection,
    Map,
    Entry,
}

impl Message {
    /// Message in the field of this number, and the levels that it is deeper.
    fn inner(self, field: u64) -> Option<(Self, usize)> {
        let (inner, deeper) = match (self, field) {
            (Self::Block, 4) => (Self::Fact, 0),
            (Self::Block, 5) | (Self::Check, 1) => (Self::Rule, 0),
            (Self::Block, 6) => (Self::Check, 0),
            (Self::Fact, 1) | (Self::Rule, 1 | 2) => (Self::Predicate, 0),
            (Self::Rule, 3) => (Self::Expression, 0),
            (Self::Predicate, 2) | (Self::Operation, 1) | (Self::Collection, 1) => (Self::Term, 0),
            (Self::Expression, 1) | (Self::Closure, 2) => (Self::Operation, 0),
            (Self::Operation, 4) => (Self::Closure, 1),
            (Self::Term, 7 | 9) => (Self::Collection, 1),
            (Self::Term, 10) => (Self::Map, 1),
            (Self::Map, 1) => (Self::Entry, 0),
            (Self::Entry, 2) => (Self::Term, 0),
            _ => return None,
        };
        Some((inner, deeper))
    }
}

/// Refuses the bytes of a block that nests too deeply. Bytes that are no block are not refused here.
pub(super) fn check(block: &[u8]) -> Result<(), TokenError> {
    let mut left = vec![(Message::Block, block, 0)];
    while let Some((message, mut bytes, level)) = left.pop() {
        if level > NESTING_MAX {
            return Err(TokenError::TooMany {
                what: "levels of collections or conditions in each other",
                count: level,
                limit: NESTING_MAX,
            });
        }
        while let Some((field, content)) = next(&mut bytes) {
            let inner = content.and_then(|content| Some((content, message.inner(field)?)));
            if let Some((content, (inner, deeper))) = inner {
                left.push((inner, content, level + deeper));
            }
        }
    }
    Ok(())
}

/// Next field of a message, and its bytes if it has a length; `None` at the end, and where nothing can be read.
fn next<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Option<&'b [u8]>)> {
    let key = varint(bytes)?;
    let content = match key & 7 {
        0 => {
            varint(bytes)?;
            None
        }
        1 => {
            take(bytes, 8)?;
            None
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Some(take(bytes, length)?)
        }
        5 => {
            take(bytes, 4)?;
            None
        }
        _ => return None,
    };
    Some((key >> 3, content))
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}
