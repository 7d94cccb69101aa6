//! Which known word a mistyped one may stand for.

/// The known word nearest to `typed`, when few enough letters differ that it was likely meant.
pub(super) fn nearest<'w>(typed: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if typed.len() > WORD_BYTES_MAX {
        return None;
    }
    let typed = typed.to_lowercase().replace('-', "_");
    known
        .map(|word| (distance(typed.as_bytes(), word.as_bytes()), word))
        .filter(|(distance, word)| *distance <= word.len().div_ceil(3).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Longer words are no misspelling of a key, and the work grows with their length.
const WORD_BYTES_MAX: usize = 64;

/// Least number of bytes to put in, take out or change to make one of the other, where two
/// neighbours exchanged count as one change.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_changes_and_exchanges() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("lsiten", "listen", 1),
            ("listne", "listen", 1),
            ("bytes", "age", 4),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_words_are_suggested() {
        let nearest = |typed| nearest(typed, ["listen", "ack", "idle_timeout"].into_iter());
        assert_eq!(nearest("lsten"), Some("listen"));
        assert_eq!(nearest("Listen"), Some("listen"));
        assert_eq!(nearest("idle-timeout"), Some("idle_timeout"));
        assert_eq!(nearest("acks"), Some("ack"));
        assert_eq!(nearest("port"), None);
        assert_eq!(nearest(&"listen".repeat(100)), None);
    }
}
