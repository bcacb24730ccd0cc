//! Deliberate bugs for the simulation; see [`hessra_sled::plant`]. No release build has them.

pub use hessra_sled::plant::{AVAILABLE, Plant, UnknownPlant, is_planted, plant};
