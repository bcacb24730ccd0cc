//! Payloads of the signatures in a Biscuit: `SPECIFICATIONS.md` of the Biscuit project, sections "Signature (one block)",
//! "Signature (multiple blocks)", "Signature (third party blocks)" and "Sealed tokens".

use biscuit_auth::format::schema;

/// Newest version of the payloads; that of blocks of third parties.
pub(crate) const VERSION: u32 = 1;

/// Payload that the key before a block signs. `previous`: signature of the block before; `None` for the authority block.
/// `None`: the version is not known.
pub(crate) fn of_block(block: &schema::SignedBlock, previous: Option<&[u8]>) -> Option<Vec<u8>> {
    let algorithm = block.next_key.algorithm.to_le_bytes();
    let external = block.external_signature.as_ref();
    let external = external.map(|external| external.signature.as_slice());
    let mut parts: Vec<&[u8]>;
    let version = VERSION.to_le_bytes();
    match block.version.unwrap_or_default() {
        0 => {
            parts = vec![&block.block];
            parts.extend(external);
            parts.extend([algorithm.as_slice(), &block.next_key.key]);
        }
        VERSION => {
            parts = vec![b"\0BLOCK\0\0VERSION\0", &version];
            parts.extend([b"\0PAYLOAD\0".as_slice(), &block.block]);
            parts.extend([b"\0ALGORITHM\0".as_slice(), &algorithm]);
            parts.extend([b"\0NEXTKEY\0".as_slice(), &block.next_key.key]);
            if let Some(previous) = previous {
                parts.extend([b"\0PREVSIG\0".as_slice(), previous]);
            }
            if let Some(external) = external {
                parts.extend([b"\0EXTERNALSIG\0".as_slice(), external]);
            }
        }
        _ => return None,
    }
    Some(parts.concat())
}

/// Payload that a third party signs: the content of its block, and the signature of the block before.
pub(crate) fn of_third_party(content: &[u8], previous: &[u8]) -> Vec<u8> {
    [
        b"\0EXTERNAL\0\0VERSION\0".as_slice(),
        &VERSION.to_le_bytes(),
        b"\0PAYLOAD\0",
        content,
        b"\0PREVSIG\0",
        previous,
    ]
    .concat()
}

/// Payload of the last signature of a sealed token. `last`: its last block.
pub(crate) fn of_seal(last: &schema::SignedBlock) -> Vec<u8> {
    let algorithm = last.next_key.algorithm.to_le_bytes();
    [
        last.block.as_slice(),
        &algorithm,
        &last.next_key.key,
        &last.signature,
    ]
    .concat()
}
