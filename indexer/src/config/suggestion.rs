//! The word that was probably meant.

/// Reads the parser's words ("unknown field `grup`, expected one of `owner`, `group`") and returns the nearest
/// of the words that it expected.
pub(super) fn of(message: &str) -> Option<String> {
    let mut words = message.split('`').skip(1).step_by(2);
    let written = words.next()?;
    if !message.starts_with("unknown ") {
        return None;
    }
    nearest(written, words).map(str::to_owned)
}

/// The nearest of some words to one that was written.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer words are not compared: that takes a time that grows with the square of their length.
    const BYTES_MAX: usize = 128;
    if written.len() > BYTES_MAX {
        return None;
    }
    let known = known.into_iter().filter(|word| word.len() <= BYTES_MAX);
    let nearest = known.map(|word| (distance(written, word), word)).min()?;
    // A word that shares little with what was written is no help.
    (nearest.0 <= written.len().max(3) / 2).then_some(nearest.1)
}

/// How many letters must be added, removed, replaced to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
