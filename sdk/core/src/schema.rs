//! Schema: the designations that an operation on a target must be bound by.
//!
//! A capability that is not bound to a tenant is good for every tenant. The schema names the operations where that must
//! not be: minting refuses to issue such a capability, and a verifier refuses to accept one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Designation, SchemaError, mint};

/// Most targets, operations of a target, and labels of an operation.
const ENTRIES_MAX: usize = 1024;

/// Operations of every target, and the labels that each requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    targets: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

impl Schema {
    /// Empty schema.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an operation of a target.
    ///
    /// # Errors
    /// [`SchemaError`]: a name that cannot be used, a reserved label, an operation that is there already, too many.
    pub fn add(
        &mut self,
        target: &str,
        operation: &str,
        required: impl IntoIterator<Item = String>,
    ) -> Result<(), SchemaError> {
        let required: BTreeSet<String> = required.into_iter().collect();
        for name in [target, operation]
            .into_iter()
            .chain(required.iter().map(String::as_str))
        {
            mint::check_name(name)
                .map_err(|_| SchemaError::Name(name.escape_default().to_string()))?;
        }
        if let Some(label) = required.iter().find(|label| is_reserved(label)) {
            return Err(SchemaError::Reserved(label.clone()));
        }
        let targets = self.targets.len();
        let operations = self.targets.entry(target.to_owned()).or_default();
        if targets > ENTRIES_MAX || operations.len() >= ENTRIES_MAX || required.len() > ENTRIES_MAX
        {
            return Err(SchemaError::TooMany { limit: ENTRIES_MAX });
        }
        if operations.contains_key(operation) {
            return Err(SchemaError::Twice {
                target: target.to_owned(),
                operation: operation.to_owned(),
            });
        }
        operations.insert(operation.to_owned(), required);
        Ok(())
    }

    /// Labels that the operation requires, sorted.
    ///
    /// # Errors
    /// [`SchemaError::Unknown`] when a target is known and the operation is none of its. A target that the schema does
    /// not know requires nothing.
    pub fn required(&self, target: &str, operation: &str) -> Result<Vec<String>, SchemaError> {
        let Some(operations) = self.targets.get(target) else {
            return Ok(Vec::new());
        };
        let required = operations.get(operation);
        let required = required.ok_or_else(|| SchemaError::Unknown {
            target: target.to_owned(),
            operation: operation.to_owned(),
        })?;
        Ok(required.iter().cloned().collect())
    }
}

fn is_reserved(label: &str) -> bool {
    matches!(label, Designation::ANCHOR | Designation::FACET)
}
