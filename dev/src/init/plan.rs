//! Who is in a cluster: machines and operators, as a command line names them. Decides what is refused, and touches nothing.
//!
//! ```text
//! 1=node1.example        peer port 7411, public port 7401
//! 2=10.0.0.2:9001:9000   peer port 9001, public port 9000
//! 3=[fd00::3]
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::InitError;
use crate::certificates::HostName;

/// Port for members, and for clients, when none is named: those that `hessra-node config show` has as defaults.
const PEER_PORT: u16 = 7411;
const PUBLIC_PORT: u16 = 7401;

/// Beginning of the names of members; no operator may have one.
const NODE_URN: &str = "urn:hessra:node:";

/// Operators from which on the first policy demands two of them. Of two, neither can replace the other (docs/policy.md).
const TWO_PERSONS_FROM: usize = 3;

/// One node and its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Machine {
    pub id: u64,
    pub host: Host,
    pub peer_port: u16,
    pub public_port: u16,
}

/// Name or address of a machine, under which the others reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// DNS name, in lower case.
    Name(String),
    /// IP address.
    Address(IpAddr),
}

/// Operator: an identity, and the folder of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperatorName {
    urn: String,
}

/// A new cluster, refused when its parts do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) cluster: String,
    pub(crate) machines: Vec<Machine>,
    pub(crate) operators: Vec<OperatorName>,
}

impl Plan {
    /// Checks what a new cluster would be.
    ///
    /// # Errors
    /// A name that is none, an id, a machine or an operator twice.
    pub fn new(
        cluster: &str,
        machines: Vec<Machine>,
        operators: Vec<OperatorName>,
    ) -> Result<Self, InitError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=64).contains(&cluster.len()) || !cluster.bytes().all(allowed) {
            return Err(InitError::ClusterName(cluster.to_owned()));
        }
        let mut ids = std::collections::BTreeSet::new();
        if let Some(twice) = machines.iter().find(|machine| !ids.insert(machine.id)) {
            return Err(InitError::SameId(twice.id));
        }
        distinct_hosts(&machines, |_| "Name another one".to_owned())?;
        distinct_operators(&operators)?;
        Ok(Self {
            cluster: cluster.to_owned(),
            machines,
            operators,
        })
    }
}

impl Plan {
    /// Nodes, in the order in which they were named.
    #[must_use]
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// Operators, in the order in which they were named.
    #[must_use]
    pub fn operators(&self) -> &[OperatorName] {
        &self.operators
    }

    /// True when the first policy demands two persons.
    #[must_use]
    pub fn two_person(&self) -> bool {
        self.operators.len() >= TWO_PERSONS_FROM
    }
}

/// Checks that no two nodes share a machine. `what_to_do` is asked about the first of two.
pub(crate) fn distinct_hosts(
    machines: &[Machine],
    what_to_do: impl Fn(&Machine) -> String,
) -> Result<(), InitError> {
    let mut hosts: BTreeMap<&Host, &Machine> = BTreeMap::new();
    for machine in machines {
        if let Some(before) = hosts.insert(&machine.host, machine) {
            return Err(InitError::SameHost {
                one: before.id,
                other: machine.id,
                host: machine.host.to_string(),
                what_to_do: what_to_do(before),
            });
        }
    }
    Ok(())
}

/// Checks that no two operators share a folder.
pub(crate) fn distinct_operators(operators: &[OperatorName]) -> Result<(), InitError> {
    let mut folders: BTreeMap<&str, &OperatorName> = BTreeMap::new();
    for operator in operators {
        if let Some(before) = folders.insert(operator.folder(), operator) {
            return Err(InitError::SameOperator {
                one: before.urn.clone(),
                other: operator.urn.clone(),
                folder: operator.folder().to_owned(),
            });
        }
    }
    Ok(())
}

impl Machine {
    /// Address for members, `host:port`.
    #[must_use]
    pub fn peer(&self) -> String {
        format!("{}:{}", self.host, self.peer_port)
    }

    /// Address for clients, `host:port`.
    #[must_use]
    pub fn public(&self) -> String {
        format!("{}:{}", self.host, self.public_port)
    }

