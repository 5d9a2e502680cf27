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
    table: HashTable<Slot>,
    state: RandomState,
    /// Whether there was no room for some.
    is_full: bool,
}

/// A text in the table, with a part of its hash: what differs there is not looked at, and a table that grows looks at
/// none.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    id: u32,
}

impl Slot {
    /// The hash that the table goes by, whose upper and lower bits both matter.
    fn of_table(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
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
            is_full: false,
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
        self.find_hashed(text, self.hash(text))
    }

    fn find_hashed(&self, text: &str, hash: u32) -> Option<TextId> {
        let is_it = |slot: &Slot| slot.hash == hash && text_of(&self.bytes, &self.ends, slot.id) == text;
        self.table.find(Slot { hash, id: 0 }.of_table(), is_it).map(|slot| TextId(slot.id))
    }

    fn hash(&self, text: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "a part of it is enough")]
        let hash = self.state.hash_one(text) as u32;
        hash
    }

    /// The number of a text, which is added if need be. `None` when there is no room for more.
    pub fn try_add(&mut self, text: &str) -> Option<TextId> {
        let hash = self.hash(text);
        match self.find_hashed(text, hash) {
            Some(id) => Some(id),
            None => self.insert(text, hash),
        }
    }

    /// Adds a text that is not there.
    fn insert(&mut self, text: &str, hash: u32) -> Option<TextId> {
        let end = u32::try_from(self.bytes.len() + text.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok()?;
        self.bytes.push_str(text);
        self.ends.push(end);
        let slot = Slot { hash, id };
        self.table.insert_unique(slot.of_table(), slot, |slot| slot.of_table());
        Some(TextId(id))
    }

    /// As [`Texts::try_add`]; once 4 GiB are full, everything else is the empty text, which nobody provides.
    pub fn add(&mut self, text: &str) -> TextId {
        let added = self.try_add(text);
        self.is_full |= added.is_none();
        added.unwrap_or(TextId::EMPTY)
    }

    /// Whether there was no room for some: what is here says less than what was read.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// As [`Texts::add`] for many, which stand in `all` one after the other; `None` when they do not.
    pub fn add_all(
        &mut self,
        all: &str,
        mut lengths: impl ExactSizeIterator<Item = usize>,
    ) -> Option<Vec<TextId>> {
        self.bytes.reserve(all.len());
        self.ends.reserve(lengths.len());
        self.table.reserve(lengths.len(), |slot| slot.of_table());
        let mut added = Vec::with_capacity(lengths.len());
        let rest = lengths.try_fold(all, |rest, length| {
            let (text, rest) = rest.split_at_checked(length)?;
            added.push(self.add(text));
            Some(rest)
        });
        rest.filter(|rest| rest.is_empty()).map(|_| added)
    }
}

fn text_of<'a>(bytes: &'a str, ends: &[u32], id: u32) -> &'a str {
    let at = id as usize;
    let start = if at == 0 { 0 } else { ends[at - 1] as usize };
    &bytes[start..ends[at] as usize]
}
