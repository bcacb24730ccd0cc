//! Verifiers: which ids belong to which identity.

use std::collections::BTreeMap;

use crate::names::without_scheme;

/// Ids of verifiers, tied to the identities that may use them. No two identities have an id in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VerifierIds {
    /// Owner's name without `uri:`, by id.
    whole: BTreeMap<String, String>,
    /// Owner's name without `uri:`, by what an id begins with. None begins with another of another owner.
    beginnings: BTreeMap<String, String>,
}

/// Ids as one entry of the policy writes them: a whole id, or the beginning of ids, `orders-*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IdPattern {
    /// Exactly this id.
    Whole(String),
    /// Every id that begins so.
    Beginning(String),
}

impl IdPattern {
    /// Reads `orders-1`, `orders-*` or `*`; `None` for anything that no verifier's id can match.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |part: &str| {
            let is_of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            part.len() <= 64 && part.bytes().all(is_of_an_id)
        };
        match text.strip_suffix('*') {
            Some(beginning) => allowed(beginning).then(|| Self::Beginning(beginning.to_owned())),
            None => (allowed(text) && !text.is_empty()).then(|| Self::Whole(text.to_owned())),
        }
    }
}

impl VerifierIds {
    /// Ties ids to an owner.
    ///
    /// # Errors
    /// The owner of ids that are among these already.
    pub(crate) fn tie(&mut self, pattern: IdPattern, owner: &str) -> Result<(), String> {
        let other = |(_, known): (&String, &String)| (known != owner).then(|| known.clone());
        let taken = match &pattern {
            IdPattern::Whole(id) => self
                .owner(id)
                .filter(|known| *known != owner)
                .map(str::to_owned),
            IdPattern::Beginning(beginning) => {
                let below = |ids: &BTreeMap<String, String>| {
                    let from = ids.range(beginning.clone()..);
                    from.take_while(|(id, _)| id.starts_with(beginning))
                        .find_map(other)
                };
                let above = self.owner(beginning).filter(|known| *known != owner);
                below(&self.whole)
                    .or_else(|| below(&self.beginnings))
                    .or_else(|| above.map(str::to_owned))
            }
        };
        if let Some(taken) = taken {
            return Err(taken);
        }
        match pattern {
            IdPattern::Whole(id) => self.whole.insert(id, owner.to_owned()),
            IdPattern::Beginning(beginning) => self.beginnings.insert(beginning, owner.to_owned()),
        };
        Ok(())
    }

    /// Owner of an id, without `uri:`.
    pub(crate) fn owner(&self, id: &str) -> Option<&str> {
        if let Some(owner) = self.whole.get(id) {
            return Some(owner);
        }
        // Beginnings of one id contain each other, so at most one per length; all of them have one owner.
        (0..=id.len())
            .filter_map(|length| id.get(..length))
            .find_map(|beginning| self.beginnings.get(beginning))
            .map(String::as_str)
    }

    /// True when some id belongs to this identity.
    pub(crate) fn has_owner(&self, identity: &str) -> bool {
        let name = without_scheme(identity);
        let mut owners = self.whole.values().chain(self.beginnings.values());
        owners.any(|owner| owner == name)
    }

    /// Owners, without `uri:`; one that has several patterns comes several times.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &str> {
        let owners = self.whole.values().chain(self.beginnings.values());
        owners.map(String::as_str)
    }

    /// Ids as written, with their owners; sorted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let whole = self
            .whole
            .iter()
            .map(|(id, owner)| (id.clone(), owner.as_str()));
        let beginnings = self.beginnings.iter();
        whole.chain(beginnings.map(|(beginning, owner)| (format!("{beginning}*"), owner.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tied(entries: &[(&str, &str)]) -> Result<VerifierIds, String> {
        let mut ids = VerifierIds::default();
        for (pattern, owner) in entries {
            ids.tie(IdPattern::parse(pattern).expect("a pattern"), owner)?;
        }
        Ok(ids)
    }

    #[test]
    fn an_id_has_one_owner_or_none() {
        let ids = tied(&[
            ("orders-*", "urn:a"),
            ("orders-eu-*", "urn:a"),
            ("till", "urn:b"),
        ])
        .unwrap();
        assert_eq!(ids.owner("orders-7"), Some("urn:a"));
        assert_eq!(ids.owner("orders-eu-7"), Some("urn:a"));
        assert_eq!(ids.owner("till"), Some("urn:b"));
        assert_eq!(ids.owner("till-2"), None);
        assert_eq!(ids.owner("order"), None);
    }

    #[test]
    fn two_identities_have_no_id_in_common() {
        for entries in [
            [("orders-*", "urn:a"), ("orders-1", "urn:b")],
            [("orders-1", "urn:a"), ("orders-*", "urn:b")],
            [("orders-*", "urn:a"), ("orders-eu-*", "urn:b")],
            [("orders-eu-*", "urn:a"), ("orders-*", "urn:b")],
            [("*", "urn:a"), ("till", "urn:b")],
            [("till", "urn:a"), ("till", "urn:b")],
        ] {
            assert_eq!(tied(&entries), Err("urn:a".to_owned()), "{entries:?}");
        }
    }

    #[test]
    fn a_pattern_is_an_id_or_the_beginning_of_ids() {
        for text in ["", "a b", "*x", "a**", "\u{e9}*"] {
            assert_eq!(IdPattern::parse(text), None, "{text}");
        }
    }
}
