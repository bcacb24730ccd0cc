//! The most expensive token that verifiers accept, made of a plain one as a holder would make it. The bench measures the same.
//!
//! | bound | used up by |
//! |---|---|
//! | 16 blocks | fifteen blocks, each with two signatures of the slower curve |
//! | 32 alternatives, 256 operations of holders | 32 checks that are tried on each designation, and hold on none |
//! | 16 KiB | checks of time, as many as fit |

use biscuit_auth::builder::Algorithm;
use biscuit_auth::{Biscuit, BlockBuilder, KeyPair, PrivateKey, PublicKey};

/// Alternatives of all checks of holders in one token.
pub(crate) const QUERIES: usize = 32;
/// Operations in them.
pub(crate) const OPERATIONS: usize = 256;
/// Blocks of a token.
const BLOCKS: usize = 16;
/// Bytes of its text.
const BYTES: usize = 16 * 1024;
/// Check of eight operations that are all evaluated for each designation of a request.
const COSTLY: &str = r#"reject if designation($l, $v), $l.starts_with("x") || $v.starts_with("y")"#;
const TIME: &str = "check if time($t), $t < 1800003600";

/// A capability with everything added that its holders may add. `root`: public key of its authority, Ed25519.
pub(crate) fn most_expensive(capability: &str, root: &[u8; 32]) -> String {
    let empty = (2..BLOCKS).fold(capability.to_owned(), |token, _| {
        appended(&token, root, BlockBuilder::new())
    });
    let costly = vec![COSTLY; OPERATIONS / 8];
    let with = |times: usize| {
        let checks = [costly.as_slice(), &vec![TIME; times]].concat();
        appended(&empty, root, code_of(&checks.join(";\n")))
    };
    let lengths = (0..256).map(with);
    let fits = lengths.take_while(|token| token.len() <= BYTES).last();
    fits.expect("the costly checks fit")
}

/// Datalog, parsed.
pub(crate) fn code_of(text: &str) -> BlockBuilder {
    let parsed = BlockBuilder::new().code(format!("{text};"));
    parsed.unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Token with a block more, as its holder appends it without any of our code.
pub(crate) fn appended(token: &str, root: &[u8; 32], block: BlockBuilder) -> String {
    let (biscuit, by) = (opened(token, root), p256(9));
    let request = biscuit.third_party_request().expect("not sealed");
    let block = request.create_block(&by.private(), block);
    let appended = block
        .and_then(|block| biscuit.append_third_party_with_keypair(by.public(), block, p256(8)));
    let text = appended.and_then(|token| token.to_base64());
    text.unwrap_or_else(|error| panic!("{error}"))
}

/// Token as the library reads it.
pub(crate) fn opened(token: &str, root: &[u8; 32]) -> Biscuit {
    let root = PublicKey::from_bytes(root, Algorithm::Ed25519);
    let opened = root
        .map_err(|error| error.to_string())
        .and_then(|root| Biscuit::from_base64(token, root).map_err(|error| error.to_string()));
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// Pair whose signatures cost a verifier most.
fn p256(seed: u8) -> KeyPair {
    let private = PrivateKey::from_bytes(&[seed; 32], Algorithm::Secp256r1);
    KeyPair::from(&private.expect("a scalar of the curve"))
}
