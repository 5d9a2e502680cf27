//! What is wrong with a section, and where in it.

use super::lines::line_of;
use super::{ConfigError, suggestion};

/// Something that is wrong: keys lead to it from the section, or from the file once it is [`Fault::under`] one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    path: Vec<String>,
    message: String,
    suggestion: Option<String>,
}

impl Fault {
    pub(super) fn at(path: &[&str], message: impl Into<String>) -> Self {
        let path = path.iter().map(|key| (*key).to_owned()).collect();
        Self { path, message: message.into(), suggestion: None }
    }

    /// Adds the nearest of the words that could have been meant by `word`.
    pub(super) fn meant<'a>(mut self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.suggestion = suggestion::nearest(word, known).map(str::to_owned);
        self
    }

    /// The same, said of the table that `keys` lead to from the file.
    pub(super) fn under(mut self, keys: &[&str]) -> Self {
        self = self.of(&keys.join("."));
        self.path.splice(0..0, keys.iter().map(|key| (*key).to_owned()));
        self
    }

    /// The same, said of this.
    pub(super) fn of(mut self, what: &str) -> Self {
        self.message = format!("{what} {}", self.message);
        self
    }

    /// The same as an error of a file.
    pub(super) fn in_file(self, text: &str) -> ConfigError {
        let Self { path, message, suggestion } = self;
        ConfigError { line: line_of(text, &path), message, suggestion }
    }
}

/// A text as it is printed in an error: not more of it than one can take in.
pub(super) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
    }
}
