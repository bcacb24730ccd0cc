//! `hessra keys …`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{Confirmation, Retry};

/// What to do with the cluster's keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Every key, what it is for and where it is in its life.
    List,
    /// Make a new key and publish it. It signs nothing yet.
    Prepare {
        /// What it will sign.
        #[arg(long, value_enum, default_value_t)]
        purpose: Purpose,
        #[command(flatten)]
        retry: Retry,
    },
    /// Let a prepared key sign; the one that signed before retires.
    Activate(ActivateKey),
    /// Let the prepared successor of a key sign instead of it.
    Retire {
        /// Number of the key.
        #[arg(value_name = "KID")]
        id: u32,
        #[command(flatten)]
        retry: Retry,
    },
    /// Deny everything that a key signed, for ever.
    Revoke(RevokeKey),
    /// Replace the key that signs: prepare, wait until every verifier can know it, activate.
    Rotate(RotateKeys),
    /// Print public keys.
    Export(ExportKeys),
    /// Seal every private half under the current key-encryption key.
    Rewrap {
        /// Although members do not answer, and may not have that key.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        retry: Retry,
    },
}

/// What a key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Tokens.
    #[default]
    Token,
    /// Checkpoints of the feed.
    Feed,
    /// Checkpoints of the audit trail.
    Audit,
}

impl Purpose {
    /// As the cluster writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Feed => "feed",
            Self::Audit => "audit",
        }
    }
}

/// `keys activate`
#[derive(Debug, Args)]
pub(crate) struct ActivateKey {
    /// Number of the key.
    #[arg(value_name = "KID")]
    pub id: u32,
    /// However short it has been published: verifiers that have not heard of it deny what it signs. For emergencies.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub retry: Retry,
}

/// `keys revoke`
#[derive(Debug, Args)]
pub(crate) struct RevokeKey {
    /// Number of the key.
    #[arg(value_name = "KID")]
    pub id: u32,
    #[command(flatten)]
    pub confirmation: Confirmation,
    #[command(flatten)]
    pub retry: Retry,
}

/// `keys rotate`
#[derive(Debug, Args)]
pub(crate) struct RotateKeys {
    /// Which key.
    #[arg(long, value_enum, default_value_t)]
    pub purpose: Purpose,
    /// The key was stolen: a new one at once, and the old one is revoked.
    #[arg(long)]
    pub emergency: bool,
    /// Give up waiting for verifiers after so long. What was prepared stays prepared.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = hessra_settings::duration::parse_argument)]
    pub wait_timeout: Duration,
    #[command(flatten)]
    pub confirmation: Confirmation,
}

/// `keys export`
#[derive(Debug, Args)]
pub(crate) struct ExportKeys {
    /// In which form.
    #[arg(long, value_enum, value_name = "FORM")]
    pub format: KeyFormat,
    /// Keys of another purpose (pem, jwks).
    #[arg(long, value_enum, default_value_t)]
    pub purpose: Purpose,
    /// One key by its number; without it the one that signs (pem), or all.
    #[arg(long, value_name = "KID")]
    pub id: Option<u32>,
}

/// Forms of public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyFormat {
    /// One PEM block, as `GET /public_key` gives it.
    Pem,
    /// A JSON Web Key Set, as `GET /.well-known/jwks.json` gives it: keys whose tokens are believed.
    Jwks,
    /// Everything public about every key.
    Json,
}
