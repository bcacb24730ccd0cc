//! A cluster in one process: real store, real consensus, real gRPC over loopback, without TLS and processes.

mod cluster;
mod cut;
mod feed;
mod harness;
mod members;
mod overload;
mod peers;
