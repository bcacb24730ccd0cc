//! Sources of a key-encryption key, as `node.toml` names them.
//!
//! | setting | where the key is |
//! |---|---|
//! | `file:PATH` | a file of 64 hexadecimal digits, mode 0600 |
//! | `env:NAME` | an environment variable of 64 hexadecimal digits |
//! | `credential:NAME` | a credential of the service manager, `$CREDENTIALS_DIRECTORY/NAME`, as a file |
//! | `passphrase:prompt`, `passphrase:fd=N` | derived from a passphrase by Argon2id; asked for, or read from a descriptor |
//! | `pkcs11:token=T;object=O?module-path=PATH&pin-source=file:PATH` | in a hardware module (RFC 7512) |
//!
//! Every member of a cluster must come to the same key.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use hessra_files::{FileError, Mode, Readers, SecretError, open_secret, read_bounded};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::SealError;
use super::kek::{Kek, MemoryKek};
use super::pkcs11::{ModuleKek, Place};

/// Costs of Argon2id: RFC 9106 §4, second recommended option: 64 MiB, three passes, four lanes.
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 4);
/// Bytes of a secret file or a passphrase; a longer one is not what it should be.
const SECRET_BYTES_MAX: u64 = 4096;
/// Least bytes of a passphrase: shorter ones are guessed at any cost of the derivation.
const PASSPHRASE_BYTES_MIN: usize = 12;

/// Source of a key-encryption key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KekSource {
    /// No source.
    #[default]
    None,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A credential of the service manager.
    Credential(String),
    /// A passphrase, asked for on the terminal.
    Prompt,
    /// A passphrase, the first line that can be read from this descriptor.
    Descriptor(u32),
    /// A key in a hardware module.
    Module {
        /// The module's library.
        module: PathBuf,
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
        /// Source of the PIN.
        pin: PinSource,
    },
}

/// Source of a PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// The first line of a file of mode 0600.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
}

impl KekSource {
    /// True when there is no source.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Every path that it names, for making them absolute.
    pub fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::File(path) => vec![path],
            Self::Module { module, pin, .. } => match pin {
                PinSource::File(path) => vec![module, path],
                PinSource::Environment(_) => vec![module],
            },
            Self::None
            | Self::Environment(_)
            | Self::Credential(_)
            | Self::Prompt
            | Self::Descriptor(_) => Vec::new(),
        }
    }

    /// The file that holds a secret and must not be readable by everybody.
    #[must_use]
    pub fn secret_file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path)
            | Self::Module {
                pin: PinSource::File(path),
                ..
            } => Some(path),
            _ => None,
        }
    }

    /// The key. `cluster` is the cluster's name: one passphrase gives two clusters two keys.
    ///
    /// # Errors
    /// The key cannot be read, is no key, or can be read by everybody.
    pub fn load(&self, cluster: &str) -> Result<Arc<dyn Kek>, SealError> {
        let name = self.name();
        let memory = |key| Ok(Arc::new(MemoryKek::new(key, name.clone())) as Arc<dyn Kek>);
        match self {
            Self::None => Err(unreadable(&name, "none is set")),
            Self::File(path) => memory(hexadecimal(&name, &secret_file(&name, path)?)?),
            Self::Environment(variable) => {
                memory(hexadecimal(&name, &environment(&name, variable)?)?)
            }
            Self::Credential(credential) => {
                let path = credential_path(&name, credential)?;
                memory(hexadecimal(&name, &secret_file(&name, &path)?)?)
            }
            Self::Prompt => memory(derive(&name, &prompt(&name)?, cluster)?),
            Self::Descriptor(number) => {
                memory(derive(&name, &descriptor(&name, *number)?, cluster)?)
            }
            Self::Module {
                module,
                token,
                object,
                pin,
            } => Ok(Arc::new(ModuleKek::open(Place {
                module: module.clone(),
                token: token.clone(),
                object: object.clone(),
                pin: pin.read(&name)?,
            })?)),
        }
    }

    /// Name of the source, for people.
    fn name(&self) -> String {
        match self {
            Self::None => "keys.kek".to_owned(),
            Self::File(path) => format!("`{}`", path.display()),
            Self::Environment(variable) => format!("environment variable `{variable}`"),
            Self::Credential(credential) => format!("credential `{credential}`"),
            Self::Prompt | Self::Descriptor(_) => "a passphrase".to_owned(),
            Self::Module { token, object, .. } => format!("key `{object}` of token `{token}`"),
        }
    }
}

