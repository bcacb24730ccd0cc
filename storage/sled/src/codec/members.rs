//! Changes of the members.

use hessra_proto::v1::log;
use hessra_state::MemberChange;

use super::message::CodecError;

pub(super) fn encode_member_change(change: &MemberChange) -> log::MemberChange {
    use log::member_change::Change;
    let change = match change {
        MemberChange::Add {
            id,
            peer_address,
            public_address,
        } => Change::Add(log::Node {
            id: *id,
            peer_address: peer_address.clone(),
            public_address: public_address.clone(),
            incarnation: Vec::new(),
        }),
        MemberChange::Promote(id) => Change::Promote(*id),
        MemberChange::Remove(id) => Change::Remove(*id),
        MemberChange::TransferTo(id) => Change::TransferTo(*id),
    };
    log::MemberChange {
        change: Some(change),
    }
}

pub(super) fn decode_member_change(change: &log::MemberChange) -> Result<MemberChange, CodecError> {
    use log::member_change::Change;
    let change = change.change.as_ref();
    Ok(
        match change.ok_or(CodecError::Unknown("change of the members"))? {
            Change::Add(node) => MemberChange::Add {
                id: node.id,
                peer_address: node.peer_address.clone(),
                public_address: node.public_address.clone(),
            },
            Change::Promote(id) => MemberChange::Promote(*id),
            Change::Remove(id) => MemberChange::Remove(*id),
            Change::TransferTo(id) => MemberChange::TransferTo(*id),
        },
    )
}
