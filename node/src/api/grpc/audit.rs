//! The audit of this node, for those with the right `audit:read`: search, tail, export, head.
//!
//! Reading goes over threads for the disk, a bounded number at a time, and costs a bounded amount: a page, a chunk, a
//! stream that ends. An export has a record of its own, before its first line.

use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use hessra_audit::{Event, Filter, Outcome, Record};
use hessra_consensus::audit::{AuditLog as _, Written};
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1;
use hessra_proto::v1::audit_server::{Audit, AuditServer};
use hessra_revocation::KeyPurpose;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::caller::Caller;
use super::places::{Place, PlaceLimits, Places};
use super::service::{Answer, AuthorityService};
use crate::audit::Auditor;
use crate::audit::read::{Cursor, Found, Page, Reader};
use crate::policy::Right;

/// Records of one page, and of the beginning of a tail.
const PAGE_MAX: usize = 1_000;
/// Records of a page when the request names no number.
const PAGE_DEFAULT: usize = 100;
/// Searches, tails and exports of one node at a time: each has a chunk or a segment in memory.
const READERS: PlaceLimits = PlaceLimits {
    all: 16,
    per_caller: 8,
    kept: 0,
};
/// Longest time for which a tail lasts.
const TAIL_MAX: Duration = Duration::from_secs(3_600);

type Lines = Pin<Box<dyn Stream<Item = Result<v1::AuditLines, Status>> + Send>>;

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct AuditService {
    authority: AuthorityService,
    auditor: Auditor,
    node: u64,
    readers: Places,
}

impl AuditService {
    /// The service around the audit of this node.
    pub(super) fn server(authority: AuthorityService, auditor: Auditor) -> AuditServer<Self> {
        let node = authority.consensus.raft().identity().id;
        AuditServer::new(Self {
            authority,
            auditor,
            node,
            readers: Places::new(READERS),
        })
    }

    /// The caller, when it may read the audit.
    fn permitted<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        let caller = self.authority.caller(request)?;
        caller.may(Right::Audit, None)?;
        Ok(caller)
    }

    fn place(&self, caller: &Caller) -> Result<Place, Status> {
        let place = self.readers.take(&caller.identity, true);
        Ok(place.map_err(|none| {
            Failure::new(Reason::Limit, format!("no reader of the audit: {none}"))
                .hint("End some of them, try again later, or ask another node.")
                .retry_after(Duration::from_secs(1))
        })?)
    }

    async fn page(&self, filter: Filter, before: u64, limit: usize) -> Result<Page, Status> {
        let reader = self.auditor.reader();
        on_disk(move || reader.search(&filter, before, limit)).await
    }

    /// Records the export before its first line leaves.
    async fn record_export(
        &self,
        caller: &Caller,
        request: &v1::ExportAuditRequest,
    ) -> Result<(), Status> {
        let mut record: Record = self
            .auditor
            .record(Event::AuditExported, Outcome::Success)
            .with("from", request.from)
            .with("conditions", request.conditions.join(" "));
        caller.context.noted().fill(&mut record);
        record.action = "export".to_owned();
        record.target.r#type = "audit".to_owned();
        let written = self.auditor.write(record).await;
        Ok(written.map_err(Failure::from)?)
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
        let _place = self.place(&caller)?;
        let request = request.into_inner();
        let limit = match request.limit as usize {
            0 => PAGE_DEFAULT,
            limit => limit.min(PAGE_MAX),
        };
        let filter = filter(&request.conditions)?;
        let page = self.page(filter, request.before, limit).await?;
        Ok(Response::new(v1::SearchAuditResponse {
            node: self.node,
            lines: page.found.into_iter().map(|found| found.line).collect(),
            before: page.before,
        }))
    }

    async fn tail_audit(&self, request: Request<v1::TailAuditRequest>) -> Answer<Lines> {
        let caller = self.permitted(&request)?;
        let place = self.place(&caller)?;
        let request = request.into_inner();
        let filter = filter(&request.conditions)?;
        let reader = self.auditor.reader();
        let head = reader.written().borrow().head.seq;
        let last = (request.last as usize).min(PAGE_MAX);
        let newest = match (last, request.from) {
            (0, _) | (_, 1..) => Page::default(),
            (last, 0) => self.page(filter.clone(), head + 1, last).await?,
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
        let reading = Reading::new(self.node, &reader, from, filter, until, place);
        let lines = reading.stream(lines);
        let lines = self.authority.while_permitted(&caller, Right::Audit, lines);
        Ok(Response::new(lines))
    }

    async fn export_audit(&self, request: Request<v1::ExportAuditRequest>) -> Answer<Lines> {
        let caller = self.permitted(&request)?;
        let place = self.place(&caller)?;
        let request = request.into_inner();
        let filter = filter(&request.conditions)?;
        self.record_export(&caller, &request).await?;
        let reader = self.auditor.reader();
        let head = reader.written().borrow().head.seq;
        let until = Until::Head(head);
        let mut reading = Reading::new(self.node, &reader, request.from, filter, until, place);
        reading.as_ocsf = request.format() == v1::AuditFormat::Ocsf;
        let lines = reading.stream(Vec::new());
        let lines = self.authority.while_permitted(&caller, Right::Audit, lines);
        Ok(Response::new(lines))
    }

    async fn audit_head(
        &self,
        request: Request<v1::AuditHeadRequest>,
    ) -> Answer<v1::AuditHeadResponse> {
        self.permitted(&request)?;
        let Written {
            head,
            next,
            failing,
            ..
        } = self.auditor.written().borrow().clone();
        let state = self.authority.consensus.state();
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
    _place: Place,
}

impl Reading {
    fn new(
        node: u64,
        reader: &Reader,
        from: u64,
        filter: Filter,
        until: Until,
        place: Place,
    ) -> Self {
        Self {
            node,
            cursor: reader.cursor(from),
            written: reader.written(),
            filter,
            until,
            as_ocsf: false,
            _place: place,
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
