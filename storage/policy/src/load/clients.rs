//! `clients.toml`: who may authenticate, and what each may do.

use std::collections::BTreeMap;
use std::ops::Range;

use hessra_revocation::Identity;
use hessra_settings::{Faults, Located, Section};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::names::{Places, VERSION_KEY, identities, identity, rights};
use super::{operators, realms, verifiers};
use crate::rights::Rights;
use crate::structure::{DELEGATIONS_MAX, REFRESHES_MAX};
use crate::view::{Client, Limits, PolicyView, RefreshBounds};

/// Seconds: an identity token of more than 30 days is a permanent secret.
const IDENTITY_TOKEN_DURATION_MAX: u64 = 30 * 86_400;
/// 8 h: the published default of the example files.
const IDENTITY_TOKEN_DURATION: u64 = 28_800;
/// Seconds.
pub(super) const AUTHORIZATION_TOKEN_DURATIONS: std::ops::RangeInclusive<u64> = 10..=3_600;
/// Seconds: a year of refreshing is an account, which belongs into a file of its own.
const REFRESH_AGE_MAX: u64 = 366 * 86_400;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uri,
    Dns,
}

/// Places of rights, by path of their client: for what is checked when all clients are known.
type PlacesOf = BTreeMap<String, Places>;

pub(super) fn load(mut file: Section<'_, '_>, view: &mut PolicyView, faults: &mut Faults<'_>) {
    file.text(VERSION_KEY, faults);
    view.limits = limits(&mut file, faults);
    view.authorities = authorities(&mut file, faults);
    let mut places = PlacesOf::new();
    for section in file.sections("clients", faults) {
        client(section, view, &mut places, faults);
    }
    operators::load(&mut file, view, faults);
    verifiers::load(&mut file, view, faults);
    file.close(faults);
    delegates_stay_within_their_parents(view, &places, faults);
}

fn limits(file: &mut Section<'_, '_>, faults: &mut Faults<'_>) -> Limits {
    let default = Limits::default();
    let Some(mut limits) = file.section("limits", faults) else {
        return default;
    };
    let mut small = |key, range, what: &str, otherwise: u8| {
        let number = limits.number(key, range, what, faults);
        number
            .and_then(|number| u8::try_from(number).ok())
            .unwrap_or(otherwise)
    };
    let min_revocation_depth = small(
        "min_revocation_depth",
        1..=16,
        "a depth is, in segments,",
        default.min_revocation_depth,
    );
    let delegation_depth_max = small(
        "delegation_depth_max",
        0..=u64::from(DELEGATIONS_MAX),
        "delegations of one token are",
        default.delegation_depth_max,
    );
    let lives = "an authorization token lives, in seconds,";
    let read = Limits {
        min_revocation_depth,
        delegation_depth_max,
        authorization_token_duration: limits
            .number(
                "authorization_token_duration",
                AUTHORIZATION_TOKEN_DURATIONS,
                lives,
                faults,
            )
            .unwrap_or(default.authorization_token_duration),
        stub_duration_max: limits
            .number(
                "stub_duration_max",
                10..=86_400,
                "a stub lives, in seconds,",
                faults,
            )
            .unwrap_or(default.stub_duration_max),
        refresh: refresh_bounds(&mut limits, default.refresh, faults),
        two_person: limits
            .flag("two_person", faults)
            .unwrap_or(default.two_person),
    };
    limits.close(faults);
    read
}

fn refresh_bounds(
    section: &mut Section<'_, '_>,
    default: RefreshBounds,
    faults: &mut Faults<'_>,
) -> RefreshBounds {
    let count = section.number(
        "refresh_count_max",
        0..=u64::from(REFRESHES_MAX),
        "a token records, as refreshes in a row,",
        faults,
    );
    let age = section.number(
        "refresh_age_max",
        1..=REFRESH_AGE_MAX,
        "the age of a refreshed token is, in seconds,",
        faults,
    );
    RefreshBounds {
        count_max: count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(default.count_max),
        age_max: age.unwrap_or(default.age_max),
    }
}

fn authorities(
    file: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> Vec<CertificateDer<'static>> {
    let Some(mut section) = file.section("cacerts", faults) else {
        return Vec::new();
    };
    let chain = section.required_text("cert_chain", faults);
    section.close(faults);
    let Some(chain) = chain else {
        return Vec::new();
    };
    match CertificateDer::pem_slice_iter(chain.value.as_bytes()).collect() {
        Ok(authorities) => authorities,
        Err(error) => {
            let message = format!("not a PEM bundle of certificates: {error}");
            faults.add(chain.span, message, "");
            Vec::new()
        }
    }
}

