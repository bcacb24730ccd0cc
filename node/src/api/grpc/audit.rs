//! The audit of this node, for those with the right `audit:read`: search, tail, export, head.
//!
//! Reading goes over threads for the disk, a bounded number at a time, and costs a bounded amount: a page, a chunk, a
//! stream that ends. An export has a record of its own, before its first line, and another one in its chain when the
//! caller has kept all of it.

use std::pin::Pin;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures::Stream;
use futures::stream::unfold;
use hessra_audit::marks::field as mark;
use hessra_audit::{Chain, Event, Filter, Outcome, Record};
use hessra_consensus::audit::Written;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_proto::v1::audit_server::{Audit, AuditServer};
use hessra_revocation::KeyPurpose;
use hessra_state::{Applied, Command, Witnessed};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::goodbye::{goodbye_of, until_goodbye};
use super::long::{LongAnswer, LongAnswers, LongLimits};
use super::service::{Answer, AuthorityService};
use super::target::{other_request, refused, request_id};
use crate::audit::read::{Cursor, Found, Page, Reader};
use crate::audit::{Auditor, Exported};
use crate::policy::Right;

/// Records of one page, and of the beginning of a tail.
const PAGE_MAX: usize = 1_000;
/// Records of a page when the request names no number.
const PAGE_DEFAULT: usize = 100;
/// Searches, tails and exports of one node at a time: each has a chunk or a segment in memory. A tail of both chains is
/// two.
const READERS: LongLimits = LongLimits {
    all: 32,
    per_caller: 12,
    kept: 0,
};
/// Longest time for which a reader waits for records that are being written.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);
/// Longest time for which a tail lasts.
const TAIL_MAX: Duration = Duration::from_secs(3_600);

type Lines = Pin<Box<dyn Stream<Item = Result<v1::AuditLines, Status>> + Send>>;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct AuditService {
    authority: AuthorityService,
    auditor: Auditor,
    node: u64,
    readers: LongAnswers,
}

impl AuditService {
    /// The service around the audit of this node.
    pub(super) fn server(authority: AuthorityService, auditor: Auditor) -> AuditServer<Self> {
        let node = authority.consensus.raft().identity().id;
        AuditServer::new(Self {
            authority,
            auditor,
            node,
            readers: LongAnswers::new(READERS),
        })
    }

    /// The caller, when it may read the audit.
    fn permitted<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.authority.caller(request)?;
        caller.may(Right::Audit, None)?;
        Ok(caller)
    }

    /// Waits for the records of all that is applied here: who was answered and asks finds the record. An audit that cannot be written is
    /// read as it is.
    async fn catch_up(&self) {
        let consensus = &self.authority.consensus;
        let applied = consensus.raft().applied_index();
        let _ = consensus
            .audit()
            .covers(applied, Instant::now() + CATCH_UP_MAX)
            .await;
    }

    fn begin(&self, caller: &Caller) -> Result<LongAnswer, Status> {
        let answer = self.readers.take(&caller.identity, true);
        Ok(answer.map_err(|none| {
            Failure::new(Reason::Limit, format!("no reader of the audit: {none}"))
                .hint("End some of them, try again later, or ask another node.")
                .retry_after(Duration::from_secs(1))
        })?)
    }

    async fn page(
        &self,
        chain: Chain,
        filter: Filter,
        before: u64,
        limit: usize,
    ) -> Result<Page, Status> {
        let reader = self.auditor.reader(chain);
        on_disk(move || reader.search(&filter, before, limit)).await
    }

    /// Records the export before its first line leaves.
    async fn record_export(
        &self,
        caller: &Caller,
        request: &v1::ExportAuditRequest,
    ) -> Result<(), Status> {
        if !self.auditor.may_export() {
            let failure = Failure::new(Reason::Limit, "too many exports on this node a second");
            let failure = failure.hint("Try again later: each export has a record of its own.");
            return Err(failure.retry_after(Duration::from_secs(1)).into());
        }
        let mut record: Record = self
            .auditor
            .record(Event::AuditExported, Outcome::Success)
            .with("from", request.from)
            .with("chain", chain(request.chain()).as_str())
            .with("conditions", request.conditions.join(" "));
        caller.context.noted().fill(&mut record);
        record.action = "export".to_owned();
        record.target.r#type = "audit".to_owned();
        let written = self.auditor.write(record).await;
        Ok(written.map_err(Failure::from)?)
    }

    /// Checks that the caller names the record that this node has.
    async fn check_kept(&self, request: &v1::ConfirmExportRequest) -> Result<(), Status> {
        let reader = self.auditor.reader(chain(request.chain()));
        let seq = request.through;
        let line = on_disk(move || reader.line(seq)).await?;
        let line = line.and_then(|line| hessra_audit::open(&line).ok());
        if line.is_some_and(|line| line.head.hex() == request.hash) {
            return Ok(());
        }
        let message = format!("record {seq} of this node is another one");
        Err(Failure::new(Reason::InvalidArgument, message)
            .hint("Verify the export: `hessra audit verify FILE`.")
            .into())
    }

    /// The record of an export that its caller has kept.
    fn kept_record(&self, caller: &Caller, request: &v1::ConfirmExportRequest) -> Record {
        let record = self.auditor.record(Event::AuditExported, Outcome::Success);
        let mut record = record
            .with("from", request.from)
            .with(mark::THROUGH, request.through)
            .with(mark::HASH, request.hash.clone());
        caller.context.noted().fill(&mut record);
        record.action = "confirm_export".to_owned();
        record.target.r#type = "audit".to_owned();
        record
    }
}

