//! Conversions between messages and the types of the product, for the crates that share them.
//!
//! Towards the wire a conversion cannot fail. From the wire it is strict: a field of the wrong length, an unknown
//! number or too many of something is an error with a sentence, never a default. The meaning of a message (signatures,
//! order, freshness) is not decided here but in `hessra_revocation`.

mod checkpoint;
mod downstream;
mod error;
mod target;
mod upstream;

pub use downstream::to_downstream;
pub use error::ConvertError;
pub use upstream::{
    Acknowledgement, Greeting, OBSERVER, PROCESS, VerifierId, VerifierMessage, process_capability,
};
