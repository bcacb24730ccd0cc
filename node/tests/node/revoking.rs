//! The operator's hand, as far as tests of tokens need it.

use hessra_proto::v1::authority_client::AuthorityClient;
use hessra_proto::v1::{RevokeRequest, Target, target};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::running::Running;

/// Revokes an identity and everything below it, for good. Returns when the revocation is committed.
pub(crate) async fn revoke_permanently(running: &Running, identity: &str) {
    let read = |path: &str| std::fs::read(running.directory().join(path)).unwrap();
    let operator = Identity::from_pem(read("clients/operator.crt"), read("clients/operator.key"));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")))
        .identity(operator);
    let node = Endpoint::from_shared(running.url("")).unwrap();
    let channel = node.tls_config(tls).unwrap().connect().await.unwrap();
    let request = RevokeRequest {
        request_id: vec![7; 16],
        targets: vec![Target {
            kind: Some(target::Kind::Subtree(identity.to_owned())),
        }],
        permanent: true,
        reason: "test".to_owned(),
        ..RevokeRequest::default()
    };
    AuthorityClient::new(channel).revoke(request).await.unwrap();
}
