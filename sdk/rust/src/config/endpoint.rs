//! Addresses of servers, as people write them.

use std::fmt;
use std::str::FromStr;

use super::{PORT_DEFAULT, SERVERS_MAX};
use crate::ClientError;

/// Address of one server: a host name or IP address and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses `HOST`, `HOST:PORT`, `[IPV6]:PORT`, each with or without `https://`.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] with the form that was expected.
    pub fn parse(text: &str, port_default: u16) -> Result<Self, ClientError> {
        let bare = text.trim();
        let bare = bare.strip_prefix("https://").unwrap_or(bare);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = split_port(bare).ok_or_else(|| not_an_address(text))?;
        let port = port.map_or(Ok(port_default), |digits| {
            digits.parse().map_err(|_| not_an_address(text))
        })?;
        if port == 0 || !is_host(host) {
            return Err(not_an_address(text));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Name or IP address, without brackets: what the server's certificate must say.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL of the server: `https://HOST:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{self}")
    }
}

/// Host and port digits of `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .filter(|(host, _)| host.contains(':'))?;
        return match after {
            "" => Some((host, None)),
            _ => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        // Two colons outside brackets: an IPv6 address without a port.
        Some((_, port)) if port.contains(':') => Some((text, None)),
        Some((host, port)) => Some((host, Some(port))),
    }
}

fn is_host(host: &str) -> bool {
    if host.contains(':') {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=253).contains(&host.len()) && host.bytes().all(allowed)
}

fn not_an_address(text: &str) -> ClientError {
    ClientError::invalid(format!("`{text}` is not the address of a server"))
        .hint("Give HOST or HOST:PORT.")
}

impl FromStr for Endpoint {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Self::parse(text, PORT_DEFAULT)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Servers, one to [`SERVERS_MAX`], without duplicates, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers(Vec<Endpoint>);

impl Servers {
    /// Servers of addresses that are already parsed.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] for none or too many.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Result<Self, ClientError> {
        let mut list: Vec<Endpoint> = Vec::new();
        for endpoint in endpoints {
            if !list.contains(&endpoint) {
                list.push(endpoint);
            }
        }
        match list.len() {
            0 => {
                Err(ClientError::invalid("no server is named").hint("Give at least one HOST:PORT."))
            }
            1..=SERVERS_MAX => Ok(Self(list)),
            more => Err(ClientError::invalid(format!(
                "{more} servers are named, at most {SERVERS_MAX} are used"
            ))),
        }
    }

    /// Parses texts, each one address or several separated by commas.
    ///
    /// # Errors
    /// [`crate::Reason::InvalidArgument`] for a text that is no address, none, or too many.
    pub fn parse<T: AsRef<str>>(
        texts: impl IntoIterator<Item = T>,
        port_default: u16,
    ) -> Result<Self, ClientError> {
        let mut endpoints = Vec::new();
        for text in texts {
            for part in text
                .as_ref()
                .split(',')
                .filter(|part| !part.trim().is_empty())
            {
                endpoints.push(Endpoint::parse(part, port_default)?);
            }
        }
        Self::new(endpoints)
    }

    /// Servers in the order given.
    #[must_use]
    pub fn as_slice(&self) -> &[Endpoint] {
        &self.0
    }

    /// Adds a server at the end unless it is there or the list is full.
    pub(crate) fn add(&mut self, endpoint: Endpoint) {
        if self.0.len() < SERVERS_MAX && !self.0.contains(&endpoint) {
            self.0.push(endpoint);
        }
    }
}

impl FromStr for Servers {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        Self::parse([text], PORT_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let shown = |text| {
            Endpoint::parse(text, 7443)
                .map(|endpoint| endpoint.to_string())
                .ok()
        };
        assert_eq!(shown("node1").as_deref(), Some("node1:7443"));
        assert_eq!(shown("https://node1:8000/").as_deref(), Some("node1:8000"));
        assert_eq!(shown("[::1]:8000").as_deref(), Some("[::1]:8000"));
        assert_eq!(shown("::1").as_deref(), Some("[::1]:7443"));
        for wrong in [
            "",
            "a b",
            "node:x",
            "node:0",
            "node:70000",
            "[::1",
            "[zz]:1",
            "http://x/y",
            "user@node",
        ] {
            assert_eq!(shown(wrong), None, "`{wrong}`");
        }
    }

    #[test]
    fn a_server_named_twice_is_one() {
        let servers: Servers = "a:1, b:2,a:1,".parse().expect("addresses");
        assert_eq!(servers.as_slice().len(), 2);
        assert!(" , ".parse::<Servers>().is_err());
    }
}
