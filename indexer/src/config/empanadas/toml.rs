//! Tables written as TOML.

use std::fmt::Write as _;

/// Keys stand in the table that was named last. What is empty is not written.
#[derive(Default)]
pub(super) struct Writer {
    text: String,
    /// How many lines there were when something from a line of the other file began.
    origins: Vec<(usize, usize)>,
}

impl Writer {
    /// What follows comes from this line of the other file.
    pub(super) fn from(&mut self, line: usize) -> &mut Self {
        self.origins.push((self.text.lines().count(), line));
        self
    }

    /// The line of the other file that a line, from 1, comes from.
    pub(super) fn origin(&self, line: usize) -> usize {
        let before = self.origins.iter().rev().find(|(lines, _)| *lines < line);
        before.map_or(1, |(_, origin)| *origin)
    }

    pub(super) fn table(&mut self, path: &[&str]) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let path: Vec<String> = path.iter().map(|part| key(part)).collect();
        self.line(&format!("[{}]", path.join(".")));
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.line(&format!("{} = {}", key(name), quoted(text)));
    }

    pub(super) fn number(&mut self, name: &str, number: u32) {
        self.line(&format!("{} = {number}", key(name)));
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.line(&format!("{} = {flag}", key(name)));
    }

    pub(super) fn list(&mut self, name: &str, list: &[String]) {
        if !list.is_empty() {
            self.list_even_empty(name, list);
        }
    }

    pub(super) fn list_even_empty(&mut self, name: &str, list: &[String]) {
        let list: Vec<String> = list.iter().map(|text| quoted(text)).collect();
        let line = format!("{} = [{}]", key(name), list.join(", "));
        if line.len() <= 100 {
            return self.line(&line);
        }
        self.line(&format!("{} = [", key(name)));
        list.iter().for_each(|text| self.line(&format!("    {text},")));
        self.line("]");
    }

    pub(super) fn map(&mut self, name: &str, map: &[(String, String)]) {
        if !map.is_empty() {
            let pairs: Vec<String> =
                map.iter().map(|(name, text)| format!("{} = {}", key(name), quoted(text))).collect();
            self.line(&format!("{} = {{ {} }}", key(name), pairs.join(", ")));
        }
    }

    pub(super) fn finished(&self) -> &str {
        &self.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string: all control characters are escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
