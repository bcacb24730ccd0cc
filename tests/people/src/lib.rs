//! Operators with certificates and keys, the same in every run: for tests and the simulation.
//!
//! Keys, certificates and signatures are real; only the randomness of the keys is not: a key is a digest of its owner's
//! name, and Ed25519 signs without randomness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ed25519_dalek::pkcs8::EncodePrivateKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use hessra_proof::{Algorithm, LIFE_SECONDS_MAX, Proof, Sign, Signer, Statement};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

/// Name of the authority whose certificates tests trust.
const AUTHORITY: &str = "authority of operators";

/// Person that signs commands.
#[derive(Clone)]
pub struct Person {
    signer: Arc<Signer>,
    key: Arc<SigningKey>,
}

impl Person {
    /// The person of this identity, which is the URI of its certificate.
    #[must_use]
    pub fn named(identity: &str) -> Self {
        static KNOWN: Mutex<BTreeMap<String, Person>> = Mutex::new(BTreeMap::new());
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let person = known
            .entry(identity.to_owned())
            .or_insert_with(|| Self::certified(identity, AUTHORITY));
        person.clone()
    }

    /// A person of this identity with a certificate of another authority.
    #[must_use]
    pub fn certified(identity: &str, authority: &str) -> Self {
        Self::keyed(identity, identity, authority)
    }

    /// The person that has the key of `owner`, under another name.
    #[must_use]
    pub fn renamed(owner: &str, identity: &str) -> Self {
        Self::keyed(identity, owner, AUTHORITY)
    }

    fn keyed(identity: &str, owner: &str, authority: &str) -> Self {
        let key = key_of(owner);
        let mut params = dated(identity);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = SanType::URI(identity.try_into().expect("an identity is ASCII"));
        params.subject_alt_names.push(uri);
        let issuer = Issuer::new(authority_params(authority), pair(&key_of(authority)));
        let certificate = params.signed_by(&pair(&key), &issuer).expect("it signs");
        let signer = Signer::new(Algorithm::EdDsa, vec![certificate.der().clone()]);
        Self {
            signer: Arc::new(signer.expect("it is a certificate")),
            key: Arc::new(key),
        }
    }

    /// Signer of the person's proofs.
    #[must_use]
    pub fn signer(&self) -> &Arc<Signer> {
        &self.signer
    }

    /// Proof of a command: signed `now`, in Unix seconds, for as long as a proof may live.
    #[must_use]
    pub fn proof(
        &self,
        cluster: [u8; 16],
        request: [u8; 16],
        command: [u8; 32],
        now: u64,
    ) -> Proof {
        let statement = Statement {
            cluster,
            request,
            command,
            issued_at: now,
            expires_at: now.saturating_add(LIFE_SECONDS_MAX),
        };
        self.sign(statement)
    }

    /// Proof of any statement.
    #[must_use]
    pub fn sign(&self, statement: Statement) -> Proof {
        Proof::sign(Arc::clone(&self.signer), statement, self).expect("the key is in memory")
    }
}

impl Sign for Person {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDsa
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        Ok(self.key.sign(message).to_vec())
    }
}

/// The authority of every person that is [`Person::named`], DER.
#[must_use]
pub fn authority() -> CertificateDer<'static> {
    static MADE: OnceLock<CertificateDer<'static>> = OnceLock::new();
    MADE.get_or_init(|| authority_named(AUTHORITY)).clone()
}

/// The authority of this name, of those that [`Person::certified`] are certified by, DER.
#[must_use]
pub fn authority_named(name: &str) -> CertificateDer<'static> {
    let certificate = authority_params(name).self_signed(&pair(&key_of(name)));
    certificate.expect("it signs").der().clone()
}

fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(name).into())
}

