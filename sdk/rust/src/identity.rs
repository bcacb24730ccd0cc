//! Tokens from the authority, over the published HTTPS contract.
//!
//! ```no_run
//! # async fn example(connection: hessra_sdk_rust::Connection) -> Result<(), hessra_sdk_rust::ClientError> {
//! use hessra_sdk_rust::identity::{Authentication, IdentityClient};
//! let client = IdentityClient::new(connection)?;
//! let identity = client.request_identity_token(None).await?;
//! let token = client.request_token("api", "read", Authentication::Identity(&identity.token)).await?;
//! # Ok(()) }
//! ```
//!
//! Issuing changes nothing in the cluster, so every request here may be repeated at the next server.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::unreachable;
use crate::failover::{Failed, Failover};
use crate::{
    ClientError, Connection, Credentials, Endpoint, LocalCause, Reason, clock, just_in_time,
};

mod token;
mod wire;

pub use token::{AuthorizationToken, IdentityToken, PendingSignoff, PublicKeys, PublishedKey};

use wire::{IdentityAnswer, TokenAnswer, read, refused};

/// Authentication of a request.
#[derive(Clone, Copy)]
pub enum Authentication<'a> {
    /// Certificate of the connection's client.
    Certificate,
    /// Identity token, to which a limit of five seconds is added before it leaves this process.
    Identity(&'a str),
}

impl fmt::Debug for Authentication<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "Certificate",
            Self::Identity(_) => "Identity(..)",
        })
    }
}

/// A client for tokens. Keeps connections open.
pub struct IdentityClient {
    failover: Failover,
    timeout: Duration,
    anonymous: reqwest::Client,
    identified: Option<(reqwest::Client, Credentials)>,
}

impl fmt::Debug for IdentityClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityClient")
            .field("servers", &self.failover.servers())
            .finish_non_exhaustive()
    }
}

impl IdentityClient {
    /// Client that connects when first used.
    ///
    /// # Errors
    /// `invalid_argument` when certificate and key do not belong together.
    pub fn new(connection: Connection) -> Result<Self, ClientError> {
        let identified = match &connection.credentials {
            Some(credentials) => Some((https(&connection, true)?, credentials.clone())),
            None => None,
        };
        Ok(Self {
            anonymous: https(&connection, false)?,
            identified,
            timeout: connection.timeout,
            failover: Failover::new(connection.servers),
        })
    }

