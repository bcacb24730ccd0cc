//! The whole path, through the binaries: what a person, a service and an operator see.

mod approvals;
mod audit;
mod catching_up;
mod costs;
mod disks;
mod doors;
mod feed;
mod frozen;
mod gitops;
mod hostile_input;
mod https;
mod key_encryption;
mod keys;
mod leader_loss;
mod membership;
mod names_and_ends;
mod operators;
mod own_tokens;
mod policy;
mod refused_starts;
mod rotations;
mod rules_of_resources;
mod single_use;
mod strangers;
mod verifiers;
mod walk_through;
