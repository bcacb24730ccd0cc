//! Streams the containment of one revision: at how many verifiers it is proven applied.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use hessra_consensus::ContainmentWatch;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use tonic::{Request, Status};

use super::goodbye::{goodbye_of, until_goodbye};
use super::service::AuthorityService;
use crate::policy::Right;

/// Time after which a watch for which there was no answer may be asked for again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Reports = Pin<Box<dyn Stream<Item = Result<v1::AppliedProgress, Status>> + Send>>;

impl AuthorityService {
    pub(super) fn watch(
        &self,
        request: &Request<v1::WatchAppliedRequest>,
    ) -> Result<Reports, Status> {
        let caller = self.caller(request)?;
        caller.may(Right::Read, None)?;
        let wanted = *request.get_ref();
        if !(0.0..=1.0).contains(&wanted.fraction) {
            let message = format!("a share is between 0 and 1, not {}", wanted.fraction);
            return Err(Failure::new(Reason::InvalidArgument, message).into());
        }
        let revokes = caller.has(Right::Revoke);
        let permit = self.watches.take(&caller.identity, revokes);
        let permit = permit.map_err(|none| {
            Failure::new(Reason::Limit, format!("no watch: {none}"))
                .hint("End some of them, or ask another node.")
                .retry_after(RETRY_AFTER)
        })?;
        let watch = ContainmentWatch::begin(
            self.consensus.clone(),
            self.feed.clone(),
            wanted,
            caller.context.actor(),
        );
        let reports: Reports = Box::pin(unfold((watch, permit), |(mut watch, permit)| async {
            let report = watch.next().await?;
            Some((Ok(report), (watch, permit)))
        }));
        let reports = until_goodbye(goodbye_of(request), reports);
        Ok(self.while_permitted(&caller, Right::Read, reports))
    }
}
