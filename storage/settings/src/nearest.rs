//! The word that a typo meant.

/// The known word that a typo most likely meant.
#[must_use]
pub fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known
        .iter()
        .filter_map(|word| Some((similarity(unknown, word)?, *word)));
    let (score, best) = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (score >= SIMILAR).then_some(best)
}

/// Similarity from which on a text counts as a misspelt word. Origin: a swapped pair of letters in a five-letter word.
pub const SIMILAR: f64 = 0.6;

/// Similarity of a text and a word, 0 to 1; `None` for a text that is longer than any word of a person.
#[must_use]
pub fn similarity(unknown: &str, word: &str) -> Option<f64> {
    // The distance costs the product of the lengths.
    const LENGTH_MAX: usize = 256;
    let is_short = unknown.len() <= LENGTH_MAX && word.len() <= LENGTH_MAX;
    is_short.then(|| strsim::normalized_damerau_levenshtein(unknown, word))
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
