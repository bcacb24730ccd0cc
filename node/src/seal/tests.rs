//! An envelope opens for its own key under its own KEK, and for nothing else.

use hessra_revocation::{KeyState, PublicKeyRecord};

use super::*;

fn kek(fill: u8) -> Arc<dyn Kek> {
    Arc::new(MemoryKek::new(Zeroizing::new([fill; 32]), "`kek`".into()))
}

fn ring(fill: u8) -> KekRing {
    KekRing::new(kek(fill), None)
}

fn sealed(keks: &KekRing, id: u32, private: [u8; 32]) -> SealedKey {
    let public_key = SigningKey::from_bytes(&private).verifying_key().to_bytes();
    let label = KeyLabel {
        id,
        purpose: KeyPurpose::Token,
        public_key,
    };
    let random = SealingRandom::new(std::array::from_fn(|index| u8::try_from(index).unwrap()));
    let sealed = keks.seal(&label, &private, &random).unwrap();
    let record = PublicKeyRecord {
        id,
        purpose: label.purpose,
        state: KeyState::Active,
        public_key,
    };
    SealedKey::new(record, sealed)
}

#[test]
fn a_sealed_key_opens_to_the_same_key() {
    let key = sealed(&ring(1), 7, [9; 32]);
    assert_eq!(ring(1).open(&key).unwrap().to_bytes(), [9; 32]);
}

#[test]
fn no_private_key_is_in_the_clear_in_an_envelope() {
    let key = sealed(&ring(1), 7, [9; 32]);
    let shows = |secret: [u8; 8]| key.sealed.windows(8).any(|window| window == secret);
    assert!(!shows([9; 8]), "the private key shows");
    assert!(!shows([1; 8]), "the key-encryption key shows");
    assert!(!format!("{:?}", ring(1)).contains("1, 1"));
}

#[test]
fn another_kek_is_refused_and_both_are_named() {
    let refused = ring(2)
        .open(&sealed(&ring(1), 7, [9; 32]))
        .unwrap_err()
        .to_string();
    let (one, two) = (ring(1).id().to_string(), ring(2).id().to_string());
    assert!(refused.contains("key 7") && refused.contains(&one) && refused.contains(&two));
}

#[test]
fn while_the_kek_changes_both_open_and_only_the_new_one_seals() {
    let old = sealed(&ring(1), 7, [9; 32]);
    let both = KekRing::new(kek(2), Some(kek(1)));
    assert_eq!(both.open(&old).unwrap().to_bytes(), [9; 32]);
    assert_eq!(both.is_current(&old.sealed), Some(false));
    let new = sealed(&both, 7, [9; 32]);
    assert_eq!(both.is_current(&new.sealed), Some(true));
    assert_eq!(ring(2).open(&new).unwrap().to_bytes(), [9; 32]);
    assert!(ring(1).open(&new).is_err());
}

#[test]
fn an_envelope_of_another_key_and_any_flipped_bit_are_refused() {
    let key = sealed(&ring(1), 7, [9; 32]);
    let moved = SealedKey {
        id: 8,
        ..key.clone()
    };
    let damaged = SealError::Damaged {
        id: 8,
        kek: "`kek`".into(),
    };
    assert_eq!(ring(1).open(&moved).unwrap_err(), damaged);
    let misused = SealedKey {
        purpose: KeyPurpose::Feed,
        ..key.clone()
    };
    assert!(ring(1).open(&misused).is_err());
    for position in 0..key.sealed.len() {
        let mut flipped = key.clone();
        flipped.sealed[position] ^= 0x10;
        assert!(ring(1).open(&flipped).is_err(), "byte {position}");
    }
    for length in 0..key.sealed.len() {
        let mut cut = key.clone();
        cut.sealed.truncate(length);
        assert!(ring(1).open(&cut).is_err(), "{length} bytes");
    }
}
