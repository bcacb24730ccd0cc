//! Judge for tests of parts that ask nobody who may do what.

use hessra_state::{Judge, Pending, Refusal, Stamped, State};

/// Judge that lets every author do everything.
pub(crate) struct Anyone;

impl Judge for Anyone {
    fn judge(&self, _: &State, stamped: &Stamped) -> Result<String, Refusal> {
        Ok(stamped.author.to_string())
    }

    fn still_asks(&self, _: &State, _: &Pending) -> bool {
        true
    }
}