impl PinSource {
    fn read(&self, name: &str) -> Result<Zeroizing<String>, SealError> {
        let bytes = match self {
            Self::File(path) => secret_file(name, path)?,
            Self::Environment(variable) => environment(name, variable)?,
        };
        let text = std::str::from_utf8(bytes.trim_ascii_end());
        text.map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| unreadable(name, "its PIN is not UTF-8"))
    }
}

/// Writes random bytes as a new key file of mode 0600.
///
/// # Errors
/// The file exists or cannot be written.
pub fn create_file(path: &Path, random: [u8; 32]) -> Result<(), SealError> {
    let random = Zeroizing::new(random);
    let text = Zeroizing::new(format!("{}\n", HEXLOWER.encode(random.as_slice())));
    let created = hessra_files::create(path, text.as_bytes(), Mode::Private);
    created.map_err(|FileError { source, .. }| match source.kind() {
        io::ErrorKind::AlreadyExists => SealError::Exists { path: path.into() },
        _ => SealError::Unwritable {
            path: path.into(),
            reason: source.to_string(),
        },
    })
}

fn hexadecimal(name: &str, text: &[u8]) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let not_a_key = || SealError::NotAKey {
        source_name: name.to_owned(),
    };
    let bytes = HEXLOWER_PERMISSIVE
        .decode(text.trim_ascii())
        .map(Zeroizing::new)
        .map_err(|_| not_a_key())?;
    let key = bytes.as_slice().try_into().map(Zeroizing::new);
    key.map_err(|_| not_a_key())
}

/// Reads a secret file. Members of its group may read it: that is how container platforms and service managers hand out
/// secrets.
fn secret_file(name: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let failed = |error: io::Error| unreadable(name, &format!("`{}`: {error}", path.display()));
    let file = open_secret(path, Readers::OwnerAndGroup).map_err(|error| match error {
        SecretError::Unreadable(error) => failed(error),
        SecretError::Exposed { mode } => SealError::WorldReadable {
            source_name: name.to_owned(),
            path: path.into(),
            mode,
        },
    })?;
    read_bounded(file, SECRET_BYTES_MAX).map_err(failed)
}

fn environment(name: &str, variable: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let value = std::env::var(variable).map(|value| Zeroizing::new(value.into_bytes()));
    value.map_err(|_| unreadable(name, &format!("`{variable}` is not set")))
}

fn credential_path(name: &str, credential: &str) -> Result<PathBuf, SealError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        unreadable(
            name,
            "$CREDENTIALS_DIRECTORY is not set: the service manager hands out no credentials (LoadCredential=)",
        )
    })?;
    Ok(Path::new(&directory).join(credential))
}

fn prompt(name: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let asked = rpassword::prompt_password("Passphrase of the cluster's keys: ");
    asked
        .map(|text| Zeroizing::new(text.into_bytes()))
        .map_err(|error| unreadable(name, &error.to_string()))
}

/// Reads a descriptor through the file system, which duplicates it: it stays open, and the node passes it to nobody.
fn descriptor(name: &str, number: u32) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let read = File::open(format!("/dev/fd/{number}"))
        .and_then(|file| read_bounded(file, SECRET_BYTES_MAX));
    let text = read.map_err(|error| unreadable(name, &format!("descriptor {number}: {error}")))?;
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(Zeroizing::new(first.to_vec()))
}

/// Derives the key from a passphrase. The salt is the cluster's name: members that share nothing but the passphrase
/// come to one key, and a dictionary made for one cluster is of no use against another.
fn derive(name: &str, passphrase: &[u8], cluster: &str) -> Result<Zeroizing<[u8; 32]>, SealError> {
    if passphrase.len() < PASSPHRASE_BYTES_MIN {
        let reason = format!("it is shorter than {PASSPHRASE_BYTES_MIN} bytes");
        return Err(unreadable(name, &reason));
    }
    let salt = Sha256::new_with_prefix(b"hessra kek passphrase v1\n")
        .chain_update(cluster)
        .finalize();
    let (memory, passes, lanes) = ARGON2;
    let failed = |error: argon2::Error| unreadable(name, &error.to_string());
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, &salt, key.as_mut())
        .map_err(failed)?;
    Ok(key)
}