#[tonic::async_trait]
impl Audit for AuditService {
    type TailAuditStream = Lines;
    type ExportAuditStream = Lines;

    async fn search_audit(
        &self,
        request: Request<v1::SearchAuditRequest>,
    ) -> Answer<v1::SearchAuditResponse> {
        let caller = self.permitted(&request)?;
        let _answer = self.begin(&caller)?;
        let request = request.into_inner();
        let limit = match request.limit as usize {
            0 => PAGE_DEFAULT,
            limit => limit.min(PAGE_MAX),
        };
        let filter = filter(&request.conditions)?;
        let chain = chain(request.chain());
        self.catch_up().await;
        let page = self.page(chain, filter, request.before, limit).await?;
        Ok(Response::new(v1::SearchAuditResponse {
            node: self.node,
            lines: page.found.into_iter().map(|found| found.line).collect(),
            before: page.before,
        }))
    }

    async fn tail_audit(&self, request: Request<v1::TailAuditRequest>) -> Answer<Lines> {
        let caller = self.permitted(&request)?;
        let answer = self.begin(&caller)?;
        let goodbye = goodbye_of(&request);
        let request = request.into_inner();
        let filter = filter(&request.conditions)?;
        let chain = chain(request.chain());
        self.catch_up().await;
        let reader = self.auditor.reader(chain);
        let head = reader.written().borrow().head.seq;
        let last = (request.last as usize).min(PAGE_MAX);
        let newest = match (last, request.from) {
            (0, _) | (_, 1..) => Page::default(),
            (last, 0) => self.page(chain, filter.clone(), head + 1, last).await?,
        };
        let mut lines: Vec<String> = newest.found.into_iter().map(|found| found.line).collect();
        lines.reverse();
        let until = match request.follow {
            true => Until::Later(Instant::now() + TAIL_MAX),
            false => Until::Head(head),
        };
        let from = if request.from > 0 {
            request.from
        } else {
            head + 1
        };
        let reading = Reading::new(self.node, &reader, from, filter, until, answer);
        let lines = reading.stream(lines);
        let lines = until_goodbye(goodbye, lines);
        let lines = self.authority.while_permitted(&caller, Right::Audit, lines);
        Ok(Response::new(lines))
    }

