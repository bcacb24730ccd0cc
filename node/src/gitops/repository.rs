//! The `git` program, locked down: fetches one branch, verifies one commit, reads two files out of it.
//!
//! Nothing is checked out, so no filter, hook, attribute, symbolic link or submodule of the repository is ever acted on.
//! No configuration from outside is read (system, user, environment); the only protocol is that of the configured
//! address, and redirects are not followed. Objects are checked as they arrive. Only ssh signatures are verified: any
//! other format calls `false`. A signature counts when its key is valid now, when it was made lately, and when it says for
//! which cluster and branch: see `docs/decisions/0012-a-signed-commit-names-its-branch.md`.

use std::path::{Path, PathBuf};

use hessra_files::{FileError, Mode, Writers};
use hessra_policy::{CLIENTS_FILE, RESOURCES_FILE};
use hessra_settings::Lasting;
use hessra_state::limits::POLICY_BYTES_MAX;

use super::process::{Bounds, Ended, Run, RunError, run};
use super::signed::{Signed, take_apart};
use crate::config::PolicyGit;

/// Ref of the branch in our own copy.
const HEAD: &str = "refs/followed/head";
/// Largest answer other than a file: ids, listings and names are short.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Trailer of a commit that says for which cluster and branch it was signed.
const TRAILER: &str = "Hessra-Policy";
/// Seconds that the clock of a committer may be ahead of ours.
const AHEAD_SECONDS_MAX: u64 = 300;
/// Names of a signer that are tried: a key stands in few lines of the file of allowed signers.
const PRINCIPALS_MAX: usize = 16;

/// Error of a look at the repository.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum GitError {
    #[error("{0}")]
    Run(String),
    #[error("git cannot {doing}: {complaint}")]
    Refused {
        doing: &'static str,
        complaint: String,
    },
    #[error(
        "the repository takes more than {most} bytes. Raise policy.git.size_max, or follow one that holds nothing but the policy"
    )]
    TooLarge { most: u64 },
    #[error("commit {commit} is not signed by an allowed signer: {complaint}")]
    Signature { commit: String, complaint: String },
    #[error(
        "commit {commit} is not signed by a key that is valid now: {complaint}. Sign it anew with a key of policy.git.allowed_signers"
    )]
    NotNow { commit: String, complaint: String },
    #[error(
        "commit {commit} was not signed for `{binding}`. Sign one that says so: git commit --allow-empty -S --trailer \
         'Hessra-Policy: {binding}'"
    )]
    Elsewhere { commit: String, binding: String },
    #[error(
        "commit {commit} was signed at {at} (unix seconds), which is not within {within} of now. Sign one anew: git commit \
         --allow-empty -S --trailer 'Hessra-Policy: {binding}', or raise policy.git.signed_within"
    )]
    Old {
        commit: String,
        at: u64,
        within: Lasting,
        binding: String,
    },
    #[error("commit {commit} has no file `{path}`")]
    Missing { commit: String, path: String },
    #[error(
        "`{path}` of commit {commit} is not a plain file: links and submodules are not followed"
    )]
    NotAFile { commit: String, path: String },
    #[error("`{path}` of commit {commit} is not a text of at most {POLICY_BYTES_MAX} bytes")]
    NotAText { commit: String, path: String },
    #[error("cannot use the folder `{path}` for git: {reason}")]
    Folder { path: PathBuf, reason: String },
}

impl From<RunError> for GitError {
    fn from(error: RunError) -> Self {
        Self::Run(error.to_string())
    }
}

/// Both texts of a commit, and what its author says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) clients: String,
    pub(super) resources: String,
    pub(super) story: String,
}

/// Proof that a commit may be applied: signed for this cluster and branch, lately, by a key that is valid now; or unsigned
/// commits are accepted.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Verified(());

/// Our own bare copy of one branch.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    folder: PathBuf,
    settings: PolicyGit,
    /// Binding that a signed commit must carry: `CLUSTER/BRANCH`.
    binding: String,
}

impl Repository {
    /// A copy in a folder that is ours alone; made when it is needed.
    pub(super) fn new(folder: PathBuf, cluster: &str, settings: PolicyGit) -> Self {
        Self {
            folder,
            binding: format!("{cluster}/{}", settings.branch),
            settings,
        }
    }

