//! The word that a typo meant.

/// The known word that a typo most likely meant.
#[must_use]
pub fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    // 0.6 is where a swapped pair of letters in a five-letter word still counts as that word.
    const SIMILAR: f64 = 0.6;
    // The distance costs the product of the lengths; no word of a person is longer.
    const LENGTH_MAX: usize = 256;
    if unknown.len() > LENGTH_MAX {
        return None;
    }
    let score = |word: &&str| strsim::normalized_damerau_levenshtein(unknown, word);
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) >= SIMILAR).then_some(*best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_near_its_word_and_another_word_is_not() {
        let known = ["connections_max", "idle_timeout"];
        assert_eq!(nearest("conections_max", &known), Some("connections_max"));
        assert_eq!(nearest("zzz", &known), None);
        assert_eq!(nearest(&"c".repeat(257), &known), None);
        assert_eq!(nearest("a", &[]), None);
    }
}