    async fn export_audit(&self, request: Request<v1::ExportAuditRequest>) -> Answer<Lines> {
        let caller = self.permitted(&request)?;
        let answer = self.begin(&caller)?;
        let request = request.into_inner();
        let filter = filter(&request.conditions)?;
        self.record_export(&caller, &request).await?;
        self.catch_up().await;
        let reader = self.auditor.reader(chain(request.chain()));
        let head = reader.written().borrow().head.seq;
        let until = Until::Head(head);
        let mut reading = Reading::new(self.node, &reader, request.from, filter, until, answer);
        reading.as_ocsf = request.format() == v1::AuditFormat::Ocsf;
        let lines = reading.stream(Vec::new());
        let lines = self.authority.while_permitted(&caller, Right::Audit, lines);
        Ok(Response::new(lines))
    }

    async fn confirm_export(
        &self,
        request: Request<v1::ConfirmExportRequest>,
    ) -> Answer<v1::ConfirmExportResponse> {
        let caller = self.permitted(&request)?;
        let _answer = self.begin(&caller)?;
        let request = request.into_inner();
        self.check_kept(&request).await?;
        if !self.auditor.may_export() {
            return Err(
                Failure::new(Reason::Limit, "too many exports on this node a second")
                    .hint("Try again in a second.")
                    .retry_after(Duration::from_secs(1))
                    .into(),
            );
        }
        let exported = Exported {
            chain: chain(request.chain()),
            from: request.from,
            through: request.through,
        };
        let record = self.kept_record(&caller, &request);
        let through = self.auditor.exported(record, exported).await;
        Ok(Response::new(v1::ConfirmExportResponse {
            exported_through: through.map_err(Failure::from)?,
        }))
    }

    async fn accept_audit_loss(
        &self,
        request: Request<v1::AcceptAuditLossRequest>,
    ) -> Answer<v1::AcceptAuditLossResponse> {
        let caller = self.authority.caller(&request)?;
        caller.may(Right::Cluster, None)?;
        let deadline = self.authority.deadline(&request);
        let request = request.into_inner();
        let (id, node) = (request_id(&request.request_id)?, request.node);
        let command = Command::AcceptAuditLoss {
            node,
            ticket: request.ticket,
        };
        let proposed = self
            .authority
            .propose_unrecorded(&caller, command, id, deadline);
        match proposed.await?.applied {
            Applied::AuditLossAccepted { chains } => {
                tracing::warn!(node, by = caller.identity, "loss of an audit accepted");
                Ok(Response::new(v1::AcceptAuditLossResponse { chains }))
            }
            Applied::Refused(refusal) => Err(refused(refusal).into()),
            _ => Err(other_request()),
        }
    }

    async fn audit_head(
        &self,
        request: Request<v1::AuditHeadRequest>,
    ) -> Answer<v1::AuditHeadResponse> {
        self.permitted(&request)?;
        let chain = chain(request.get_ref().chain());
        self.catch_up().await;
        let Written {
            head,
            next,
            failing,
            ..
        } = self.auditor.written_of(chain).borrow().clone();
        let state = self.authority.consensus.state();
        let witnessed = state.witnessed().iter().map(witnessed).collect();
        let keys = state.keys().values();
        let keys = keys
            .filter(|key| key.purpose == KeyPurpose::Audit)
            .map(|key| v1::AuditKey {
                id: key.id,
                public_key: key.public_key.to_vec(),
            });
        Ok(Response::new(v1::AuditHeadResponse {
            node: self.node,
            seq: head.seq,
            hash: head.hex(),
            next_index: next,
            failing: failing.map(|error| error.to_string()).unwrap_or_default(),
            keys: keys.collect(),
            witnessed,
        }))
    }
}

/// End of a stream.
#[derive(Clone, Copy)]
enum Until {
    /// The last record of the stream.
    Head(u64),
    /// The moment at which the stream ends.
    Later(Instant),
}

/// One stream of records.
struct Reading {
    node: u64,
    cursor: Cursor,
    written: watch::Receiver<Written>,
    filter: Filter,
    until: Until,
    as_ocsf: bool,
    _answer: LongAnswer,
}

impl Reading {
    fn new(
        node: u64,
        reader: &Reader,
        from: u64,
        filter: Filter,
        until: Until,
        answer: LongAnswer,
    ) -> Self {
        Self {
            node,
            cursor: reader.cursor(from),
            written: reader.written(),
            filter,
            until,
            as_ocsf: false,
            _answer: answer,
        }
    }

