//! The audit of each node: search, tail, export, head.
//!
//! Every node has a chain of its own, so there is no server that may answer for another: each call names its server and
//! is not repeated elsewhere. [`AuditClient::servers`] names all of them. Lines come as they are in the node's files;
//! a caller that verifies them walks them as they come.

use futures::{Stream, StreamExt, TryStreamExt};
use hessra_proto::v1;
use hessra_proto::v1::audit_client::AuditClient as Client;
use tonic::transport::Channel;

use crate::channel::connect;
use crate::{Authority, ClientError, Connection, Endpoint};

/// Largest answer that is accepted: a thousand records are about 1 MiB, a thousand of the longest 32 MiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Client for the audit of the nodes of a cluster. Needs the right `audit:read`.
#[derive(Clone, Debug)]
pub struct AuditClient {
    connection: Connection,
}

/// Lines of one node.
pub type AuditStream =
    std::pin::Pin<Box<dyn Stream<Item = Result<v1::AuditLines, ClientError>> + Send>>;

impl AuditClient {
    /// Client that connects when first used.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Servers of all members that the cluster names, as `(node, server)`; when no server names them, those given, with
    /// 0 for the node.
    pub async fn servers(&self) -> Vec<(u64, Endpoint)> {
        let status = Authority::new(self.connection.clone()).status().await;
        let nodes = status.map(|status| status.nodes).unwrap_or_default();
        let members: Vec<(u64, Endpoint)> = nodes
            .iter()
            .filter_map(|node| Some((node.id, node.public_address.parse().ok()?)))
            .collect();
        if !members.is_empty() {
            return members;
        }
        let given = self.connection.servers.as_slice().iter();
        given.map(|server| (0, server.clone())).collect()
    }

    /// Page of records, newest first.
    ///
    /// # Errors
    /// `not_permitted`, `invalid_argument` for a condition that means nothing, or unavailable.
    pub async fn search(
        &self,
        server: &Endpoint,
        request: v1::SearchAuditRequest,
    ) -> Result<v1::SearchAuditResponse, ClientError> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(self.connection.timeout);
        let answer = self.client(server).await?.search_audit(request).await;
        Ok(answer
            .map_err(|status| ClientError::from(status).at(server))?
            .into_inner())
    }

    /// The newest records, and those to come when asked for.
    ///
    /// # Errors
    /// As for [`Self::search`]; later ones are items of the stream.
    pub async fn tail(
        &self,
        server: &Endpoint,
        request: v1::TailAuditRequest,
    ) -> Result<AuditStream, ClientError> {
        let answer = self.client(server).await?.tail_audit(request).await;
        stream(server, answer)
    }

    /// Records from one on, all of them.
    ///
    /// # Errors
    /// As for [`Self::tail`].
    pub async fn export(
        &self,
        server: &Endpoint,
        request: v1::ExportAuditRequest,
    ) -> Result<AuditStream, ClientError> {
        let answer = self.client(server).await?.export_audit(request).await;
        stream(server, answer)
    }

    /// Says that all records of an export were kept; the last record up to which the chain is exported without a gap.
    ///
    /// # Errors
    /// As for [`Self::search`]; `invalid_argument` when the node has another record.
    pub async fn confirm_export(
        &self,
        server: &Endpoint,
        request: v1::ConfirmExportRequest,
    ) -> Result<u64, ClientError> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(self.connection.timeout);
        let answer = self.client(server).await?.confirm_export(request).await;
        let answer = answer.map_err(|status| ClientError::from(status).at(server))?;
        Ok(answer.into_inner().exported_through)
    }

    /// Head of a chain, the keys that sign its checkpoints, and what the cluster has witnessed of all chains.
    ///
    /// # Errors
    /// As for [`Self::search`].
    pub async fn head(
        &self,
        server: &Endpoint,
        chain: v1::AuditChain,
    ) -> Result<v1::AuditHeadResponse, ClientError> {
        let chain = chain.into();
        let mut request = tonic::Request::new(v1::AuditHeadRequest { chain });
        request.set_timeout(self.connection.timeout);
        let answer = self.client(server).await?.audit_head(request).await;
        Ok(answer
            .map_err(|status| ClientError::from(status).at(server))?
            .into_inner())
    }

    async fn client(&self, server: &Endpoint) -> Result<Client<Channel>, ClientError> {
        let channel = connect(&self.connection, server).await;
        let channel = channel.map_err(|error| error.at(server))?;
        Ok(Client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }
}

fn stream(
    server: &Endpoint,
    answer: Result<tonic::Response<tonic::Streaming<v1::AuditLines>>, tonic::Status>,
) -> Result<AuditStream, ClientError> {
    let answer = answer.map_err(|status| ClientError::from(status).at(server))?;
    let server = server.clone();
    Ok(answer
        .into_inner()
        .map_err(move |status| ClientError::from(status).at(&server))
        .boxed())
}
