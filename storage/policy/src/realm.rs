//! Roles of the members of a realm: a client with a `domain`.

use std::collections::BTreeMap;

use hessra_revocation::Identity;

use crate::rights::Rights;

/// Roles of the members of a realm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Realm {
    /// Role of every member without one of its own. Without a name: members have no rights.
    pub(crate) default_role: Role,
    /// Roles by path of the subject.
    pub(crate) assigned: BTreeMap<String, Role>,
}

/// A named set of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) name: Option<String>,
    /// Line of its definition in `clients.toml`; 0 when it has none.
    pub(crate) line: usize,
    pub(crate) rights: Rights,
}

impl Realm {
    /// The roles of every identity below the realm on the way down to the actor, with the path of each.
    pub(crate) fn limits<'r, 'n>(
        &'r self,
        realm: &'n str,
        actor: &'n Identity,
    ) -> impl Iterator<Item = (&'n str, &'r Role)> {
        let members = actor
            .ancestors_and_self()
            .filter(move |(_, path)| path.len() > realm.len());
        let mut role = &self.default_role;
        members.map(move |(_, path)| {
            // A role holds for what is below its subject too, until a deeper assignment says otherwise.
            role = self.assigned.get(path).unwrap_or(role);
            (path, role)
        })
    }
}
