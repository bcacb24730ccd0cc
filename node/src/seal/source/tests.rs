//! Settings of a source: what each means, what is refused, and that nothing of a secret is said.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn parsed(text: &str) -> KekSource {
    let source: KekSource = text.parse().unwrap();
    assert_eq!(source.to_string(), text, "it is written as it was read");
    source
}

#[test]
fn every_source_is_written_as_it_is_read() {
    assert_eq!(parsed(""), KekSource::None);
    assert_eq!(parsed("file:/etc/kek"), KekSource::File("/etc/kek".into()));
    assert_eq!(
        parsed("env:HESSRA_KEK"),
        KekSource::Environment("HESSRA_KEK".into())
    );
    assert_eq!(
        parsed("credential:hessra-kek"),
        KekSource::Credential("hessra-kek".into())
    );
    assert_eq!(parsed("passphrase:prompt"), KekSource::Prompt);
    assert_eq!(parsed("passphrase:fd=3"), KekSource::Descriptor(3));
    let module = parsed(
        "pkcs11:token=my%20token;object=kek?module-path=/usr/lib/module.so&pin-source=file:/run/pin",
    );
    let expected = KekSource::Module {
        module: "/usr/lib/module.so".into(),
        token: "my token".into(),
        object: "kek".into(),
        pin: PinSource::File("/run/pin".into()),
    };
    assert_eq!(module, expected);
}

#[test]
fn what_names_no_key_is_refused_with_what_to_write() {
    for text in [
        "kek",
        "file:",
        "vault:x",
        "env:A B",
        "credential:../x",
        "credential:.x",
        "passphrase:secret",
        "passphrase:fd=x",
        "pkcs11:token=t",
        "pkcs11:token=t;object=o?module-path=m&pin-source=1234",
        "pkcs11:token=t;token=u;object=o?module-path=m&pin-source=file:p",
        "pkcs11:token=%zz;object=o?module-path=m&pin-source=file:p",
    ] {
        let refused = text.parse::<KekSource>().unwrap_err().to_string();
        assert!(!refused.is_empty(), "{text}");
    }
    let refused = "kek".parse::<KekSource>().unwrap_err().to_string();
    assert!(refused.contains("file:PATH"), "{refused}");
}

fn file(directory: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    create_file(&path, [5; 32]).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let loaded = KekSource::File(path.clone()).load("prod").unwrap();
    let again = KekSource::File(path.clone()).load("other").unwrap();
    assert_eq!(
        loaded.id(),
        again.id(),
        "a file is one key for every cluster"
    );
    assert_eq!(create_file(&path, [6; 32]), Err(SealError::Exists { path }));
}

#[test]
fn a_secret_that_every_user_can_read_is_refused_by_name_and_nothing_of_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let readable = file(&directory, "kek", &"ab".repeat(32), 0o644);
    let refused = KekSource::File(readable.clone()).load("c").unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains(readable.to_str().unwrap()) && said.contains("0644"),
        "{said}"
    );
    let wrong = file(&directory, "hunter2", "hunter2 is no key", 0o600);
    let refused = KekSource::File(wrong).load("c").unwrap_err();
    assert!(!format!("{refused:?}").contains("is no key"));
    let long = file(&directory, "long", &"ab".repeat(4096), 0o600);
    assert!(
        KekSource::File(long).load("c").is_err(),
        "no file without end is read"
    );
}

#[test]
fn a_passphrase_gives_one_key_per_cluster_and_a_short_one_none() {
    let derived = |text: &str, cluster: &str| derive("a passphrase", text.as_bytes(), cluster);
    let passphrase = "correct horse battery staple";
    let key = derived(passphrase, "prod").unwrap();
    assert_eq!(key, derived(passphrase, "prod").unwrap());
    assert_ne!(key, derived(passphrase, "test").unwrap());
    assert_ne!(
        key,
        derived("correct horse battery stable", "prod").unwrap()
    );
    let refused = derived("hunter2", "prod").unwrap_err().to_string();
    assert!(
        refused.contains("12") && !refused.contains("hunter2"),
        "{refused}"
    );
}

#[test]
fn a_passphrase_is_the_first_line_of_its_descriptor() {
    use std::os::fd::AsRawFd as _;
    let directory = tempfile::tempdir().unwrap();
    let text = "correct horse battery staple\nanother line\n";
    let path = file(&directory, "phrase", text, 0o600);
    let open = File::open(path).unwrap();
    let number = u32::try_from(open.as_raw_fd()).unwrap();
    let read = KekSource::Descriptor(number).load("prod").unwrap();
    let key = derive("", b"correct horse battery staple", "prod").unwrap();
    assert_eq!(read.id(), MemoryKek::new(key, String::new()).id());
}