    /// Addresses to listen on, for members and for clients: its own, or all when only its name is known.
    #[must_use]
    pub fn listening(&self) -> (SocketAddr, SocketAddr) {
        let address = match &self.host {
            Host::Address(address) => *address,
            Host::Name(_) => Ipv4Addr::UNSPECIFIED.into(),
        };
        (
            (address, self.peer_port).into(),
            (address, self.public_port).into(),
        )
    }

    /// Folder of its files, `node-ID`.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("node-{}", self.id)
    }
}

impl FromStr for Machine {
    type Err = InitError;

    fn from_str(text: &str) -> Result<Self, InitError> {
        let refused = |reason: &str| InitError::Machine {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let (id, place) = text
            .split_once('=')
            .ok_or_else(|| refused("it has no `=`"))?;
        let id = id.parse().ok().filter(|id| *id > 0);
        let id = id.ok_or_else(|| refused("its id is no number from 1"))?;
        let (host, ports) = split_host(place).ok_or_else(|| refused("it has a `[` and no `]`"))?;
        let host = host.parse().map_err(|reason: &str| refused(reason))?;
        let mut ports = ports.split(':').skip(1).map(|port| {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            port.ok_or_else(|| {
                refused("a port is a number from 1 to 65535; an IPv6 address stands in `[]`")
            })
        });
        let peer_port = ports.next().transpose()?.unwrap_or(PEER_PORT);
        let public_port = ports.next().transpose()?.unwrap_or(PUBLIC_PORT);
        if ports.next().is_some() {
            return Err(refused("it has more than two ports"));
        }
        if peer_port == public_port {
            return Err(refused("members and clients cannot have the same port"));
        }
        Ok(Self {
            id,
            host,
            peer_port,
            public_port,
        })
    }
}

/// Host without its brackets, and the rest, which is empty or begins with a colon.
fn split_host(place: &str) -> Option<(&str, &str)> {
    match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']'),
        None => Some(place.split_at(place.find(':').unwrap_or(place.len()))),
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return match address.is_unspecified() || address.is_multicast() {
                true => Err("its address is that of no machine"),
                false => Ok(Self::Address(address)),
            };
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // RFC 3696 §2: the last part of a name is not all digits; otherwise `10.0.0` would be one.
        let last = text.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > 253 || is_number || !text.split('.').all(is_label) {
            return Err("its host is neither a DNS name nor an address");
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

impl Host {
    pub(crate) fn in_certificates(&self) -> HostName {
        match self {
            Self::Name(name) => HostName::Dns(name.clone()),
            Self::Address(address) => HostName::Address(*address),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl TryFrom<String> for Host {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.trim_matches(['[', ']']).parse()
    }
}

impl From<Host> for String {
    fn from(host: Host) -> Self {
        host.to_string()
    }
}

impl OperatorName {
    /// Identity, as in certificate and policy.
    #[must_use]
    pub fn urn(&self) -> &str {
        &self.urn
    }

    /// Folder of its files, below `operators/`: the last part of the identity.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.urn.rsplit(':').next().unwrap_or_default()
    }
}

impl FromStr for OperatorName {
    type Err = InitError;

    fn from_str(text: &str) -> Result<Self, InitError> {
        let refused = |reason: &str| InitError::Operator {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        // What else is wrong with an identity, the policy's reader says; these would do harm here.
        let plain = |part: &str| {
            let allowed =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
        };
        if text.starts_with(NODE_URN) {
            return Err(refused("names of that kind are those of nodes"));
        }
        if text.len() > 512 || text.split(':').count() < 3 || !text.split(':').all(plain) {
            return Err(refused(
                "it has not three parts of letters, digits and `. _ -`, with `:` between them",
            ));
        }
        Ok(Self {
            urn: text.to_owned(),
        })
    }
}

impl TryFrom<String> for OperatorName {
    type Error = InitError;

    fn try_from(text: String) -> Result<Self, InitError> {
        text.parse()
    }
}

impl From<OperatorName> for String {
    fn from(operator: OperatorName) -> Self {
        operator.urn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(text: &str) -> Machine {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<Machine>().unwrap_err().to_string()
    }

    fn plan(machines: &[&str], operators: &[&str]) -> Result<Plan, InitError> {
        Plan::new(
            "prod",
            machines.iter().map(|text| machine(text)).collect(),
            operators.iter().map(|text| text.parse().unwrap()).collect(),
        )
    }

    #[test]
    fn a_machine_is_an_id_a_host_and_perhaps_ports() {
        let plain = machine("1=Node1.Example");
        assert_eq!(plain.peer(), "node1.example:7411");
        assert_eq!(plain.public(), "node1.example:7401");
        assert_eq!(plain.listening().0.to_string(), "0.0.0.0:7411");
        let four = machine("2=10.0.0.2:9001:9000");
        assert_eq!(
            (four.peer(), four.public()),
            ("10.0.0.2:9001".into(), "10.0.0.2:9000".into())
        );
        assert_eq!(four.listening().1.to_string(), "10.0.0.2:9000");
        let six = machine("3=[fd00::3]:9001");
        assert_eq!(six.peer(), "[fd00::3]:9001");
        assert_eq!(six.public(), "[fd00::3]:7401");
        let text = serde_json::to_string(&six).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), six);
    }

    #[test]
    fn what_is_no_machine_is_refused_with_its_reason() {
        for (text, reason) in [
            ("node1.example", "has no `=`"),
            ("0=node1.example", "no number from 1"),
            ("x=node1.example", "no number from 1"),
            ("1=", "neither a DNS name nor an address"),
            ("1=10.0.0", "neither a DNS name nor an address"),
            ("1=a_b.example", "neither a DNS name nor an address"),
            ("1=-a.example", "neither a DNS name nor an address"),
            ("1=../etc", "neither a DNS name nor an address"),
            ("1=0.0.0.0", "that of no machine"),
            ("1=fd00::3", "stands in `[]`"),
            ("1=[fd00::3", "no `]`"),
            ("1=a.example:0", "from 1 to 65535"),
            ("1=a.example:1:2:3", "more than two ports"),
            ("1=a.example:9000:9000", "the same port"),
        ] {
            let said = refusal(text);
            assert!(said.contains(reason), "{text}: {said}");
            assert!(said.contains("1=node1.example"), "what to write: {said}");
        }
    }

    #[test]
    fn ids_machines_and_operators_are_there_once() {
        let said = |result: Result<Plan, InitError>| result.unwrap_err().to_string();
        assert!(plan(&["1=a.example", "2=b.example"], &["urn:hessra:ops:ann"]).is_ok());
        let twice = said(plan(&["1=a.example", "1=b.example"], &[]));
        assert!(twice.contains("two nodes have the id 1"), "{twice}");
        let twice = said(plan(&["1=a.example", "2=A.example:1:2"], &[]));
        assert!(
            twice.contains("nodes 1 and 2 are both on `a.example`"),
            "{twice}"
        );
        let twice = said(plan(
            &["1=a.example"],
            &["urn:hessra:ops:ann", "urn:hessra:night:ann"],
        ));
        assert!(twice.contains("operators/ann"), "{twice}");
    }

    #[test]
    fn a_cluster_has_a_name_that_a_certificate_can_carry() {
        for name in ["", "a:b", "a/b", "ä", &"x".repeat(65)] {
            let refused = Plan::new(name, Vec::new(), Vec::new()).unwrap_err();
            assert!(refused.to_string().contains("name of a cluster"), "{name}");
        }
    }

    #[test]
    fn what_is_no_operator_is_refused() {
        for text in [
            "ann",
            "urn:hessra:../..",
            "urn:hessra:.ann",
            "urn:hessra:a b",
            "urn:hessra:",
            "urn:hessra:node:prod:1",
        ] {
            assert!(text.parse::<OperatorName>().is_err(), "{text}");
        }
        let ann: OperatorName = "urn:hessra:ops:ann".parse().unwrap();
        assert_eq!((ann.urn(), ann.folder()), ("urn:hessra:ops:ann", "ann"));
    }
}