fn client(
    mut section: Section<'_, '_>,
    view: &mut PolicyView,
    places: &mut PlacesOf,
    faults: &mut Faults<'_>,
) {
    let name = identifier(&mut section, faults);
    let uri = match &name {
        Some((Kind::Uri, value)) => identity(value, faults),
        _ => None,
    };
    let (rights, at) = rights(&mut section, "resources", &view.resources, faults);
    let client = settings(&mut section, uri.as_ref(), rights, view, faults);
    section.close(faults);
    match (name, uri) {
        (Some((Kind::Dns, pattern)), _) => add_dns(pattern, client, view, faults),
        (Some((Kind::Uri, value)), Some(identity))
            if is_alone(&identity, &value.span, view, faults) =>
        {
            let path = identity.path().to_owned();
            places.insert(path.clone(), at);
            view.clients.insert(path, (identity, client));
        }
        _ => {}
    }
}

fn identifier(
    section: &mut Section<'_, '_>,
    faults: &mut Faults<'_>,
) -> Option<(Kind, Located<String>)> {
    if !section.has("identifier") {
        faults.add(section.span.clone(), "missing key `identifier`", "");
    }
    let mut identifier = section.section("identifier", faults)?;
    if !identifier.has("type") {
        faults.add(identifier.span.clone(), "missing key `type`", "");
    }
    let kinds = [("san_uri", Kind::Uri), ("san_dns", Kind::Dns)];
    let kind = identifier.word("type", &kinds, faults);
    let value = identifier.required_text("value", faults);
    identifier.close(faults);
    Some((kind?, value?))
}

fn settings(
    section: &mut Section<'_, '_>,
    identity: Option<&Identity>,
    rights: Rights,
    view: &PolicyView,
    faults: &mut Faults<'_>,
) -> Client {
    let realm = realms::load(section, identity, &view.resources, faults);
    let lives = "an identity token lives, in seconds,";
    Client {
        identity_tokens: section
            .flag("identity_token_enabled", faults)
            .unwrap_or(false),
        identity_token_duration: section
            .number(
                "identity_token_duration",
                1..=IDENTITY_TOKEN_DURATION_MAX,
                lives,
                faults,
            )
            .unwrap_or(IDENTITY_TOKEN_DURATION),
        delegable: section.flag("delegable", faults).unwrap_or(true),
        require_jit: section.flag("require_jit", faults).unwrap_or(false),
        refresh: refresh_bounds(section, view.limits.refresh, faults),
        stub_targets: identities(section, "stub_targets", faults),
        line: faults.line(&section.place("identifier")),
        rights,
        realm,
    }
}

/// Two spellings of one identity, or two that only differ in case, are one person's mistake and another's trap.
fn is_alone(
    identity: &Identity,
    span: &Range<usize>,
    view: &PolicyView,
    faults: &mut Faults<'_>,
) -> bool {
    let same = |path: &str| path.eq_ignore_ascii_case(identity.path());
    let Some((path, (known, _))) = view.clients.iter().find(|(path, _)| same(path)) else {
        return true;
    };
    let message = if path == identity.path() {
        format!("`{identity}` and `{known}` are the same identity: remove one entry")
    } else {
        format!("`{identity}` and `{known}` differ only in case: rename one entry")
    };
    faults.add(span.clone(), message, "");
    false
}

fn add_dns(
    pattern: Located<String>,
    client: Client,
    view: &mut PolicyView,
    faults: &mut Faults<'_>,
) {
    let Located { value, span } = pattern;
    let value = value.to_ascii_lowercase();
    if !is_dns_pattern(&value) {
        let message = format!("`{value}` is not a DNS name");
        let hint = "Write at most one `*` in a label, and two labels without one";
        faults.add(span, message, hint);
        return;
    }
    let mut known = view.dns_clients.iter();
    if known.any(|(known, _)| *known == value) {
        faults.add(
            span,
            format!("`{value}` has an entry already"),
            "Remove one",
        );
        return;
    }
    view.dns_clients.push((value, client));
}

fn is_dns_pattern(pattern: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
    let mut labels = pattern.split('.');
    let labels_fit = labels.all(|label| !label.is_empty() && label.matches('*').count() <= 1);
    // A pattern for a whole top-level domain names everyone.
    let plain = pattern
        .split('.')
        .filter(|label| !label.contains('*'))
        .count();
    let bounded = plain >= 2 || !pattern.contains('*');
    pattern.len() <= 253 && pattern.bytes().all(allowed) && labels_fit && bounded
}

/// Refuses a right that an ancestor lacks: it could never be used, and its author believes otherwise.
fn delegates_stay_within_their_parents(
    view: &PolicyView,
    places: &PlacesOf,
    faults: &mut Faults<'_>,
) {
    for (path, (identity, client)) in &view.clients {
        let effective = view.effective_rights(identity).unwrap_or_default();
        for right in client.rights.difference(&effective) {
            let (resource, operation) = right;
            let message = format!(
                "`{identity}` is given `{operation}` on `{resource}`, which an identity above it does not have"
            );
            let span = places.get(path).and_then(|places| places.get(right));
            let hint = "Give it to that one too, or remove it here";
            faults.add(span.cloned().unwrap_or(0..0), message, hint);
        }
    }
}