    /// The keys that tokens are signed with.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn public_keys(&self) -> Result<PublicKeys, ClientError> {
        self.send(&self.anonymous, "public_key", None::<&()>, None)
            .await
    }

    /// The CA of the servers, PEM; over a connection that a CA known before vouches for.
    ///
    /// # Errors
    /// When no server answers, or it does not serve its CA.
    pub async fn ca_certificate(&self) -> Result<String, ClientError> {
        let path = "ca_cert";
        let answer: wire::CaAnswer = self.send(&self.anonymous, path, None::<&()>, None).await?;
        Ok(answer.ca_cert_pem)
    }

    /// The active token-signing key as SPKI PEM.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn public_key(&self) -> Result<String, ClientError> {
        self.public_keys().await.map(|keys| keys.public_key)
    }

    /// An identity token for the holder of the client certificate. `ttl`: as wanted; the policy bounds it.
    ///
    /// # Errors
    /// `unauthenticated` without a certificate, `not_permitted` when the policy knows no such client, or unavailable.
    pub async fn request_identity_token(
        &self,
        ttl: Option<Duration>,
    ) -> Result<IdentityToken, ClientError> {
        #[derive(Serialize)]
        struct Body {
            // The published clients send the wanted lifetime here, as digits; there is no field of its own.
            identifier: Option<String>,
        }
        let body = Body {
            identifier: ttl.map(|ttl| ttl.as_secs().max(1).to_string()),
        };
        let answer: IdentityAnswer = self
            .send(
                self.identified()?,
                "request_identity_token",
                Some(&body),
                None,
            )
            .await?;
        answer.into_token()
    }

    /// A fresh identity token in the place of one that still lives; the authority bounds how often and for how long.
    ///
    /// # Errors
    /// `denied` for a token that is expired, revoked, delegated or limited further, or refreshed too often.
    pub async fn refresh_identity_token(&self, token: &str) -> Result<IdentityToken, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            current_token: &'a str,
            identifier: Option<&'a str>,
        }
        let body = Body {
            current_token: token.trim(),
            identifier: None,
        };
        let path = "refresh_identity_token";
        let answer: IdentityAnswer = self.send(&self.anonymous, path, Some(&body), None).await?;
        answer.into_token()
    }

    /// An identity token for a subject below the caller's own identity, which must be a realm. `ttl`: as wanted; it ends with
    /// the caller's token, which without a `ttl` is sent as it is.
    ///
    /// # Errors
    /// `not_permitted` when the caller is no realm or the subject is not in it, and as for [`Self::request_token`].
    pub async fn mint_identity_token(
        &self,
        subject: &str,
        ttl: Option<Duration>,
        authentication: Authentication<'_>,
    ) -> Result<IdentityToken, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            subject: &'a str,
            duration: Option<u64>,
        }
        let duration = ttl.map(|ttl| ttl.as_secs().max(1));
        let body = Body { subject, duration };
        let answer: IdentityAnswer = self
            .send_as(authentication, "mint_identity_token", &body, ttl)
            .await?;
        answer.into_token()
    }

    /// A token for one operation on one resource.
    ///
    /// # Errors
    /// `unauthenticated`, `not_permitted`, `not_found`, or unavailable; `invalid_argument` for an identity token that
    /// cannot be limited (sealed, malformed): it never leaves this process without a limit, of five minutes, or of five
    /// seconds where the policy demands that.
    pub async fn request_token(
        &self,
        resource: &str,
        operation: &str,
        authentication: Authentication<'_>,
    ) -> Result<AuthorizationToken, ClientError> {
        self.request_token_in(resource, operation, None, authentication)
            .await
    }

    /// Token as of [`Self::request_token`], in a domain.
    ///
    /// # Errors
    /// As for [`Self::request_token`].
    pub async fn request_token_in(
        &self,
        resource: &str,
        operation: &str,
        domain: Option<&str>,
        authentication: Authentication<'_>,
    ) -> Result<AuthorizationToken, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            resource: &'a str,
            operation: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            domain: Option<&'a str>,
        }
        let body = Body {
            resource,
            operation,
            domain,
        };
        let life = Some(just_in_time::OF_AN_AUTHORIZATION);
        let answer: TokenAnswer = self
            .send_as(authentication, "request_token", &body, life)
            .await?;
        let token = answer.token.ok_or_else(|| refused(answer.response_msg))?;
        let expires_in = answer.expires_in.map(Duration::from_secs);
        Ok(AuthorizationToken {
            token,
            expires_in,
            pending_signoffs: answer.pending_signoffs.unwrap_or_default(),
        })
    }

    fn identified(&self) -> Result<&reqwest::Client, ClientError> {
        let (client, credentials) = self.identified.as_ref().ok_or_else(|| {
            ClientError::new(
                Reason::Unauthenticated,
                "this request needs a client certificate",
            )
            .hint("Give a certificate and its key.")
        })?;
        credentials.check_valid(clock::wall())?;
        Ok(client)
    }

    async fn send_as<Q: Serialize, A: DeserializeOwned>(
        &self,
        authentication: Authentication<'_>,
        path: &str,
        body: &Q,
        life: Option<Duration>,
    ) -> Result<A, ClientError> {
        match authentication {
            Authentication::Certificate => {
                self.send(self.identified()?, path, Some(body), None).await
            }
            Authentication::Identity(token) => {
                let limited = |life| just_in_time::limit(token, clock::wall(), life);
                let bearer = life.map_or_else(|| Ok(token.trim().to_owned()), limited)?;
                // Without the certificate: a server refuses two identities that differ.
                let (client, body) = (&self.anonymous, Some(body));
                match self.send(client, path, body, Some(&bearer)).await {
                    Err(error) if error.local == Some(LocalCause::JustInTimeRequired) => {
                        let bearer = limited(just_in_time::OF_THE_REQUEST)?;
                        self.send(client, path, body, Some(&bearer)).await
                    }
                    answer => answer,
                }
            }
        }
    }

    async fn send<Q: Serialize, A: DeserializeOwned>(
        &self,
        client: &reqwest::Client,
        path: &str,
        body: Option<&Q>,
        bearer: Option<&str>,
    ) -> Result<A, ClientError> {
        let one = |server: Endpoint, left: Duration| async move {
            let url = format!("{}/{path}", server.url());
            let mut request = body
                .map_or_else(|| client.get(&url), |body| client.post(&url).json(body))
                .timeout(left);
            if let Some(token) = bearer {
                request = request.bearer_auth(token);
            }
            let answer = request
                .send()
                .await
                .map_err(|error| not_sent(&server, &error))?;
            read(answer).await.map_err(Failed::Sent)
        };
        self.failover
            .each(self.timeout, |_| true, one)
            .await
            .map(|(_, answer)| answer)
    }
}

fn https(connection: &Connection, identified: bool) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(connection.https_tls(identified)?)
        .https_only(true)
        // A token must reach the server that was named, not one that an environment variable or a redirect names.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(connection.connect_timeout)
        .timeout(connection.timeout)
        .build()
        .map_err(|error| {
            ClientError::new(Reason::Internal, format!("cannot set up HTTPS: {error}"))
        })
}

fn not_sent(server: &Endpoint, error: &reqwest::Error) -> Failed {
    Failed::NotSent(unreachable(server, error))
}
