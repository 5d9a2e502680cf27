//! Texts, each kept once and named by a number.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// A text of a [`Texts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextId(u32);

impl TextId {
    /// The empty text.
    pub const EMPTY: Self = Self(0);

    /// The number, from 0 on without gaps.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names, versions and paths of a universe. The hash is seeded: upstreams choose the texts.
#[derive(Debug)]
pub struct Texts {
    bytes: String,
    /// Where each text ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
    state: RandomState,
}

impl Default for Texts {
    fn default() -> Self {
        Self::new()
    }
}

impl Texts {
    /// The empty text alone.
    pub fn new() -> Self {
        let mut texts = Self {
            bytes: String::new(),
            ends: Vec::new(),
            table: HashTable::new(),
            state: RandomState::new(),
        };
        texts.add("");
        texts
    }

    /// How many there are, the empty one among them.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The text of a number.
    pub fn get(&self, id: TextId) -> &str {
        text_of(&self.bytes, &self.ends, id.0)
    }

    /// The number of a text that is there.
    pub fn find(&self, text: &str) -> Option<TextId> {
        let found =
            self.table.find(self.state.hash_one(text), |id| text_of(&self.bytes, &self.ends, *id) == text);
        found.map(|id| TextId(*id))
    }

    /// The number of a text, which is added if need be. `None` when there is no room for more.
    pub fn try_add(&mut self, text: &str) -> Option<TextId> {
        if let Some(id) = self.find(text) {
            return Some(id);
        }
        let end = u32::try_from(self.bytes.len() + text.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok()?;
        self.bytes.push_str(text);
        self.ends.push(end);
        let (bytes, ends, state) = (&self.bytes, &self.ends, &self.state);
        self.table.insert_unique(state.hash_one(text), id, |id| state.hash_one(text_of(bytes, ends, *id)));
        Some(TextId(id))
    }

    /// As [`Texts::try_add`]; once 4 GiB are full, everything else is the empty text, which nobody provides.
    pub fn add(&mut self, text: &str) -> TextId {
        self.try_add(text).unwrap_or(TextId::EMPTY)
    }
}

fn text_of<'a>(bytes: &'a str, ends: &[u32], id: u32) -> &'a str {
    let at = id as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] as usize };
    &bytes[start..ends[at] as usize]
}
