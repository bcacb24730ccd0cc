//! The token that a command is given.

use crate::context::Context;
use crate::failure::Outcome;
use crate::tokens::{self, GivenToken};

pub(super) fn given(context: &Context, argument: Option<&str>) -> Outcome<GivenToken> {
    match argument {
        Some(argument) => tokens::read(context, argument),
        None => tokens::read_default(context),
    }
}