fn unreadable(name: &str, reason: &str) -> SealError {
    SealError::Unreadable {
        source_name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

impl fmt::Display for KekSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(variable) => write!(f, "env:{variable}"),
            Self::Credential(credential) => write!(f, "credential:{credential}"),
            Self::Prompt => f.write_str("passphrase:prompt"),
            Self::Descriptor(number) => write!(f, "passphrase:fd={number}"),
            Self::Module {
                module,
                token,
                object,
                pin,
            } => {
                let (kind, pin) = match pin {
                    PinSource::File(path) => ("file", path.display().to_string()),
                    PinSource::Environment(variable) => ("env", variable.clone()),
                };
                write!(
                    f,
                    "pkcs11:token={};object={}?module-path={}&pin-source={kind}:{}",
                    escape(token),
                    escape(object),
                    escape(&module.display().to_string()),
                    escape(&pin)
                )
            }
        }
    }
}

const FORMS: &str = "write `file:PATH`, `env:NAME`, `credential:NAME`, `passphrase:prompt`, `passphrase:fd=N` or \
                     `pkcs11:token=T;object=O?module-path=PATH&pin-source=file:PATH`";

/// Error of a text that names no key-encryption key. Never says more of it than a name or an attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum KekSourceError {
    #[error("`{0}` names no key-encryption key: {FORMS}")]
    Unknown(String),
    #[error("`{0}` has no value: {FORMS}")]
    NoValue(String),
    #[error("`{0}` is not percent-encoded")]
    Encoding(String),
    #[error("`{0}` is not looked at here: {FORMS}")]
    UnknownAttribute(String),
    #[error("`{0}` is there twice")]
    Twice(String),
    #[error("`{0}` is missing: {FORMS}")]
    Missing(&'static str),
    #[error("`pin-source` is `file:PATH` or `env:NAME`")]
    PinSource,
}

impl FromStr for KekSource {
    type Err = KekSourceError;

    fn from_str(text: &str) -> Result<Self, KekSourceError> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        let unknown = || KekSourceError::Unknown(text.to_owned());
        let (scheme, rest) = text.split_once(':').ok_or_else(unknown)?;
        match (scheme, rest) {
            (_, "") => Err(unknown()),
            ("file", path) => Ok(Self::File(path.into())),
            ("env", name) if is_name(name) => Ok(Self::Environment(name.to_owned())),
            ("credential", name) if is_name(name) => Ok(Self::Credential(name.to_owned())),
            ("passphrase", "prompt") => Ok(Self::Prompt),
            ("passphrase", rest) => {
                let number = rest.strip_prefix("fd=").and_then(|text| text.parse().ok());
                number.map(Self::Descriptor).ok_or_else(unknown)
            }
            ("pkcs11", uri) => module(uri),
            _ => Err(unknown()),
        }
    }
}

/// A name that is no path: neither of a file elsewhere nor of a variable that no shell could set.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.bytes().all(allowed) && !text.starts_with('.')
}

/// Parses a URI of RFC 7512: attributes of the path are separated by `;`, those of the query by `&`.
fn module(uri: &str) -> Result<KekSource, KekSourceError> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (mut token, mut object, mut module, mut pin) = (None, None, None, None);
    let attributes = path.split(';').chain(query.split('&'));
    for attribute in attributes.filter(|attribute| !attribute.is_empty()) {
        let (name, value) = attribute
            .split_once('=')
            .ok_or_else(|| KekSourceError::NoValue(attribute.to_owned()))?;
        let value = unescape(value).ok_or_else(|| KekSourceError::Encoding(value.to_owned()))?;
        let place = match name {
            "token" => &mut token,
            "object" => &mut object,
            "module-path" => &mut module,
            "pin-source" => &mut pin,
            _ => return Err(KekSourceError::UnknownAttribute(name.to_owned())),
        };
        if place.replace(value).is_some() {
            return Err(KekSourceError::Twice(name.to_owned()));
        }
    }
    let missing = KekSourceError::Missing;
    let pin = match pin.ok_or(missing("pin-source"))?.split_once(':') {
        Some(("file", path)) => PinSource::File(path.into()),
        Some(("env", name)) if is_name(name) => PinSource::Environment(name.to_owned()),
        _ => return Err(KekSourceError::PinSource),
    };
    Ok(KekSource::Module {
        module: module.ok_or(missing("module-path"))?.into(),
        token: token.ok_or(missing("token"))?,
        object: object.ok_or(missing("object"))?,
        pin,
    })
}

/// Escapes everything but the unreserved characters and the slash of paths (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let write = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(write).collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.extend(HEXLOWER_PERMISSIVE.decode(digits).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
