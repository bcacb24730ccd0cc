//! Policy: who may have which token, and which operator may do what.
//!
//! A policy is two texts of the replicated state, `clients.toml` and `resources.toml` in the published format, with
//! operators, lifetimes, shapes and limits added. [`PolicyView::parse`] reads and checks them, or says everything that is
//! wrong with them at once; after that all is a pure yes or no with a reason.
//!
//! ```
//! use hessra_policy::PolicyView;
//! use hessra_revocation::Identity;
//! let clients = r#"
//! [[clients]]
//! identifier = { type = "san_uri", value = "uri:urn:hessra:alice" }
//! resources = [{ name = "api", operations = ["read"] }]
//! "#;
//! let policy = PolicyView::parse(clients, "")?;
//! assert!(policy.authorize(&Identity::parse("urn:hessra:alice")?, "api", "read").is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Rights go down, never up: what an identity may not do, nothing below it may do either. The effective rights of an
//! actor are the intersection over its entry, the entries of all its ancestors, and, inside a realm (a client with a
//! `domain`), the role of every identity on the way down. A policy that gives a delegate what its parent lacks is not
//! loaded, rather than silently cut.
//!
//! Nothing here reads a file, a clock or a socket, so the node that enforces a policy and the command line that checks it
//! before it is applied cannot disagree.

mod denied;
mod difference;
mod explain;
mod guard;
mod load;
mod names;
mod operator;
mod realm;
mod resource;
mod rights;
pub mod structure;
mod verifier;
mod view;

pub use denied::Denied;
pub use difference::{Difference, RightsChange, SettingChange, difference};
pub use explain::{Explanation, Step};
pub use guard::{Lockout, Weakening, lockouts, shortages, weakenings};
pub use hessra_settings::{PROBLEMS_MAX, Problem, Problems as PolicyError, nearest};
pub use names::{is_named, without_scheme};
pub use operator::{NotPermitted, Operator, Right};
pub use resource::{ChainNode, OperationRules, Resource, ResourceKind, Signer, TokenShape};
pub use view::{Client, Limits, PolicyView, Principal, ProvenNames, RefreshBounds};

/// Name of the first text in errors.
pub const CLIENTS_FILE: &str = "clients.toml";
/// Name of the second text in errors.
pub const RESOURCES_FILE: &str = "resources.toml";
