//! The two CAs of a cluster, and what each signs. How long a certificate holds is decided here.

use std::path::Path;

use super::error::InitError;
use super::plan::{Machine, OperatorName};
use super::staging::{make_directory, write_pair};
use crate::certificates::{CertificateAuthority, Pair, Purpose, Request, Validity};

/// Life of a CA. Its key makes every certificate anew before it ends, and lies offline meanwhile.
const AUTHORITY_DAYS: u32 = 3_650;
/// Life of a node's certificates. A removed member is heard no more, whatever certificate it still has, so a short life would
/// gain little; and each renewal takes the key of the CA from its safe place, while an end that nobody noticed stops the
/// cluster. The condition `certificate_ends` begins 14 days before.
const NODE_DAYS: u32 = 365;
/// Life of an operator's certificate. Nobody removes a person who has left but the policy; the end is the second lock.
const OPERATOR_DAYS: u32 = 90;

/// Folder of both.
const FOLDER: &str = "ca";
const CLUSTER: &str = "cluster";
const CLIENT: &str = "client";

/// CA of the members, and the CA of the public port, clients and operators.
pub(crate) struct Authorities {
    cluster: String,
    of_members: CertificateAuthority,
    of_clients: CertificateAuthority,
}

impl Authorities {
    /// Makes both in the folder `ca` of a directory.
    pub(crate) fn make(directory: &Path, cluster: &str, now: u64) -> Result<Self, InitError> {
        let folder = directory.join(FOLDER);
        make_directory(&folder)?;
        let validity = Validity::Days {
            now,
            days: AUTHORITY_DAYS,
        };
        let made = |name: &str, title: &str| -> Result<CertificateAuthority, InitError> {
            let common_name = format!("{cluster} {title}");
            let organization = organization(cluster);
            let (authority, pair) =
                CertificateAuthority::make(&organization, &common_name, validity)?;
            write_pair(&folder, name, &pair)?;
            Ok(authority)
        };
        Ok(Self {
            of_members: made(CLUSTER, "cluster CA")?,
            of_clients: made(CLIENT, "client CA")?,
            cluster: cluster.to_owned(),
        })
    }

    /// Reads both.
    pub(crate) fn read(directory: &Path, cluster: &str) -> Result<Self, InitError> {
        let folder = directory.join(FOLDER);
        let read = |name: &str| -> Result<CertificateAuthority, InitError> {
            let files = ["pem", "key"].map(|kind| folder.join(format!("{name}.{kind}")));
            if let Some(missing) = files.iter().find(|file| !file.exists()) {
                return Err(InitError::NoAuthority {
                    directory: directory.into(),
                    missing: missing.clone(),
                });
            }
            Ok(CertificateAuthority::read(&files[0], &files[1])?)
        };
        Ok(Self {
            of_members: read(CLUSTER)?,
            of_clients: read(CLIENT)?,
            cluster: cluster.to_owned(),
        })
    }

    /// Certificate of a node for the peer port.
    pub(crate) fn member(&self, node: &Machine, urn: &str, now: u64) -> Result<Pair, InitError> {
        let days = NODE_DAYS;
        let purpose = Purpose::Member(urn);
        self.node(
            &self.of_members,
            node,
            "peer",
            purpose,
            Validity::Days { now, days },
        )
    }

    /// Certificate of a node for the public port.
    pub(crate) fn server(&self, node: &Machine, now: u64) -> Result<Pair, InitError> {
        let days = NODE_DAYS;
        let purpose = Purpose::Server;
        self.node(
            &self.of_clients,
            node,
            "public",
            purpose,
            Validity::Days { now, days },
        )
    }

    fn node(
        &self,
        authority: &CertificateAuthority,
        node: &Machine,
        port: &str,
        purpose: Purpose<'_>,
        validity: Validity,
    ) -> Result<Pair, InitError> {
        let made = authority.sign(&Request {
            organization: &organization(&self.cluster),
            common_name: &format!("{} node {} {port}", self.cluster, node.id),
            purpose,
            hosts: &[node.host.in_certificates()],
            validity,
        });
        Ok(made?)
    }

    /// Certificate of an operator.
    pub(crate) fn operator(&self, operator: &OperatorName, now: u64) -> Result<Pair, InitError> {
        let made = self.of_clients.sign(&Request {
            organization: &organization(&self.cluster),
            common_name: operator.folder(),
            purpose: Purpose::Operator(operator.urn()),
            hosts: &[],
            validity: Validity::Days {
                now,
                days: OPERATOR_DAYS,
            },
        });
        Ok(made?)
    }
}

/// Certificate of the CA of members, below a directory.
pub(crate) const CLUSTER_CA: &str = "ca/cluster.pem";
/// Certificate of the CA of clients, below a directory.
pub(crate) const CLIENT_CA: &str = "ca/client.pem";

fn organization(cluster: &str) -> String {
    format!("hessra {cluster}")
}
