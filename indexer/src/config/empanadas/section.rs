//! A table of the file whose keys are taken one by one, so that what nobody took is known at the end.

use std::cell::RefCell;

use super::yaml::{Node, Value};
use super::{ImportError, Remark};

pub(super) struct Section<'a> {
    path: String,
    line: usize,
    left: Vec<(String, Node)>,
    remarks: &'a RefCell<Vec<Remark>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn of_file(node: Node, remarks: &'a RefCell<Vec<Remark>>) -> Result<Self, ImportError> {
        match node.value {
            Value::Map(left) => Ok(Self { path: String::new(), line: node.line, left, remarks }),
            _ => Err(ImportError { line: node.line, reason: "a table was expected".to_owned() }),
        }
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
        self.left.iter().find(|(name, _)| name == key).map_or(self.line, |(_, node)| node.line)
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
            Value::Map(left) => Some(Self { path, line: node.line, left, remarks: self.remarks }),
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