    /// Fetches the branch; returns the full id of its newest commit.
    pub(super) async fn fetch(&self) -> Result<String, GitError> {
        self.prepare().await?;
        let branch = format!("+refs/heads/{}:{HEAD}", self.settings.branch);
        let arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--no-auto-gc",
            "--",
            &self.settings.url,
            &branch,
        ];
        let fetched = self.git("fetch", &arguments).await;
        // Looked at after a failure too: what is too large must not stay.
        self.check_size()?;
        fetched?;
        let revision = format!("{HEAD}^{{commit}}");
        let answer = self
            .git(
                "find the branch",
                &["rev-parse", "--verify", "--end-of-options", &revision],
            )
            .await?;
        Ok(text(answer).trim().to_owned())
    }

    /// Verifies that the commit was signed by one of the allowed signers, for this cluster and branch, not long before
    /// `now` (Unix seconds), with a key that is valid at `now`.
    pub(super) async fn verify(&self, commit: &str, now: u64) -> Result<Verified, GitError> {
        if self.settings.accept_unsigned {
            return Ok(Verified(()));
        }
        let refused = |complaint: &str| GitError::Signature {
            commit: commit.to_owned(),
            complaint: complaint.to_owned(),
        };
        let ended = self
            .run(&["verify-commit", "--", commit], ANSWER_BYTES_MAX)
            .await?;
        if !ended.success {
            return Err(refused(match ended.complaint.as_str() {
                "" => "it has no signature",
                complaint => complaint,
            }));
        }
        let raw = self
            .git("read the commit", &["cat-file", "commit", commit])
            .await?;
        let raw = String::from_utf8(raw).map_err(|_| refused("it is not text"))?;
        let signed = take_apart(&raw).ok_or_else(|| refused("it has not one signature"))?;
        self.verify_now(commit, &signed).await?;
        self.check_binding(commit).await?;
        self.check_age(commit, signed.committed_at, now)?;
        Ok(Verified(()))
    }

    /// Verifies the signature as of now. Git verifies it as of the date that its committer wrote.
    async fn verify_now(&self, commit: &str, signed: &Signed) -> Result<(), GitError> {
        let signature = self.write("signature", &signed.signature)?;
        let payload = self.write("payload", &signed.payload)?;
        let signers = self.settings.allowed_signers.display().to_string();
        let find = ["-Y", "find-principals", "-f", &signers, "-s", &signature];
        let found = self.ssh_keygen(&find, None).await?;
        let mut complaint = found.complaint.clone();
        let names = text(found.output);
        for name in names.lines().take(PRINCIPALS_MAX) {
            let verify = [
                "-Y", "verify", "-n", "git", "-f", &signers, "-I", name, "-s", &signature,
            ];
            let input = std::fs::File::open(&payload).map_err(|error| self.unusable(&error))?;
            let ended = self.ssh_keygen(&verify, Some(input)).await?;
            if ended.success {
                return Ok(());
            }
            complaint = ended.complaint;
        }
        Err(GitError::NotNow {
            commit: commit.to_owned(),
            complaint,
        })
    }

    /// Checks that the signer says that the commit is for this cluster and branch. The message is part of what was signed.
    async fn check_binding(&self, commit: &str) -> Result<(), GitError> {
        let format = format!("--format=%(trailers:key={TRAILER},valueonly=true,unfold=true)");
        let trailers = self
            .git(
                "read the trailers",
                &["log", "-1", "--no-show-signature", &format, commit, "--"],
            )
            .await?;
        let trailers = text(trailers);
        let mut named = trailers.lines().map(str::trim);
        match named.any(|named| named == self.binding) {
            true => Ok(()),
            false => Err(GitError::Elsewhere {
                commit: commit.to_owned(),
                binding: self.binding.clone(),
            }),
        }
    }

    fn check_age(&self, commit: &str, at: u64, now: u64) -> Result<(), GitError> {
        let within = self.settings.signed_within;
        let is_ahead = at > now.saturating_add(AHEAD_SECONDS_MAX);
        if !is_ahead && now.saturating_sub(at) <= within.0.as_secs() {
            return Ok(());
        }
        Err(GitError::Old {
            commit: commit.to_owned(),
            at,
            within,
            binding: self.binding.clone(),
        })
    }

    /// Writes a file of ours beside git's, and returns its path.
    fn write(&self, name: &str, text: &str) -> Result<String, GitError> {
        let path = self.folder.join(name);
        hessra_files::replace(&path, text.as_bytes(), Mode::Private, Writers::One)
            .map_err(|FileError { source, .. }| self.unusable(&source))?;
        Ok(path.display().to_string())
    }

    async fn ssh_keygen(
        &self,
        arguments: &[&str],
        input: Option<std::fs::File>,
    ) -> Result<Ended, GitError> {
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let asked = Run {
            program: "ssh-keygen",
            arguments: &arguments,
            environment: &[],
            folder: &self.folder,
            input,
        };
        Ok(run(asked, self.bounds(ANSWER_BYTES_MAX)).await?)
    }

    fn bounds(&self, output_bytes: usize) -> Bounds {
        Bounds {
            time: self.settings.timeout.0,
            file_bytes: self.settings.size_max.0,
            memory_bytes: self.settings.memory_max.0,
            output_bytes,
        }
    }

    /// True when `new` is the commit `old` or descends from it. False when `old` is not known here.
    pub(super) async fn descends(&self, new: &str, old: &str) -> Result<bool, GitError> {
        let ended = self
            .run(
                &["merge-base", "--is-ancestor", "--", old, new],
                ANSWER_BYTES_MAX,
            )
            .await?;
        // 1 says no; 128 that the old one is not there, which a rewritten history looks like.
        Ok(ended.success && ended.code == Some(0))
    }

    /// The policy of a commit.
    pub(super) async fn content(&self, commit: &str) -> Result<Content, GitError> {
        let clients = self.file(commit, CLIENTS_FILE).await?;
        let path = self.path(CLIENTS_FILE);
        let clients = clients.ok_or_else(|| GitError::Missing {
            commit: commit.to_owned(),
            path,
        })?;
        let resources = self.file(commit, RESOURCES_FILE).await?;
        let format = "--format=%s (%an <%ae>)";
        let story = self
            .git(
                "read the commit",
                &["log", "-1", "--no-show-signature", format, commit, "--"],
            )
            .await?;
        Ok(Content {
            clients,
            resources: resources.unwrap_or_default(),
            story: text(story).trim().to_owned(),
        })
    }

    /// Reads a file of a commit; `None`: the commit has no such file.
    async fn file(&self, commit: &str, name: &str) -> Result<Option<String>, GitError> {
        let path = self.path(name);
        let listing = self
            .git(
                "list the files",
                &["ls-tree", "-z", "-l", "--full-tree", commit, "--", &path],
            )
            .await?;
        let listing = text(listing);
        let Some(entry) = listing.split('\0').find(|entry| !entry.is_empty()) else {
            return Ok(None);
        };
        let named = |commit: &str| (commit.to_owned(), path.clone());
        let (Some(object), Some(size)) = (plain_file(entry), size_of(entry)) else {
            let (commit, path) = named(commit);
            return Err(GitError::NotAFile { commit, path });
        };
        let not_a_text = || {
            let (commit, path) = named(commit);
            GitError::NotAText { commit, path }
        };
        if size > POLICY_BYTES_MAX {
            return Err(not_a_text());
        }
        let ended = self
            .run(&["cat-file", "blob", object], POLICY_BYTES_MAX)
            .await?;
        let bytes = succeeded("read a file", ended)?;
        String::from_utf8(bytes).map(Some).map_err(|_| not_a_text())
    }

    fn path(&self, name: &str) -> String {
        match self.settings.directory.trim_matches('/') {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        }
    }

    async fn prepare(&self) -> Result<(), GitError> {
        if self.folder.join("HEAD").exists() {
            return Ok(());
        }
        hessra_files::make_private_directory(&self.folder)
            .map_err(|FileError { source, .. }| self.unusable(&source))?;
        let arguments = ["init", "--quiet", "--bare", "--template=", "--", "."];
        self.git("make a repository", &arguments).await.map(|_| ())
    }

    fn check_size(&self) -> Result<(), GitError> {
        let most = self.settings.size_max.0;
        let size = size_below(&self.folder).map_err(|error| self.unusable(&error))?;
        if size <= most {
            return Ok(());
        }
        std::fs::remove_dir_all(&self.folder).map_err(|error| self.unusable(&error))?;
        Err(GitError::TooLarge { most })
    }

    fn unusable(&self, error: &std::io::Error) -> GitError {
        GitError::Folder {
            path: self.folder.clone(),
            reason: error.to_string(),
        }
    }

    async fn git(&self, doing: &'static str, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        succeeded(doing, self.run(arguments, ANSWER_BYTES_MAX).await?)
    }

    async fn run(&self, arguments: &[&str], output_bytes: usize) -> Result<Ended, GitError> {
        let settings = self.locked_down();
        let options = settings
            .into_iter()
            .flat_map(|setting| ["-c".to_owned(), setting]);
        let plain = ["--literal-pathspecs", "--no-optional-locks"].map(str::to_owned);
        let arguments: Vec<String> = options
            .chain(plain)
            .chain(arguments.iter().map(|argument| (*argument).to_owned()))
            .collect();
        let asked = Run {
            program: "git",
            arguments: &arguments,
            environment: &self.environment(),
            folder: &self.folder,
            input: None,
        };
        Ok(run(asked, self.bounds(output_bytes)).await?)
    }

    /// Settings that win over those of any file, and of these files there is only our own copy's.
    fn locked_down(&self) -> Vec<String> {
        let PolicyGit {
            url,
            allowed_signers,
            https_ca,
            https_credentials,
            ..
        } = &self.settings;
        let mut settings: Vec<String> = LOCKED_DOWN
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        settings.push(format!("protocol.{}.allow=always", protocol(url)));
        if !allowed_signers.as_os_str().is_empty() {
            settings.push(format!(
                "gpg.ssh.allowedSignersFile={}",
                allowed_signers.display()
            ));
        }
        if !https_ca.as_os_str().is_empty() {
            settings.push(format!("http.sslCAInfo={}", https_ca.display()));
        }
        if !https_credentials.as_os_str().is_empty() {
            let file = quoted(https_credentials);
            settings.push(format!("credential.helper=store --file={file}"));
        }
        settings
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment: Vec<(&'static str, String)> = [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            // Address space is bounded, and each arena reserves 64 MiB of it.
            ("MALLOC_ARENA_MAX", "1"),
            ("GIT_ASKPASS", "false"),
            ("SSH_ASKPASS", "false"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into();
        let folder = self.folder.display().to_string();
        environment.push(("GIT_DIR", folder.clone()));
        environment.push(("HOME", folder));
        environment.push((
            "GIT_ALLOW_PROTOCOL",
            protocol(&self.settings.url).to_owned(),
        ));
        environment.push(("GIT_SSH_COMMAND", self.ssh_command()));
        environment.push(("GIT_SSH_VARIANT", "ssh".to_owned()));
        environment
    }

    fn ssh_command(&self) -> String {
        format!(
            "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=/dev/null \
             -o IdentitiesOnly=yes -o IdentityAgent=none -o ForwardAgent=no -o ClearAllForwardings=yes \
             -o PermitLocalCommand=no -o UserKnownHostsFile={} -i {}",
            quoted(&self.settings.ssh_known_hosts),
            quoted(&self.settings.ssh_key),
        )
    }
}

/// Settings that hold for every repository.
const LOCKED_DOWN: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=false",
    "core.sshCommand=",
    "credential.helper=",
    "protocol.allow=never",
    "transfer.fsckObjects=true",
    "fetch.fsckObjects=true",
    // One pack, whose size `ulimit` bounds, instead of very many small files.
    "fetch.unpackLimit=1",
    // In little memory: one thread, windows instead of whole packs, and large files as a stream.
    "pack.threads=1",
    "pack.windowMemory=16m",
    "pack.deltaCacheSize=16m",
    "core.packedGitWindowSize=1m",
    "core.packedGitLimit=32m",
    "core.deltaBaseCacheLimit=16m",
    "core.bigFileThreshold=4m",
    "fetch.recurseSubmodules=false",
    "submodule.recurse=false",
    "http.followRedirects=false",
    "http.sslVerify=true",
    "gc.auto=0",
    "maintenance.auto=false",
    "gpg.format=ssh",
    "gpg.minTrustLevel=fully",
    "gpg.program=false",
    "gpg.openpgp.program=false",
    "gpg.x509.program=false",
];

