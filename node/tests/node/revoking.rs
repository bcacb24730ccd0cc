//! The operator's hand, as far as tests of tokens need it.

use hessra_proto::v1::{RevokeRequest, Target, target};
use hessra_sdk_rust::{Authority, Connection, Credentials, Trust};

use super::running::Running;

/// Revokes an identity and everything below it, for good. Returns when the revocation is committed.
pub(crate) async fn revoke_permanently(running: &Running, identity: &str) {
    let path = |name: &str| running.directory().join(name);
    let operator = Credentials::files(path("clients/operator.crt"), path("clients/operator.key"));
    let trust = Trust::file(path("ca.crt")).unwrap();
    let server = running.url("").parse().unwrap();
    let connection = Connection::new(server, trust).credentials(operator.unwrap());
    let request = RevokeRequest {
        request_id: vec![7; 16],
        targets: vec![Target {
            kind: Some(target::Kind::Subtree(identity.to_owned())),
        }],
        permanent: true,
        reason: "test".to_owned(),
        ..RevokeRequest::default()
    };
    Authority::new(connection).revoke(request).await.unwrap();
}
