//! State of a node: ready, or the first reason why not. The words of `NodeStatus.state`.
//!
//! ```
//! use hessra_proto::NodeState;
//! use hessra_proto::v1::NodeStatus;
//! let status = NodeStatus { state: "disk_low".into(), ..NodeStatus::default() };
//! assert_eq!(status.node_state(), NodeState::DiskLow);
//! assert!(!status.is_ready());
//! ```
//!
//! The node decides its state; this module knows the words only.

use std::fmt;

use crate::v1::NodeStatus;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// State of a node. Words are stable: they are wire format, and scripts compare them.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum NodeState {
            $($(#[$doc])* $name,)*
            /// A word that this version does not know, as a newer node sent it. Never ready.
            Other(Box<str>),
        }

        impl NodeState {
            /// Every state that has a word here.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable word: `no_leader`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(text) => text,
                }
            }
        }
    };
}

states! {
    /// Serves everything.
    Ready = "ready";
    /// Consensus has ended on this node: its disk or its data failed.
    Stopped = "stopped";
    /// No leader is known: an election is going on, or a quorum is missing.
    NoLeader = "no_leader";
    /// The cluster has no keys and no policy yet.
    NotInitialized = "not_initialized";
    /// The last confirmation by a quorum is too old.
    NotFresh = "not_fresh";
    /// The process was told to end.
    Stopping = "stopping";
    /// No member of a cluster yet.
    WaitingToBeAdded = "waiting_to_be_added";
    /// The keys of the cluster cannot be opened here.
    KeysSealed = "keys_sealed";
    /// Too little room on the disk to take on new commands.
    DiskLow = "disk_low";
    /// Audit records cannot be written.
    AuditFailing = "audit_failing";
    /// The clock is further from the other members' than tokens allow for.
    ClockOff = "clock_off";
    /// Gives no answer to the node that was asked.
    Unreachable = "unreachable";
}

impl NodeState {
    /// State of a stable word. Total: an unknown one is [`NodeState::Other`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let known = Self::ALL.iter().find(|state| state.as_str() == text);
        known.cloned().unwrap_or_else(|| Self::Other(text.into()))
    }

    /// True when the node serves everything.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// State as its stable word, for the field `state` of the message.
impl From<NodeState> for String {
    fn from(state: NodeState) -> Self {
        state.as_str().to_owned()
    }
}

impl NodeStatus {
    /// State of the node, as the one that was asked knows it.
    #[must_use]
    pub fn node_state(&self) -> NodeState {
        NodeState::parse(&self.state)
    }

    /// True when the node serves everything. The words alone: whether it could be reached is the field `reachable`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.node_state().is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word that was ever released. Rows are added, never changed.
    const WORDS: [&str; 12] = [
        "ready",
        "stopped",
        "no_leader",
        "not_initialized",
        "not_fresh",
        "stopping",
        "waiting_to_be_added",
        "keys_sealed",
        "disk_low",
        "audit_failing",
        "clock_off",
        "unreachable",
    ];

    fn status(state: &str) -> NodeStatus {
        NodeStatus {
            state: state.into(),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn words_never_change_and_each_is_found_again() {
        let words: Vec<&str> = NodeState::ALL.iter().map(NodeState::as_str).collect();
        assert_eq!(words, WORDS);
        for state in NodeState::ALL {
            assert_eq!(NodeState::parse(state.as_str()), *state);
        }
    }

    #[test]
    fn only_ready_is_ready() {
        for state in NodeState::ALL {
            assert_eq!(
                status(state.as_str()).is_ready(),
                *state == NodeState::Ready
            );
        }
    }

    #[test]
    fn a_word_of_a_newer_node_is_kept_and_is_not_ready() {
        for word in ["", "READY", "ready ", "not_invented_yet"] {
            let status = status(word);
            assert_eq!(status.node_state(), NodeState::Other(word.into()));
            assert_eq!(status.node_state().to_string(), word);
            assert!(!status.is_ready(), "`{word}`");
        }
    }
}
