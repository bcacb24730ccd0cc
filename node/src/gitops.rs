//! Follows a git repository: its newest commit is the policy.
//!
//! ```text
//! look: fetch ─ two files out of the commit ─ compare with what stands ─ signature ─ parse ─ leader: apply ─ say how it went
//! ```
//! Every node that is told to follow looks, so that each can say whether what stands is what the repository says; only
//! the leader applies. Applying is a compare-and-set with the commit in the history, and texts that stand already change
//! nothing, so two leaders that follow each other, or a look that is repeated, apply a commit once. Nothing is ever
//! applied in part: both files of one commit, checked, or neither.
//!
//! The signature says for which cluster and branch a commit is, is made lately, and its key is valid now: a signed commit of
//! another branch, one that was given up, and one of a key that has ended are refused, whoever pushes them.
//!
//! A commit that does not descend from the one applied last is refused unless the settings allow it: anyone who can
//! push could otherwise bring an old policy back. What an operator applied by hand is drift: it is reported, and stays
//! until a new commit comes, unless the settings say that drift is corrected.

mod decide;
mod follow;
mod process;
mod repository;
mod signed;
#[cfg(test)]
mod tests;

pub use follow::Following;
pub use repository::GitError;