    /// Streams these lines, then everything from the cursor on.
    fn stream(self, first: Vec<String>) -> Lines {
        let node = self.node;
        let begin = (Some(self), Some(first));
        let lines = unfold(begin, move |(reading, first)| async move {
            if let Some(lines) = first.filter(|lines| !lines.is_empty()) {
                return Some((Ok(v1::AuditLines { node, lines }), (reading, None)));
            }
            let (reading, lines) = reading?.next().await?;
            let lines = lines.map(|lines| v1::AuditLines { node, lines });
            Some((lines, (reading, None)))
        });
        Box::pin(lines)
    }

    /// The next lines, and what comes after them; `None` at the end.
    async fn next(mut self) -> Option<(Option<Self>, Result<Vec<String>, Status>)> {
        loop {
            self.written.mark_unchanged();
            let mut cursor = self.cursor;
            let read = on_disk(move || {
                let found = cursor.read();
                found.map(|found| (cursor, found))
            });
            let (cursor, found) = match read.await {
                Ok(read) => read,
                Err(status) => return Some((None, Err(status))),
            };
            self.cursor = cursor;
            let ended = self.has_ended(&found);
            let lines = self.wanted(found);
            if !lines.is_empty() {
                let rest = (!ended).then_some(self);
                return Some((rest, Ok(lines)));
            }
            if ended || !self.more().await {
                return None;
            }
        }
    }

    fn has_ended(&self, found: &[Found]) -> bool {
        match (self.until, found.last()) {
            (Until::Head(head), Some(last)) => last.seq >= head,
            (Until::Head(_), None) => true,
            (Until::Later(_), _) => false,
        }
    }

    fn wanted(&self, found: Vec<Found>) -> Vec<String> {
        let within = |found: &Found| match self.until {
            Until::Head(head) => found.seq <= head,
            Until::Later(_) => true,
        };
        let wanted = found.into_iter().filter(within);
        wanted.filter_map(|found| self.shown(found.line)).collect()
    }

    fn shown(&self, line: String) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(&line).ok()?;
        if !self.filter.matches(&value) {
            return None;
        }
        if !self.as_ocsf {
            return Some(line);
        }
        let hash = value.get("hash").and_then(|hash| hash.as_str());
        let hash = hash.unwrap_or_default().to_owned();
        let record: Record = serde_json::from_value(value).ok()?;
        Some(hessra_audit::ocsf::event(&record, &hash).to_string())
    }

    /// Waits for records to come; false when the stream is over.
    async fn more(&mut self) -> bool {
        match self.until {
            // What was read held nothing that is wanted: there is more before the head.
            Until::Head(_) => true,
            Until::Later(deadline) => {
                let changed = timeout_at(deadline, self.written.changed()).await;
                matches!(changed, Ok(Ok(())))
            }
        }
    }
}

fn chain(wire: v1::AuditChain) -> Chain {
    match wire {
        v1::AuditChain::Changes => Chain::Changes,
        v1::AuditChain::Refusals => Chain::Refusals,
    }
}

fn witnessed(known: &Witnessed) -> v1::WitnessedHead {
    let former = known.former.as_ref();
    v1::WitnessedHead {
        node: known.name.node,
        chain: known.name.chain.clone(),
        chain_id: HEXLOWER.encode(&known.head.id),
        seq: known.head.seq,
        hash: HEXLOWER.encode(&known.head.hash),
        key: known.key.to_vec(),
        at_ms: known.at.0,
        loss_accepted: known.loss_accepted,
        former_seq: former.map_or(0, |former| former.seq),
        former_chain_id: former.map_or_else(String::new, |former| HEXLOWER.encode(&former.id)),
    }
}

fn filter(conditions: &[String]) -> Result<Filter, Status> {
    let parsed = Filter::parse(conditions);
    Ok(parsed.map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()))?)
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let failed = |reason: String| {
        tracing::error!(reason, "audit not read");
        Failure::new(Reason::Internal, "this node cannot read its audit")
            .hint("Its log says why; other nodes answer.")
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| failed(error.to_string()))?;
    Ok(done.map_err(|error| failed(error.to_string()))?)
}
