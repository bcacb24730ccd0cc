//! The part of etcd's protocol that is compared with.
// Generated: what a field is for is said in the proto file.
#![allow(missing_docs, clippy::all, unreachable_pub)]

include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
