//! A client of the public ports, as services are.

use std::collections::BTreeMap;
use std::time::Duration;

use hessra_tests::Cluster;
use serde_json::Value;

/// Client that keeps connections open and trusts the cluster's CA alone.
#[derive(Clone)]
pub(crate) struct Https {
    client: reqwest::Client,
    /// URLs `https://HOST:PORT` by node.
    urls: BTreeMap<u64, String>,
}

impl Https {
    /// Client that shows the certificate of `name`, or none.
    pub(crate) fn new(cluster: &Cluster, name: Option<&str>) -> Self {
        // Ignored when another test of this process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = |path: String| {
            std::fs::read(cluster.directory().join(path)).expect("a file of the cluster")
        };
        let ca = reqwest::Certificate::from_pem(&read("ca.crt".to_owned())).expect("a CA");
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([ca])
            .timeout(Duration::from_secs(20));
        if let Some(name) = name {
            let mut pem = read(format!("clients/{name}.key"));
            pem.extend(read(format!("clients/{name}.crt")));
            let identity = reqwest::Identity::from_pem(&pem).expect("a certificate and its key");
            builder = builder.identity(identity);
        }
        let urls = cluster.nodes().map(|node| {
            let url = format!("https://{}", node.public);
            (node.id, url)
        });
        Self {
            client: builder.build().expect("a client"),
            urls: urls.collect(),
        }
    }

    /// Status and JSON of the answer to a POST; `None` when the node did not answer.
    pub(crate) async fn post(&self, node: u64, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.client.post(self.url(node, path));
        answer(request.json(body)).await
    }

    /// Status and JSON of the answer to a POST with an identity token.
    pub(crate) async fn post_with(
        &self,
        token: &str,
        node: u64,
        path: &str,
        body: &Value,
    ) -> Option<(u16, Value)> {
        let request = self.client.post(self.url(node, path));
        answer(request.bearer_auth(token).json(body)).await
    }

    /// Status and JSON of the answer to a GET; `None` when the node did not answer.
    pub(crate) async fn get(&self, node: u64, path: &str) -> Option<(u16, Value)> {
        answer(self.client.get(self.url(node, path))).await
    }

    fn url(&self, node: u64, path: &str) -> String {
        format!("{}{path}", self.urls[&node])
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}