/// Protocol of an address: `file`, `ssh` or `https`, as the configuration allows.
pub(crate) fn protocol(url: &str) -> &'static str {
    if url.starts_with("https://") {
        "https"
    } else if url.starts_with('/') || url.starts_with("file://") {
        "file"
    } else {
        "ssh"
    }
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn succeeded(doing: &'static str, ended: Ended) -> Result<Vec<u8>, GitError> {
    if ended.success {
        return Ok(ended.output);
    }
    let complaint = match ended.complaint.as_str() {
        "" => "it said nothing".to_owned(),
        complaint => complaint.to_owned(),
    };
    Err(GitError::Refused { doing, complaint })
}

/// The object of a line `MODE TYPE OBJECT SIZE<TAB>PATH`, when it is a file and no link.
fn plain_file(entry: &str) -> Option<&str> {
    let mut words = entry.split_whitespace();
    let (mode, kind, object) = (words.next()?, words.next()?, words.next()?);
    (matches!(mode, "100644" | "100755") && kind == "blob").then_some(object)
}

fn size_of(entry: &str) -> Option<usize> {
    entry.split_whitespace().nth(3)?.parse().ok()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes of all files at and below a folder.
fn size_below(folder: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Of a link its own size: what it points at is not ours.
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() {
            size_below(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(size)
}
