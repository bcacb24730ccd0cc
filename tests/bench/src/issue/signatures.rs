//! Signatures that a token cannot be made without, and their cost on this machine.

use biscuit_auth::UnverifiedBiscuit;
use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
use rand::rngs::OsRng;

use crate::failure::BenchError;
use crate::process::own_usage;
use crate::report::Spread;

/// Payload of about the size that a block of a token has.
const PAYLOAD: [u8; 320] = [7; 320];

/// Signatures that cannot be done without.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signatures {
    /// Signatures made, each with a key pair of its own.
    pub(super) made: usize,
    /// Signatures verified.
    pub(super) verified: usize,
    /// Public keys derived.
    pub(super) derived: usize,
}

/// CPU seconds of one of them on this machine.
#[derive(Clone, Copy)]
pub(super) struct Floor {
    pub(super) made: f64,
    pub(super) verified: f64,
    pub(super) derived: f64,
}

impl Signatures {
    pub(super) fn made_in(token: &str) -> Result<Self, BenchError> {
        let (blocks, _) = count(token)?;
        Ok(Self {
            made: blocks,
            ..Self::default()
        })
    }

    pub(super) fn and_verified_of(self, token: &str) -> Result<Self, BenchError> {
        let (blocks, others) = count(token)?;
        Ok(Self {
            verified: blocks + others,
            derived: 1,
            ..self
        })
    }

    pub(super) fn seconds(self, floor: Floor) -> f64 {
        self.made as f64 * floor.made
            + self.verified as f64 * floor.verified
            + self.derived as f64 * floor.derived
    }
}

/// Blocks, and blocks that somebody else signed too.
fn count(token: &str) -> Result<(usize, usize), BenchError> {
    let token = UnverifiedBiscuit::from_base64(token)
        .map_err(|error| BenchError::Token(error.to_string()))?;
    let others = token.external_public_keys();
    Ok((token.block_count(), others.iter().flatten().count()))
}

impl Floor {
    /// Measures as many of each as asked for, on one thread.
    pub(super) fn measure(times: usize) -> Result<Self, BenchError> {
        let before = own_usage();
        let mut signed = Vec::with_capacity(times);
        for _ in 0..times {
            let key = SigningKey::generate(&mut OsRng);
            signed.push((key.verifying_key(), key.sign(&PAYLOAD)));
        }
        let between = own_usage();
        for (key, signature) in &signed {
            key.verify(&PAYLOAD, signature)
                .map_err(|error| BenchError::Token(error.to_string()))?;
        }
        let after = own_usage();
        for (key, _) in &signed {
            std::hint::black_box(SigningKey::from_bytes(key.as_bytes()).verifying_key());
        }
        let per = |seconds: f64| seconds / times as f64;
        Ok(Self {
            made: per(between.since(before).cpu()),
            verified: per(after.since(between).cpu()),
            derived: per(own_usage().since(after).cpu()),
        })
    }

    pub(super) fn of(floors: &[Self]) -> Self {
        let median = |part: fn(&Self) -> f64| Spread::of(floors.iter().map(part)).median;
        Self {
            made: median(|floor| floor.made),
            verified: median(|floor| floor.verified),
            derived: median(|floor| floor.derived),
        }
    }
}
