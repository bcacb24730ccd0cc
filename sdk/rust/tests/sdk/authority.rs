//! The client for operators against servers that fail in chosen ways.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use hessra_proto::status::{Failure, Reason};
use hessra_proto::v1::authority_server::{Authority as Service, AuthorityServer};
use hessra_proto::v1::*;
use hessra_sdk_rust::{Authority, Connection, Credentials, IdentityClient, Servers, Trust};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::node::Certificates;

/// Fake server: answers the writes it gets with these failures first, then serves.
#[derive(Clone, Default)]
struct Fake {
    failures: Arc<Mutex<Vec<Failure>>>,
    request_ids: Arc<Mutex<Vec<Vec<u8>>>>,
    nodes: Vec<NodeStatus>,
}

impl Fake {
    fn failing(reasons: impl IntoIterator<Item = Reason>) -> Self {
        let failures = reasons
            .into_iter()
            .map(|reason| Failure::new(reason, "as the test wants it"));
        Self {
            failures: Arc::new(Mutex::new(failures.collect())),
            ..Self::default()
        }
    }

    fn fail(&self) -> Result<(), Status> {
        self.failures
            .lock()
            .expect("lock")
            .pop()
            .map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn seen(&self) -> Vec<Vec<u8>> {
        self.request_ids.lock().expect("lock").clone()
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn absent<T>() -> Answer<T> {
    Err(Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl Service for Fake {
    type WatchAppliedStream =
        std::pin::Pin<Box<dyn futures::Stream<Item = Result<AppliedProgress, Status>> + Send>>;

    async fn revoke(&self, request: Request<RevokeRequest>) -> Answer<RevokeResponse> {
        self.request_ids
            .lock()
            .expect("lock")
            .push(request.into_inner().request_id);
        self.fail()?;
        let item = RevokedItem {
            id: "rv_7".into(),
            revision: 7,
            already: false,
        };
        Ok(Response::new(RevokeResponse {
            items: vec![item],
            ..RevokeResponse::default()
        }))
    }
    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        self.fail()?;
        Ok(Response::new(StatusResponse {
            nodes: self.nodes.clone(),
            ..StatusResponse::default()
        }))
    }
    async fn watch_applied(
        &self,
        request: Request<WatchAppliedRequest>,
    ) -> Answer<Self::WatchAppliedStream> {
        assert_eq!(request.into_inner().revision, 7);
        let progress = |applied| AppliedProgress {
            enrolled: 2,
            applied,
            done: applied == 2,
            ..Default::default()
        };
        let steps = [Ok(progress(1)), Ok(progress(2))];
        Ok(Response::new(futures::stream::iter(steps).boxed()))
    }
    async fn add_member(&self, _: Request<AddMemberRequest>) -> Answer<MembershipResponse> {
        self.request_ids.lock().expect("lock").push(Vec::new());
        self.fail()?;
        Ok(Response::new(MembershipResponse::default()))
    }
    async fn preview_revoke(&self, _: Request<RevokeRequest>) -> Answer<PreviewResponse> {
        absent()
    }
    async fn undo(&self, _: Request<UndoRequest>) -> Answer<UndoResponse> {
        absent()
    }

    async fn lift(&self, _: Request<LiftRequest>) -> Answer<LiftResponse> {
        absent()
    }
    async fn list_revocations(
        &self,
        _: Request<ListRevocationsRequest>,
    ) -> Answer<ListRevocationsResponse> {
        absent()
    }
    async fn show_revocation(&self, _: Request<ShowRevocationRequest>) -> Answer<RevocationInfo> {
        absent()
    }
    async fn check(&self, _: Request<CheckRequest>) -> Answer<CheckResponse> {
        absent()
    }
    async fn verifiers(&self, _: Request<VerifiersRequest>) -> Answer<VerifiersResponse> {
        absent()
    }
    async fn promote_member(&self, _: Request<PromoteMemberRequest>) -> Answer<MembershipResponse> {
        absent()
    }
    async fn remove_member(&self, _: Request<RemoveMemberRequest>) -> Answer<MembershipResponse> {
        absent()
    }
    async fn transfer_leadership(
        &self,
        _: Request<TransferLeadershipRequest>,
    ) -> Answer<MembershipResponse> {
        absent()
    }
    async fn set_clock_back(
        &self,
        _: Request<SetClockBackRequest>,
    ) -> Answer<SetClockBackResponse> {
        absent()
    }
}

async fn start(fake: Fake, certificates: &Certificates) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = ServerTlsConfig::new().identity(certificates.server.clone());
    let mut server = Server::builder().tls_config(tls).expect("tls");
    let serving = server.add_service(AuthorityServer::new(fake));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn client(certificates: &Certificates, servers: &[SocketAddr]) -> Authority {
    Authority::new(connection(certificates, servers).timeout(Duration::from_secs(5)))
}

fn connection(certificates: &Certificates, servers: &[SocketAddr]) -> Connection {
    let servers = Servers::parse(servers.iter().map(ToString::to_string), 443).expect("addresses");
    let trust = Trust::pem(certificates.ca.clone()).expect("a certificate");
    Connection::new(servers, trust)
}

#[tokio::test]
async fn a_write_is_tried_at_the_next_server_with_the_same_request_id() {
    let certificates = Certificates::new();
    let (first, second) = (Fake::failing([Reason::Unavailable]), Fake::default());
    let servers = [
        start(first.clone(), &certificates).await,
        start(second.clone(), &certificates).await,
    ];
    let answer = client(&certificates, &servers)
        .revoke(RevokeRequest::default())
        .await
        .expect("served");
    assert_eq!(answer.items[0].id, "rv_7");
    assert_eq!(first.seen(), second.seen());
    assert_eq!(first.seen()[0].len(), 16);
}

#[tokio::test]
async fn a_request_id_that_the_caller_chose_is_kept() {
    let certificates = Certificates::new();
    let fake = Fake::default();
    let server = start(fake.clone(), &certificates).await;
    let request = RevokeRequest {
        request_id: vec![5; 16],
        ..RevokeRequest::default()
    };
    client(&certificates, &[server])
        .revoke(request)
        .await
        .expect("served");
    assert_eq!(fake.seen(), [vec![5; 16]]);
}

#[tokio::test]
async fn a_write_that_nobody_confirms_has_an_unknown_outcome_and_is_asked_for_again_under_its_id() {
    let certificates = Certificates::new();
    let fake = Fake::failing([Reason::Deadline; 1_000]);
    let server = start(fake.clone(), &certificates).await;
    let impatient = connection(&certificates, &[server]).timeout(Duration::from_millis(300));
    let error = Authority::new(impatient)
        .revoke(RevokeRequest::default())
        .await
        .expect_err("nobody confirms");
    let id = error.outcome_unknown().expect("the id of the request");
    assert!(error.message.contains(&id.to_string()), "{error}");
    assert!(error.hint.contains(&id.to_string()), "{error}");
    assert_eq!(error.heard(), "as the test wants it");
    assert_eq!((error.reason, error.exit_code()), (Reason::Deadline, 8));
    fake.failures.lock().expect("lock").clear();
    let again = client(&certificates, &[server]).under(id);
    let request = RevokeRequest {
        request_id: vec![5; 16],
        ..RevokeRequest::default()
    };
    again.revoke(request).await.expect("served");
    let seen = fake.seen();
    assert!(seen.len() > 1 && seen.iter().all(|seen| *seen == id.0));
}

#[tokio::test]
async fn an_outcome_is_known_when_nothing_was_sent_or_a_server_refused() {
    let certificates = Certificates::new();
    let failures = [Reason::NotPermitted, Reason::Deadline];
    let server = start(Fake::failing(failures), &certificates).await;
    let refused = client(&certificates, &[server])
        .revoke(RevokeRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(refused.reason, Reason::NotPermitted);
    assert_eq!(refused.outcome_unknown(), None);
    assert!(refused.request_id().is_some());
    let without_leader = start(Fake::failing([Reason::NoLeader; 1_000]), &certificates).await;
    // Takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().map(|address| (silent, address));
    let (_listening, silent) = silent.expect("an address");
    for server in [without_leader, silent] {
        let impatient = connection(&certificates, &[server]).timeout(Duration::from_millis(300));
        let error = Authority::new(impatient)
            .revoke(RevokeRequest::default())
            .await
            .expect_err("not done");
        assert_eq!(error.outcome_unknown(), None, "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_named_before_anybody_is_asked() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().expect("a folder");
    let files = ["crt", "key"].map(|kind| folder.path().join(format!("me.{kind}")));
    let cases = [
        (2019, 2020, "ended at 2020-01-01T00:00:00Z", "Get a new one"),
        (
            4000,
            4001,
            "is not valid before 4000-01-01T00:00:00Z",
            "clock",
        ),
    ];
    for (from, until, expected, hint) in cases {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.self_signed(&key).expect("signed");
        std::fs::write(&files[0], certificate.pem()).expect("written");
        std::fs::write(&files[1], key.serialize_pem()).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&files[1], private).expect("set");
        let own = Credentials::files(&files[0], &files[1]).expect("credentials");
        // Nobody is there to be asked.
        let nobody = "127.0.0.1:1".parse().expect("an address");
        let connection = connection(&certificates, &[nobody]).credentials(own);
        let https = IdentityClient::new(connection.clone()).expect("a client");
        let errors = [
            Authority::new(connection)
                .status()
                .await
                .expect_err(expected),
            https
                .request_identity_token(None)
                .await
                .expect_err(expected),
        ];
        for error in errors {
            assert_eq!(error.reason, Reason::Unauthenticated, "{error}");
            let path = files[0].display().to_string();
            assert!(
                error.message.contains(&path) && error.message.contains(expected),
                "{error}"
            );
            assert!(error.hint.contains(hint), "{error}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_not_taken_elsewhere() {
    let certificates = Certificates::new();
    let (first, second) = (Fake::failing([Reason::NotPermitted]), Fake::default());
    let servers = [
        start(first.clone(), &certificates).await,
        start(second.clone(), &certificates).await,
    ];
    let error = client(&certificates, &servers)
        .revoke(RevokeRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(error.reason, Reason::NotPermitted);
    assert_eq!(error.server, Some(servers[0].to_string()));
    assert!(second.seen().is_empty());
}

#[tokio::test]
async fn a_change_of_members_is_repeated_only_when_it_certainly_did_not_happen() {
    let certificates = Certificates::new();
    let (first, second) = (
        Fake::failing([Reason::Unavailable]),
        Fake::failing([Reason::NoLeader]),
    );
    let servers = [
        start(first.clone(), &certificates).await,
        start(second.clone(), &certificates).await,
    ];
    let error = client(&certificates, &servers)
        .add_member(AddMemberRequest::default())
        .await
        .expect_err("unknown");
    assert_eq!(error.reason, Reason::Unavailable);
    assert!(
        second.seen().is_empty(),
        "it may have happened at the first"
    );
    client(&certificates, &servers[1..])
        .add_member(AddMemberRequest::default())
        .await
        .expect("without a leader nothing happened");
    assert_eq!(second.seen().len(), 2);
}

#[tokio::test]
async fn a_dead_seed_does_not_matter_once_another_member_was_named() {
    let certificates = Certificates::new();
    let other = start(Fake::default(), &certificates).await;
    let named = NodeStatus {
        public_address: other.to_string(),
        ..NodeStatus::default()
    };
    // The second answer is a failure: a client that asks again must find the other member.
    let seed = Fake {
        nodes: vec![named],
        ..Fake::default()
    };
    let failures = Arc::clone(&seed.failures);
    let server = start(seed, &certificates).await;
    let authority = client(&certificates, &[server]);
    authority.status().await.expect("the seed answers");
    failures
        .lock()
        .expect("lock")
        .push(Failure::new(Reason::Unavailable, "stopping"));
    authority
        .revoke(RevokeRequest::default())
        .await
        .expect("the other member answers");
    assert_eq!(authority.servers().as_slice().len(), 2);
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_says_what_to_look_at() {
    let certificates = Certificates::new();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("an address");
    let servers = Servers::parse([gone.to_string()], 443).expect("an address");
    let trust = Trust::pem(certificates.ca.clone()).expect("a certificate");
    let connection = Connection::new(servers, trust).timeout(Duration::from_millis(200));
    let error = Authority::new(connection)
        .status()
        .await
        .expect_err("nobody");
    assert_eq!((error.reason, error.exit_code()), (Reason::Unavailable, 8));
    assert!(
        error.message.contains("refused") && !error.hint.is_empty(),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_believed_says_what_to_look_at() {
    let (good, stranger) = (Certificates::new(), Certificates::new());
    let (elsewhere, expired) = (
        Certificates::of(&["node9.example"], 4096),
        Certificates::of(&["127.0.0.1"], 2020),
    );
    let cases = [
        (&good, &stranger, "CA file"),
        (&elsewhere, &elsewhere, "names this host"),
        (&expired, &expired, "both clocks"),
    ];
    for (shown, trusted, expected) in cases {
        let server = start(Fake::default(), shown).await;
        let connection = connection(trusted, &[server]).timeout(Duration::from_millis(200));
        let https = IdentityClient::new(connection.clone()).expect("a client");
        let errors = [
            Authority::new(connection)
                .status()
                .await
                .expect_err(expected),
            https.public_keys().await.expect_err(expected),
        ];
        for error in errors {
            assert!(error.hint.contains(expected), "{error}");
            assert!(error.server_in_message && error.message.contains(&server.to_string()));
        }
    }
}

#[tokio::test]
async fn progress_is_streamed_to_its_end() {
    let certificates = Certificates::new();
    let server = start(Fake::default(), &certificates).await;
    let request = WatchAppliedRequest {
        revision: 7,
        ..WatchAppliedRequest::default()
    };
    let authority = client(&certificates, &[server]);
    let progress = authority
        .watch_applied(request, Duration::from_secs(5))
        .await
        .expect("a stream");
    let applied: Vec<_> = progress
        .map(|step| step.expect("progress").applied)
        .collect()
        .await;
    assert_eq!(applied, [1, 2]);
}
