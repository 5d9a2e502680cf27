//! A table of the file whose keys are taken one by one, so that what nobody took is known at the end.

use std::cell::RefCell;

use super::yaml::{Node, Value};
use super::{ImportError, Remark};

pub(super) struct Section<'a> {
    path: String,
    line: usize,
    /// The lines of all keys, those that were taken included.
    lines: Vec<(String, usize)>,
    left: Vec<(String, Node)>,
    remarks: &'a RefCell<Vec<Remark>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn of_file(node: Node, remarks: &'a RefCell<Vec<Remark>>) -> Result<Self, ImportError> {
        match node.value {
            Value::Map(left) => Ok(Self::new(String::new(), node.line, left, remarks)),
            _ => Err(ImportError { line: node.line, reason: "a table was expected".to_owned() }),
        }
    }

    fn new(path: String, line: usize, left: Vec<(String, Node)>, remarks: &'a RefCell<Vec<Remark>>) -> Self {
        let lines = left.iter().map(|(name, node)| (name.clone(), node.line)).collect();
        Self { path, line, lines, left, remarks }
    }

    /// The line on which it begins.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Says something of a key, or of all of it.
    pub(super) fn remark(&self, line: usize, key: &str, what: &str) {
        let key = match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        };
        self.remarks.borrow_mut().push(Remark { line, key, what: what.to_owned() });
    }

    /// The keys that nobody took.
    pub(super) fn names(&self) -> Vec<String> {
        self.left.iter().map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|(name, _)| name == key)
    }

    /// The line of a key, of the section for one that it does not have.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.lines.iter().find(|(name, _)| name == key).map_or(self.line, |(_, line)| *line)
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.left.iter().position(|(name, _)| name == key)?;
        Some(self.left.remove(at).1)
    }

    /// A text further down, left where it is.
    pub(super) fn peek(&self, path: &[&str]) -> Option<String> {
        let (first, rest) = path.split_first()?;
        let mut found = &self.left.iter().find(|(name, _)| name == first)?.1;
        for key in rest {
            let Value::Map(map) = &found.value else { return None };
            found = &map.iter().find(|(name, _)| name == key)?.1;
        }
        match &found.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn line_and_text(&mut self, key: &str) -> Option<(usize, String)> {
        let node = self.take(key)?;
        match node.value {
            Value::Text(text) => Some((node.line, text)),
            Value::Nothing => None,
            _ => {
                self.remark(node.line, key, "is left out: a text was expected");
                None
            }
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.line_and_text(key).map(|(_, text)| text)
    }

    /// A text without which there is nothing to convert.
    pub(super) fn needed(&mut self, key: &str) -> Result<String, ImportError> {
        let line = self.line_of(key);
        let missing = || ImportError { line, reason: format!("{} has no text `{key}`", self.path) };
        let error = missing();
        self.text(key).ok_or(error)
    }

    /// The texts of a list without which there is nothing to convert; a single one is a list, too.
    pub(super) fn needed_list(&mut self, key: &str) -> Result<Vec<String>, ImportError> {
        let refuse = |line, what: &str| ImportError { line, reason: format!("{} {what} `{key}`", self.path) };
        let list = match self.left.iter().find(|(name, _)| name == key).map(|(_, node)| node) {
            None => return Err(refuse(self.line, "has no list")),
            Some(Node { line, value: Value::Nothing }) => return Err(refuse(*line, "has nothing in")),
            Some(Node { value: Value::List(list), .. }) => list.iter().collect(),
            Some(one) => vec![one],
        };
        if let Some(other) = list.iter().find(|node| !matches!(node.value, Value::Text(_))) {
            return Err(refuse(other.line, "has something else than texts in"));
        }
        if list.is_empty() {
            return Err(refuse(self.line_of(key), "has nothing in"));
        }
        Ok(self.list(key))
    }

    /// A table without which there is nothing to convert; it may be empty.
    pub(super) fn needed_section(&mut self, key: &str) -> Result<Self, ImportError> {
        let reason = format!("{} has no table `{key}`", self.path);
        let line = self.line_of(key);
        if let Some((_, node)) = self.left.iter_mut().find(|(name, _)| name == key)
            && node.value == Value::Nothing
        {
            node.value = Value::Map(Vec::new());
        }
        self.section(key).ok_or(ImportError { line, reason })
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        let node = self.take(key)?;
        match node.value {
            Value::Flag(flag) => Some(flag),
            Value::Nothing => None,
            _ => {
                self.remark(node.line, key, "is left out: True or False was expected");
                None
            }
        }
    }

    /// The texts of a list; a single one is a list, too.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let list = match node.value {
            Value::List(list) => list,
            Value::Nothing => Vec::new(),
            value => vec![Node { line: node.line, value }],
        };
        let mut texts = Vec::with_capacity(list.len());
        for node in list {
            match node.value {
                Value::Text(text) => texts.push(text),
                _ => self.remark(node.line, key, "something of it is left out: a text was expected"),
            }
        }
        texts
    }

    /// The texts of a table.
    pub(super) fn texts(&mut self, key: &str) -> Vec<(String, String)> {
        let Some(mut section) = self.section(key) else { return Vec::new() };
        let names = section.names();
        names.into_iter().filter_map(|name| section.text(&name).map(|text| (name, text))).collect()
    }

    pub(super) fn section(&mut self, key: &str) -> Option<Self> {
        let node = self.take(key)?;
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        match node.value {
            Value::Map(left) => Some(Self::new(path, node.line, left, self.remarks)),
            Value::Nothing => None,
            _ => {
                self.remark(node.line, key, "is left out: a table was expected");
                None
            }
        }
    }

    /// Takes a key that is not converted, and says why.
    pub(super) fn leave(&mut self, key: &str, why: &str) {
        if let Some(node) = self.take(key) {
            self.remark(node.line, key, why);
        }
    }

    /// Says what is left.
    pub(super) fn finish(mut self) {
        for (name, node) in std::mem::take(&mut self.left) {
            self.remark(node.line, &name, "is left out: cfs does not know it");
        }
    }
}
