//! Heads of audit chains.

use hessra_proto::v1::log;
use hessra_revocation::UnixMillis;
use hessra_state::{ChainHead, ChainName, Witness, Witnessed};

use super::message::{CodecError, array};

/// Encodes a head as its node states it.
pub(super) fn encode_witness(witness: &Witness) -> log::Witness {
    log::Witness {
        node: witness.name.node,
        chain: witness.name.chain.clone(),
        head: Some(encode_head(&witness.head)),
        key: witness.key.to_vec(),
        signature: witness.signature.to_vec(),
    }
}

/// Decodes a head as its node states it.
pub(super) fn decode_witness(witness: &log::Witness) -> Result<Witness, CodecError> {
    Ok(Witness {
        name: name(witness.node, &witness.chain),
        head: decode_head(witness.head.as_ref())?,
        key: array("key", &witness.key)?,
        signature: array("signature", &witness.signature)?,
    })
}

/// Encodes a witnessed head.
pub(super) fn encode_witnessed(witnessed: &Witnessed) -> log::StoredWitnessed {
    log::StoredWitnessed {
        node: witnessed.name.node,
        chain: witnessed.name.chain.clone(),
        head: Some(encode_head(&witnessed.head)),
        key: witnessed.key.to_vec(),
        at_ms: witnessed.at.0,
        loss_accepted: witnessed.loss_accepted,
        former: witnessed.former.as_ref().map(encode_head),
    }
}

/// Decodes a witnessed head.
pub(super) fn decode_witnessed(stored: &log::StoredWitnessed) -> Result<Witnessed, CodecError> {
    let former = stored.former.as_ref();
    Ok(Witnessed {
        name: name(stored.node, &stored.chain),
        head: decode_head(stored.head.as_ref())?,
        key: array("key", &stored.key)?,
        at: UnixMillis(stored.at_ms),
        loss_accepted: stored.loss_accepted,
        former: former.map(|head| decode_head(Some(head))).transpose()?,
    })
}

fn name(node: u64, chain: &str) -> ChainName {
    let chain = chain.to_owned();
    ChainName { node, chain }
}

fn encode_head(head: &ChainHead) -> log::ChainHead {
    log::ChainHead {
        id: head.id.to_vec(),
        seq: head.seq,
        hash: head.hash.to_vec(),
    }
}

fn decode_head(head: Option<&log::ChainHead>) -> Result<ChainHead, CodecError> {
    let head = head.ok_or(CodecError::Unknown("head of a chain"))?;
    Ok(ChainHead {
        id: array("id", &head.id)?,
        seq: head.seq,
        hash: array("hash", &head.hash)?,
    })
}
