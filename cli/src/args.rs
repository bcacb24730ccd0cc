//! The grammar: every command, option and environment variable, and nothing that decides.
//!
//! ```text
//! hessra [CONNECTION] [OUTPUT] identity|authorize|revoke|revocations|status|cluster|feed|doctor|completion|help …
//! ```
//!
//! Connection and output options may stand anywhere. Where a published command uses a short option for something
//! else (`authorize request -o OPERATION`), that command declares the global option again without its short form:
//! clap keeps the inner declaration.

mod approvals;
mod audit;
mod authorize;
mod cluster;
mod config;
mod feed;
mod global;
mod identity;
mod keys;
mod policy;
mod revocations;
mod revoke;
mod token;
mod values;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

pub(crate) use approvals::{ApprovalsCommand, Approve};
pub(crate) use audit::{
    AcceptAuditLoss, AuditCommand, AuditForm, ExportAudit, SearchAudit, TailAudit, VerifyAudit,
};
pub(crate) use authorize::{
    AuthorizeCommand, AuthorizeRequest, AuthorizeVerify, OutputWithoutShort,
};
pub(crate) use cluster::{AddMember, ClusterCommand, RemoveMember};
pub(crate) use config::{
    ConfigCommand, GetValue, InitArguments, ListServers, RemoveServer, ServerName, SetValue,
};
pub(crate) use feed::FeedCommand;
pub(crate) use global::{
    ColorWhen, Confirmation, ConnectionArguments, Format, Identity, OutputArguments, Retry,
};
pub(crate) use identity::{
    Authenticate, Delegate, DeleteToken, IdentityCommand, InspectToken, ListTokens, MintIdentity,
    PruneTokens, PublicKeyArguments, RefreshIdentity, StoredTokenArguments, VerifyIdentity,
};
pub(crate) use keys::{
    ActivateKey, ExportKeys, KeyFormat, KeysCommand, Purpose, RevokeKey, RotateKeys,
};
pub(crate) use policy::{
    ApplyPolicy, CheckPolicy, DiffPolicy, PolicyCommand, PolicyFiles, RollbackPolicy, ShowPolicy,
};
pub(crate) use revocations::{
    LiftArguments, ListArguments, RevocationsCommand, UndoArguments, WatchArguments,
};
pub(crate) use revoke::{RevokeArguments, TargetArguments};
pub(crate) use token::{ExplainToken, TokenCommand};
pub(crate) use values::{WaitFor, WaitShare};

/// Revoke, issue and delegate identities, and look after the cluster that does it.
#[derive(Debug, Parser)]
#[command(
    name = "hessra",
    version,
    disable_help_subcommand = true,
    max_term_width = 110
)]
#[command(after_help = "Exit codes: `hessra help exit-codes`.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub connection: ConnectionArguments,
    #[command(flatten)]
    pub output: OutputArguments,
    #[command(subcommand)]
    pub command: Command,
    /// The client certificate was named on the command line, not by the environment.
    #[arg(skip)]
    pub certificate_named: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Remember a server and fetch its keys.
    Init(InitArguments),
    /// Identity tokens: get, refresh, mint, delegate, verify, list, inspect.
    #[command(subcommand)]
    Identity(IdentityCommand),
    /// Authorization tokens: request, verify.
    #[command(subcommand)]
    Authorize(AuthorizeCommand),
    /// Any token: inspect it, explain why it is denied.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Servers and contexts that are known here.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Deny tokens from now on: a subtree of identities, one identity, a token, a certificate.
    Revoke(Box<RevokeArguments>),
    /// What has been revoked: list, show, watch, lift.
    #[command(subcommand)]
    Revocations(RevocationsCommand),
    /// Is the cluster healthy? Exit 0 healthy, 9 degraded, 8 nobody answers.
    Status,
    /// Members of the cluster: list, add, promote, remove, transfer leadership.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The cluster's keys: list, prepare, activate, rotate, revoke, export.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// What waits for a second person: list, show, approve, cancel.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Who may do what: validate, diff, apply, check, show, history, rollback.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// How revocations reach verifiers: status, verifiers, watch.
    #[command(subcommand)]
    Feed(FeedCommand),
    /// Who did what: tail, search, verify, export.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check this computer's setup and its way to the cluster, and say what to do.
    Doctor,
    /// Print the completion script of a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one per command.
    Man {
        /// Folder; made when it is not there.
        #[arg(value_name = "DIR")]
        folder: std::path::PathBuf,
    },
    /// Help about a command, or `exit-codes`.
    Help {
        /// The command, or `exit-codes`.
        topic: Vec<String>,
    },
}

