//! Judge for tests of parts that ask nobody who may do what.

use hessra_revocation::UnixMillis;
use hessra_state::{
    Applied, Author, Command, Duty, Judge, Machine, Pending, Refusal, RequestId, Stamped, State,
};

use crate::edge::random_16;

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

/// Applies a command of a node, as a new request.
pub(crate) fn apply(machine: &mut Machine, at: UnixMillis, command: Command) -> Applied {
    let stamped = Stamped {
        at,
        author: Author::Node {
            id: 1,
            duty: Duty::Start,
        },
        request: RequestId(random_16()),
        command,
    };
    machine.apply(&stamped, &Anyone)
}
