//! A key-encryption key in a hardware module: an AES-256 secret key that wraps data keys with AES-GCM and never leaves
//! its token (PKCS#11 v2.40 §2.12.3, `CKM_AES_GCM`).
//!
//! ```text
//! wrapped = initialization vector 12 | data key 32 | tag 16
//! ```
//! The key is named by the labels of its token and its object, and so is its [`KekId`]: every member's module must hold
//! the same key under the same labels, as a network module or a cloned token does. To change the key, make one with
//! another label and rewrap.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::kek::{Kek, KekId};
use super::{NONCE, SealError};

/// Bytes of an initialization vector: NIST SP 800-38D §5.2.1.1 recommends 96 bits.
const INITIALIZATION_VECTOR: usize = 12;
const TAG_BITS: u64 = 128;

/// Place of a key in a module.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) module: PathBuf,
    pub(super) token: String,
    pub(super) object: String,
    pub(super) pin: Zeroizing<String>,
}

/// The key, and the session through which it is used.
pub(super) struct ModuleKek {
    place: Place,
    name: String,
    context: Pkcs11,
    /// The session and the key in it. A session belongs to one thread at a time.
    opened: Mutex<Opened>,
}

struct Opened {
    session: Session,
    key: ObjectHandle,
}

impl ModuleKek {
    /// Loads the module, logs in and finds the key.
    pub(super) fn open(place: Place) -> Result<Self, SealError> {
        let name = format!(
            "key `{}` of token `{}` ({})",
            place.object,
            place.token,
            place.module.display()
        );
        let unreadable = |error: ModuleError| SealError::Unreadable {
            source_name: name.clone(),
            reason: error.to_string(),
        };
        let context = Pkcs11::new(&place.module).map_err(|error| unreadable(error.into()))?;
        match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // The key before it, of the same module, has done so.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unreadable(error.into())),
        }
        let opened = Mutex::new(begin(&context, &place).map_err(unreadable)?);
        Ok(Self {
            place,
            name,
            context,
            opened,
        })
    }

    /// Asks the module; once more with a new session when the one at hand is of no use any more.
    fn ask<T>(
        &self,
        question: impl Fn(&Opened) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, SealError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = question(&opened);
        if !answer.as_ref().is_err_and(session_is_lost) {
            return Ok(answer);
        }
        *opened = begin(&self.context, &self.place).map_err(|error| self.device(error))?;
        Ok(question(&opened))
    }

    fn device(&self, error: impl Into<ModuleError>) -> SealError {
        SealError::Device {
            kek: self.name.clone(),
            reason: error.into().to_string(),
        }
    }
}

/// Error of a module that does not give the key. The library's errors do not hold the PIN.
#[derive(Debug, thiserror::Error)]
enum ModuleError {
    #[error(transparent)]
    Refused(#[from] Error),
    #[error("no token has this label")]
    NoToken,
    #[error("the token has no AES key with this label")]
    NoKey,
    #[error("{0} AES keys have this label")]
    SeveralKeys(usize),
}

fn begin(context: &Pkcs11, place: &Place) -> Result<Opened, ModuleError> {
    let slots = context.get_slots_with_initialized_token()?;
    let has_label = |slot: &cryptoki::slot::Slot| {
        let token = context.get_token_info(*slot);
        token.is_ok_and(|token| token.label().trim_end() == place.token)
    };
    let slot = slots
        .into_iter()
        .find(has_label)
        .ok_or(ModuleError::NoToken)?;
    let session = context.open_ro_session(slot)?;
    let pin = AuthPin::new(place.pin.as_str().into());
    match session.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => return Err(error.into()),
    }
    let wanted = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(place.object.as_bytes().to_vec()),
    ];
    match session.find_objects(&wanted)?.as_slice() {
        [key] => Ok(Opened { session, key: *key }),
        [] => Err(ModuleError::NoKey),
        several => Err(ModuleError::SeveralKeys(several.len())),
    }
}

fn session_is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::ObjectHandleInvalid
                | RvError::KeyHandleInvalid
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent,
            _
        )
    )
}

impl fmt::Debug for ModuleKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModuleKek")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Kek for ModuleKek {
    fn id(&self) -> KekId {
        KekId::of(
            b"hessra kek id pkcs11 v1",
            &[self.place.token.as_bytes(), self.place.object.as_bytes()],
        )
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn wrap(
        &self,
        data_key: &[u8; 32],
        associated: &[u8],
        random: &[u8; NONCE],
    ) -> Result<Vec<u8>, SealError> {
        let vector: [u8; INITIALIZATION_VECTOR] = std::array::from_fn(|index| random[index]);
        let encrypted = self.ask(|opened| {
            let mut vector = vector;
            let mechanism = gcm(&mut vector, associated)?;
            opened.session.encrypt(&mechanism, opened.key, data_key)
        })?;
        let encrypted = encrypted.map_err(|error| self.device(error))?;
        Ok([&vector[..], &encrypted].concat())
    }

    fn unwrap(
        &self,
        wrapped: &[u8],
        associated: &[u8],
    ) -> Result<Option<Zeroizing<[u8; 32]>>, SealError> {
        let Some((vector, encrypted)) = wrapped.split_first_chunk::<INITIALIZATION_VECTOR>() else {
            return Ok(None);
        };
        let decrypted = self.ask(|opened| {
            let mut vector = *vector;
            let mechanism = gcm(&mut vector, associated)?;
            opened.session.decrypt(&mechanism, opened.key, encrypted)
        })?;
        match decrypted.map(Zeroizing::new) {
            Ok(data_key) => Ok(data_key.as_slice().try_into().ok().map(Zeroizing::new)),
            // What modules say of a tag that does not fit.
            Err(Error::Pkcs11(
                RvError::EncryptedDataInvalid
                | RvError::EncryptedDataLenRange
                | RvError::GeneralError
                | RvError::FunctionFailed,
                _,
            )) => Ok(None),
            Err(error) => Err(self.device(error)),
        }
    }
}

fn gcm<'a>(vector: &'a mut [u8], associated: &'a [u8]) -> Result<Mechanism<'a>, Error> {
    GcmParams::new(vector, associated, TAG_BITS.into()).map(Mechanism::AesGcm)
}
