//! Streams the containment of one revision: at how many verifiers it is proven applied.

use std::pin::Pin;

use futures::Stream;
use futures::stream::unfold;
use hessra_consensus::ContainmentWatch;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use tonic::{Request, Status};

use super::service::AuthorityService;
use crate::policy::Right;

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
        let permit = self.watches.clone().try_acquire_owned().map_err(|_| {
            Failure::new(Reason::Limit, "too many watches on this node").hint("Ask another node.")
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
        Ok(self.while_permitted(&caller, Right::Read, reports))
    }
}
