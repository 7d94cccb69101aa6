//! The known word that an unknown one was probably meant to be.
//!
//! Owns: what counts as near. Leaves to others: the words, and what is said about them.

/// The word with the fewest edits to the unknown one, without regard to ASCII case; nothing when that would change more
/// than a third of it. A word that begins with the unknown one is as near as can be.
pub(super) fn nearest<'a>(
    unknown: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let edits_max = (unknown.chars().count() / 3).max(1);
    words
        .into_iter()
        // No known word is as long as this; it bounds the work on a long one.
        .filter(|word| unknown.len() <= 2 * word.len())
        .map(|word| {
            let beginning = word.get(..unknown.len()).unwrap_or_default();
            let begins = unknown.len() >= 4 && beginning.eq_ignore_ascii_case(unknown);
            (if begins { 0 } else { edits(unknown, word) }, word)
        })
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Characters to insert, delete or replace: the Levenshtein distance, by the row of its table for each prefix of `from`.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, character) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(!character.eq_ignore_ascii_case(other));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_near_word_is_found() {
        let check = |unknown, expected| {
            assert_eq!(
                nearest(unknown, ["startsWith", "contains", "in"]),
                expected,
                "{unknown}"
            );
        };
        check("startswith", Some("startsWith"));
        check("beginsWith", None);
        check("contain", Some("contains"));
        check("STARTS", Some("startsWith"));
        check("cotnains", Some("contains"));
        check("im", Some("in"));
        check("x", None);
        check("", None);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "SAME"), 0);
    }
}
