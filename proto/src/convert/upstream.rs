//! Messages of a verifier on its stream: one hello, then acknowledgements.

use std::fmt;

use hessra_revocation::publisher::{FEED_KEYS_MAX, Hello, Nonce};
use hessra_revocation::{Epoch, FeedId, Hash, Revision};

use super::error::{ConvertError, array, at_most, hashes};
use crate::v1::feed;

/// Number of bucket roots in a hello, if it has any.
const BUCKETS: usize = 256;
/// Most capabilities that a verifier may announce: there are two now.
const CAPABILITIES_MAX: usize = 16;
/// Most bytes of one capability, and of the client's name and version.
const WORD_BYTES_MAX: usize = 128;

/// Capability of a stream that only observes: it does not enrol, so no revocation waits for its acknowledgement.
pub const OBSERVER: &str = "observer";

/// Capability of a verifier that says which process it is: this word, and 32 hexadecimal digits that are random and the
/// same on all streams of one process. So a node tells a verifier that moved from two that have one id.
pub const PROCESS: &str = "process=";

/// Name of a verifier: 1 to 64 of `[A-Za-z0-9._-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierId(String);

impl VerifierId {
    /// Reads a name of that grammar.
    ///
    /// # Errors
    /// [`ConvertError::Rule`] with the grammar.
    pub fn parse(text: &str) -> Result<Self, ConvertError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "a verifier id has 1 to 64 letters, digits, `.`, `_` or `-`".to_owned();
        Err(ConvertError::Rule {
            field: "verifier_id",
            rule,
        })
    }

    /// Name as it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VerifierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Capability of the process with these random bytes, see [`PROCESS`].
#[must_use]
pub fn process_capability(process: [u8; 16]) -> String {
    format!("{PROCESS}{:032x}", u128::from_be_bytes(process))
}

/// Hello, with the verifier that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Position and keys of the verifier.
    pub hello: Hello,
    /// Name of the verifier.
    pub verifier_id: VerifierId,
    /// Capabilities of the verifier beyond version 1 of the protocol.
    pub capabilities: Vec<String>,
    /// Name and version of the program, for people.
    pub client: String,
}

impl Greeting {
    /// True for a stream that only observes.
    #[must_use]
    pub fn is_observer(&self) -> bool {
        self.capabilities.iter().any(|word| word == OBSERVER)
    }

    /// Process of the verifier; `None` = it does not say.
    #[must_use]
    pub fn process(&self) -> Option<[u8; 16]> {
        let words = self.capabilities.iter();
        let digits = words.filter_map(|word| word.strip_prefix(PROCESS)).next()?;
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        Some(number.to_be_bytes())
    }
}

impl From<Greeting> for feed::Hello {
    fn from(greeting: Greeting) -> Self {
        let Greeting {
            hello,
            verifier_id,
            capabilities,
            client,
        } = greeting;
        Self {
            verifier_id: verifier_id.0,
            feed_id: hello.feed_id.map(|id| id.0.to_vec()).unwrap_or_default(),
            epoch: hello.epoch.0,
            from_revision: hello.from.0,
            log_root: hello.log_root.to_vec(),
            bucket_roots: hello
                .bucket_roots
                .iter()
                .map(|root| root.to_vec())
                .collect(),
            capabilities,
            client,
            nonce: hello.nonce.0.to_vec(),
            feed_keys: hello.feed_keys,
        }
    }
}

impl TryFrom<feed::Hello> for Greeting {
    type Error = ConvertError;

    fn try_from(wire: feed::Hello) -> Result<Self, ConvertError> {
        at_most(
            "hello.capabilities",
            CAPABILITIES_MAX,
            wire.capabilities.len(),
        )?;
        for word in wire.capabilities.iter().chain([&wire.client]) {
            at_most("hello.client", WORD_BYTES_MAX, word.len())?;
        }
        Ok(Self {
            verifier_id: VerifierId::parse(&wire.verifier_id)?,
            hello: hello(&wire)?,
            capabilities: wire.capabilities,
            client: wire.client,
        })
    }
}

fn hello(wire: &feed::Hello) -> Result<Hello, ConvertError> {
    let roots = wire.bucket_roots.len();
    if roots != 0 && roots != BUCKETS {
        return Err(ConvertError::Length {
            field: "hello.bucket_roots",
            expected: BUCKETS,
            actual: roots,
        });
    }
    at_most("hello.feed_keys", FEED_KEYS_MAX, wire.feed_keys.len())?;
    let feed_id = match wire.feed_id.as_slice() {
        [] => None,
        bytes => Some(FeedId(array("hello.feed_id", bytes)?)),
    };
    Ok(Hello {
        nonce: Nonce(array("hello.nonce", &wire.nonce)?),
        feed_id,
        epoch: Epoch(wire.epoch),
        from: Revision(wire.from_revision),
        log_root: array("hello.log_root", &wire.log_root)?,
        bucket_roots: hashes("hello.bucket_roots", &wire.bucket_roots)?,
        feed_keys: wire.feed_keys.clone(),
    })
}

/// Proof of a verifier that it holds a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Revision up to which everything denies.
    pub revision: Revision,
    /// Root over the verifier's rules: proves content, not a number.
    pub state_root: Hash,
}

impl From<Acknowledgement> for feed::Ack {
    fn from(ack: Acknowledgement) -> Self {
        Self {
            applied_revision: ack.revision.0,
            state_root: ack.state_root.to_vec(),
        }
    }
}

impl TryFrom<feed::Ack> for Acknowledgement {
    type Error = ConvertError;

    fn try_from(wire: feed::Ack) -> Result<Self, ConvertError> {
        let state_root = array("ack.state_root", &wire.state_root)?;
        Ok(Self {
            revision: Revision(wire.applied_revision),
            state_root,
        })
    }
}

/// Message of a verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifierMessage {
    /// Hello: the first message, once.
    Hello(Greeting),
    /// Acknowledgement: every later message.
    Ack(Acknowledgement),
}

impl From<VerifierMessage> for feed::Upstream {
    fn from(message: VerifierMessage) -> Self {
        use feed::upstream::Message;
        let message = match message {
            VerifierMessage::Hello(greeting) => Message::Hello(greeting.into()),
            VerifierMessage::Ack(ack) => Message::Ack(ack.into()),
        };
        Self {
            message: Some(message),
        }
    }
}

impl TryFrom<feed::Upstream> for VerifierMessage {
    type Error = ConvertError;

    fn try_from(wire: feed::Upstream) -> Result<Self, ConvertError> {
        use feed::upstream::Message;
        match wire
            .message
            .ok_or(ConvertError::Missing("upstream.message"))?
        {
            Message::Hello(hello) => hello.try_into().map(Self::Hello),
            Message::Ack(ack) => ack.try_into().map(Self::Ack),
        }
    }
}