fn pair(key: &SigningKey) -> KeyPair {
    let der = key.to_pkcs8_der().expect("a key has this form");
    let der = PrivatePkcs8KeyDer::from(der.as_bytes());
    KeyPair::try_from(&der).expect("rcgen signs with Ed25519")
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = dated(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn dated(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Tests begin their time at any number of seconds.
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2200, 1, 1);
    params
}

#[cfg(test)]
mod tests {
    use hessra_proof::{Checker, SKEW_SECONDS_MAX, Unproved};

    use super::*;

    const NOW: u64 = 1_767_225_600;

    fn proof(person: &Person) -> Proof {
        person.proof([1; 16], [2; 16], [3; 32], NOW)
    }

    fn checker() -> Checker {
        Checker::new(vec![authority()])
    }

    #[test]
    fn a_proof_is_believed_as_text_and_in_parts_until_it_ends() {
        let ann = Person::named("urn:hessra:ann");
        let proof = proof(&ann);
        let read = Proof::read(&proof.text()).expect("it is a proof");
        assert_eq!(read, proof);
        assert_eq!(read.signer().name(), "urn:hessra:ann");
        assert_eq!(checker().check(&read, NOW), Ok(()));
        let late = NOW + LIFE_SECONDS_MAX + SKEW_SECONDS_MAX + 1;
        let ended = checker().check(&read, late);
        assert!(matches!(ended, Err(Unproved::Time { .. })), "{ended:?}");
        assert_eq!(checker().check_kept(&read, late), Ok(()), "it was once");
    }

    #[test]
    fn whatever_is_altered_is_not_what_was_signed() {
        let ann = Person::named("urn:hessra:ann");
        let whole = proof(&ann);
        let statement = *whole.statement();
        let altered = [
            Statement {
                cluster: [9; 16],
                ..statement
            },
            Statement {
                request: [9; 16],
                ..statement
            },
            Statement {
                command: [9; 32],
                ..statement
            },
            Statement {
                expires_at: NOW + 1,
                ..statement
            },
        ];
        // A checker that remembers the whole one, and one that has met nothing.
        let remembers = checker();
        assert_eq!(remembers.check(&whole, NOW), Ok(()));
        for checker in [remembers, checker()] {
            for statement in altered {
                let signature = whole.signature();
                let forged = Proof::of_parts(Arc::clone(ann.signer()), statement, signature);
                let checked = checker.check(&forged, NOW);
                assert_eq!(checked, Err(Unproved::Signature), "{statement:?}");
                let checked = checker.check_for_alarm(&[(&forged, NOW), (&whole, NOW)]);
                assert_eq!(checked, [Err(Unproved::Signature), Ok(())], "{statement:?}");
            }
            let bob = Person::named("urn:hessra:bob");
            let stolen = Proof::of_parts(Arc::clone(bob.signer()), statement, whole.signature());
            assert_eq!(checker.check(&stolen, NOW), Err(Unproved::Signature));
        }
    }

    #[test]
    fn many_are_checked_as_each_of_them_is() {
        let people: Vec<Person> = (0..3)
            .map(|number| Person::named(&format!("urn:hessra:p{number}")))
            .collect();
        let request =
            |number: u8| people[usize::from(number) % 3].proof([1; 16], [number; 16], [3; 32], NOW);
        let mut proofs: Vec<Proof> = (0..20).map(request).collect();
        let wrong = |proofs: &[Proof]| -> Vec<usize> {
            let asked: Vec<(&Proof, u64)> = proofs.iter().map(|proof| (proof, NOW)).collect();
            let checker = checker();
            let outcomes = checker.check_for_alarm(&asked);
            let alone: Vec<_> = proofs
                .iter()
                .map(|proof| checker.check(proof, NOW))
                .collect();
            assert_eq!(outcomes, alone);
            let places = outcomes.iter().enumerate();
            let wrong = places.filter(|(_, outcome)| outcome.is_err());
            wrong.map(|(place, _)| place).collect()
        };
        assert_eq!(wrong(&proofs), Vec::<usize>::new());
        let other = proofs[5].signature().to_vec();
        let forged = &proofs[4];
        proofs[4] = Proof::of_parts(Arc::clone(forged.signer()), *forged.statement(), &other);
        assert_eq!(wrong(&proofs), [4]);
        proofs[9] = proof(&Person::certified(
            "urn:hessra:p0",
            "authority of somebody else",
        ));
        proofs[17] = people[2].proof([1; 16], [17; 16], [3; 32], NOW + 1_000_000);
        assert_eq!(wrong(&proofs), [4, 9, 17]);
    }

    #[test]
    fn more_proofs_than_are_remembered_are_checked_all_the_same() {
        let (ann, checker) = (Person::named("urn:hessra:ann"), checker());
        let of = |number: u16| {
            let mut request = [0; 16];
            request[..2].copy_from_slice(&number.to_be_bytes());
            ann.proof([1; 16], request, [3; 32], NOW)
        };
        for _ in 0..2 {
            for number in 0..4_200 {
                assert_eq!(checker.check(&of(number), NOW), Ok(()), "{number}");
            }
        }
        let first = of(0);
        let forged = Proof::of_parts(
            Arc::clone(ann.signer()),
            *of(1).statement(),
            first.signature(),
        );
        assert_eq!(checker.check(&forged, NOW), Err(Unproved::Signature));
    }

    #[test]
    fn a_certificate_of_another_authority_proves_nothing_also_when_one_of_ours_was_remembered() {
        let checker = checker();
        assert_eq!(
            checker.check(&proof(&Person::named("urn:hessra:ann")), NOW),
            Ok(())
        );
        let stranger = Person::certified("urn:hessra:ann", "authority of somebody else");
        let refused = checker.check(&proof(&stranger), NOW);
        assert!(
            matches!(refused, Err(Unproved::Certificate(_))),
            "{refused:?}"
        );
        checker.replace(Vec::new());
        let refused = checker.check(&proof(&Person::named("urn:hessra:ann")), NOW);
        assert!(
            matches!(refused, Err(Unproved::Certificate(_))),
            "{refused:?}"
        );
    }

    #[test]
    fn a_text_that_is_not_quite_a_proof_is_none() {
        let text = proof(&Person::named("urn:hessra:ann")).text();
        for wrong in [
            String::new(),
            "..".to_owned(),
            format!("{text}."),
            format!("{text}="),
            text.replacen('.', "..", 1),
            "x".repeat(hessra_proof::PROOF_BYTES_MAX + 1),
        ] {
            assert!(
                Proof::read(&wrong).is_err(),
                "{}",
                &wrong[..wrong.len().min(40)]
            );
        }
    }
}