impl Arguments {
    /// The command line of this process. Ends the process with a usage text when it is wrong (exit 2).
    pub(crate) fn read() -> Self {
        let matches = Self::command().get_matches();
        let named = matches.value_source("cert") == Some(ValueSource::CommandLine);
        let arguments = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self {
            certificate_named: named,
            ..arguments
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_grammar_has_no_contradiction() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_published_form_is_understood() {
        for line in [
            "hessra identity authenticate --server s --cert c --key k --ca a --ttl 86400 --save-as n",
            "hessra identity authenticate -s s -p 7401",
            "hessra identity delegate --from-token x --identity urn:h:a:b --ttl 3600 --token-only",
            "hessra identity delegate -i urn:h:a:b --save-as n --public-key-file f",
            "hessra identity verify --token-name n --identity urn:h:a:b --verbose",
            "hessra identity verify --token-file f --check-expiry --min-ttl 10m",
            "hessra identity list --details",
            "hessra identity inspect --token-name n -v",
            "hessra identity delete n",
            "hessra identity refresh --token-name n --save-as m -p 7401",
            "hessra identity mint --subject urn:h:a:user1 --ttl 120 --save-as user1",
            "hessra identity mint --subject urn:h:a:user1 --token-only --identity-token main",
            "hessra identity prune --dry-run",
            "hessra identity prune -f",
            "hessra init localhost -p 7401 --cert c --key k --set-default --skip-fetch --json",
            "hessra config set default_ca_path ca.crt",
            "hessra config list --details",
            "hessra config remove localhost -f",
            "hessra token inspect -",
            "hessra token explain @file -S urn:h:a -r api -o read",
            "hessra authorize request -r api -o read -i agent --token-only",
            "hessra authorize request --resource api --operation read -t file",
            "hessra authorize verify --token t -s urn:h:a -r api -o read --server x",
            "hessra --json -v identity list",
            "hessra status -o json",
            "hessra revoke urn:h:a:b --yes -o json",
            "hessra revoke --subtree urn:h:a:b --until 2h --reason compromised --ticket T-1 -m text --wait verifiers:95%",
            "hessra revocations list --since 24h",
            "hessra cluster transfer --to 2 --request-id 00112233445566778899aabbccddeeff",
            "hessra cluster add 4 --peer a:1 --public a:2 --request-id 00112233-4455-6677-8899-aabbccddeeff",
            "hessra cluster promote 4 --request-id 00112233445566778899aabbccddeeff",
            "hessra cluster set-clock-back --number 2 --request-id 00112233445566778899aabbccddeeff",
            "hessra cluster remove 4 --yes --request-id 00112233445566778899aabbccddeeff",
            "hessra revoke urn:h:a:b --request-id 00112233445566778899aabbccddeeff",
            "hessra revocations lift rv_7 --request-id 00112233445566778899aabbccddeeff",
            "hessra revocations undo --by o --since 2026-11-21T10:00:00Z --request-id 00112233445566778899aabbccddeeff",
            "hessra keys prepare --request-id 00112233445566778899aabbccddeeff",
            "hessra keys activate 4 --request-id 00112233445566778899aabbccddeeff",
            "hessra keys retire 4 --request-id 00112233445566778899aabbccddeeff",
            "hessra keys revoke 4 --request-id 00112233445566778899aabbccddeeff",
            "hessra keys rewrap --request-id 00112233445566778899aabbccddeeff",
            "hessra approvals approve ap_3 --request-id 00112233445566778899aabbccddeeff",
            "hessra approvals cancel ap_3 --request-id 00112233445566778899aabbccddeeff",
            "hessra policy apply p --based-on 7 --request-id 00112233445566778899aabbccddeeff",
            "hessra policy rollback 7 --based-on 9 --request-id 00112233445566778899aabbccddeeff",
            "hessra audit accept-loss 4 --request-id 00112233445566778899aabbccddeeff",
            "hessra keys list -o json",
            "hessra keys prepare --purpose feed",
            "hessra keys activate 4 --force",
            "hessra keys revoke 4 --confirm 4",
            "hessra keys rotate --emergency --yes",
            "hessra keys export --format jwks",
            "hessra keys rewrap",
            "hessra approvals approve ap_3 --yes",
            "hessra revocations lift rv_7 --restore",
            "hessra feed watch --from 7 -o jsonl",
            "hessra audit tail -f",
            "hessra audit search event=authz.denied subject=urn:h:a --since 1h -o json",
            "hessra audit verify /data/audit --keys jwks.json",
            "hessra audit export --format ocsf",
            "hessra policy validate policy",
            "hessra policy diff clients.toml resources.toml --revision 3",
            "hessra policy apply policy --based-on 7 -m text --ticket T-1 --yes",
            "hessra policy check urn:h:a read api -o json",
            "hessra policy show --out policy",
            "hessra policy history --limit 3",
            "hessra policy rollback 7 --dry-run",
            "hessra man pages",
            "hessra help exit-codes",
        ] {
            assert!(
                parse(line).is_ok(),
                "{line}: {}",
                parse(line).expect_err("refused")
            );
        }
    }

    #[test]
    fn the_operation_of_authorize_is_not_the_output_format() {
        let arguments =
            parse("hessra authorize request -r api -o read --output json").expect("understood");
        assert_eq!(arguments.output.format(), Format::Json);
        let Command::Authorize(AuthorizeCommand::Request(request)) = arguments.command else {
            panic!("authorize request is authorize request");
        };
        assert_eq!(request.operation, "read");
    }

    #[test]
    fn an_option_declared_again_without_its_short_form_is_still_the_global_one() {
        let request =
            parse("hessra authorize request -r api -o read -i agent").expect("understood");
        assert_eq!(request.connection.identity_token.as_deref(), Some("agent"));
        let verify = parse("hessra authorize verify -s urn:h:a -r api -o read --server x,y")
            .expect("understood");
        assert_eq!(verify.connection.server, ["x", "y"]);
        let before =
            parse("hessra -s x authorize verify -s urn:h:a -r api -o read").expect("understood");
        assert_eq!(before.connection.server, ["x"]);
    }

    #[test]
    fn what_changes_nothing_has_no_request_id_and_a_bad_one_is_refused() {
        for line in [
            "hessra status --request-id 00112233445566778899aabbccddeeff",
            "hessra revocations list --request-id 00112233445566778899aabbccddeeff",
            "hessra revoke urn:h:a:b --request-id 0011",
            "hessra revoke urn:h:a:b --request-id 00000000000000000000000000000000",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn servers_repeat_and_take_commas() {
        let arguments = parse("hessra status -s a,b:7 -s c").expect("understood");
        assert_eq!(arguments.connection.server, ["a", "b:7", "c"]);
    }

    #[test]
    fn a_revocation_has_exactly_one_target() {
        assert!(parse("hessra revoke").is_err());
        assert!(parse("hessra revoke urn:a:b:c --token-id 00").is_err());
        assert!(parse("hessra revoke --permanent --until 2h urn:a:b:c").is_err());
    }
}
