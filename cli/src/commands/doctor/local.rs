//! Checks without a network: configuration, files, the right to read them.

use std::path::Path;

use hessra_files::{Readers, SecretError, check_secret};

use super::certificates;
use super::finding::Finding;
use crate::clock;
use crate::context::Context;
use crate::failure::CommandError;
use crate::files;

/// Checks this computer's side.
pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut findings = vec![config(context), authority(context), certificate(context)];
    findings.extend(private(context));
    findings
}

fn config(context: &Context) -> Finding {
    let file = context.config_file();
    let told = if file.exists() {
        format!("{} is understood", file.display())
    } else {
        "no file, none needed".to_owned()
    };
    match context.require_servers() {
        Ok(servers) => {
            let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
            Finding::good("config", format!("{told}; servers {}", names.join(", ")))
        }
        Err(failure) => Finding::failed("config", failure),
    }
}

fn authority(context: &Context) -> Finding {
    let Some(ca) = &context.ca else {
        let hint = "Give --ca FILE, set HESSRA_CA, or set `ca` in the context.";
        return Finding::bad(
            "ca",
            "no certificate authority is named to believe the servers by",
            hint,
        );
    };
    match files::read(ca).and_then(|bytes| certificates::read(&bytes, ca)) {
        Ok(found) => certificates::assess(
            "ca",
            &ca.display().to_string(),
            &found,
            clock::unix_seconds(),
        ),
        Err(failure) => Finding::failed("ca", failure),
    }
}

fn certificate(context: &Context) -> Finding {
    let loaded = context.credentials();
    match (loaded, &context.cert) {
        (Err(failure), _) => Finding::failed("certificate", failure),
        (Ok(None), _) | (Ok(Some(_)), None) => Finding::warning(
            "certificate",
            "no client certificate is named: only stored tokens can be used",
            "Give --cert FILE and --key FILE, or set HESSRA_CERT and HESSRA_KEY.",
        ),
        (Ok(Some(_)), Some(cert)) => {
            match files::read(cert).and_then(|bytes| certificates::read(&bytes, cert)) {
                Ok(found) => certificates::assess(
                    "certificate",
                    &cert.display().to_string(),
                    &found,
                    clock::unix_seconds(),
                ),
                Err(failure) => Finding::failed("certificate", failure),
            }
        }
    }
}

/// Checks that everything private is private: the key, the token folder, each token.
fn private(context: &Context) -> Vec<Finding> {
    let store = context.tokens();
    let names = store.names();
    let count = names.as_ref().map_or(0, Vec::len);
    let tokens = std::fs::read_dir(store.folder())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let paths = context
        .key
        .iter()
        .cloned()
        .chain([store.folder().to_path_buf()])
        .chain(tokens);
    let mut findings: Vec<Finding> = paths
        .filter(|path| path.exists())
        .filter_map(|path| open(&path))
        .collect();
    match names {
        Err(failure) => findings.push(Finding::failed("tokens", failure)),
        Ok(_) if findings.is_empty() => {
            findings.push(Finding::good(
                "tokens",
                format!("{count} stored in {}, private", store.folder().display()),
            ));
        }
        Ok(_) => (),
    }
    findings
}

fn open(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match check_secret(path, Readers::Owner) {
        Ok(()) => None,
        Err(SecretError::Exposed { .. }) => {
            let mode = if path.is_dir() { "700" } else { "600" };
            let hint = format!("Run `chmod {mode} {shown}`.");
            Some(Finding::warning(
                "private",
                format!("{shown} can be read by others"),
                hint,
            ))
        }
        Err(SecretError::Unreadable(error)) => Some(Finding::failed(
            "private",
            CommandError::file("look at", path, &error),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_named_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(open(file.path()), None);
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).expect("set");
        let finding = open(file.path()).expect("found");
        assert!(finding.hint.expect("a hint").starts_with("Run `chmod 600 "));
    }
}
