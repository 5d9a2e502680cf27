//! Records by number, packed.
//!
//! A map of the standard library keeps its records in a table that is between a half and seven eighths full and
//! grows by doubling, which a million records of 64 bytes pay with as much memory again. Here that table holds
//! places only, of four bytes each, and the records lie side by side in pieces that come and go.
//!
//! Always true: no two records have one number; what memory is taken follows how many records there are, down
//! as well as up.

use hashbrown::HashTable;

/// Records lie in pieces of so many, so that none is copied when there come to be more.
const PIECE: usize = 1024;
/// Room for so few is not worth giving back.
pub(super) const ROOM_MIN: usize = 64;

/// Records of one kind. The numbers are to be as good as random.
#[derive(Debug)]
pub(super) struct Table<T> {
    places: HashTable<u32>,
    /// All of them full but the last.
    pieces: Vec<Vec<(u64, T)>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: HashTable::new(), pieces: Vec::new() }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let place = self.places.find(mixed(number), |&place| at(&self.pieces, place).0 == number)?;
        Some(&at(&self.pieces, *place).1)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = *self.places.find(mixed(number), |&place| at(&self.pieces, place).0 == number)?;
        let (piece, index) = split(place);
        Some(&mut self.pieces[piece][index].1)
    }

    /// Adds a record with a number that no other has, or gives it back when the table is full.
    pub(super) fn insert(&mut self, number: u64, record: T) -> Result<(), T> {
        debug_assert!(self.get(number).is_none(), "{number} is there already");
        let Ok(place) = u32::try_from(self.len()) else { return Err(record) };
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push((number, record)),
            _ => {
                // The first piece grows with the few that most tables have.
                let room = if self.pieces.is_empty() { 0 } else { PIECE };
                let mut piece = Vec::with_capacity(room);
                piece.push((number, record));
                self.pieces.push(piece);
            }
        }
        let pieces = &self.pieces;
        self.places.insert_unique(mixed(number), place, |&place| mixed(at(pieces, place).0));
        Ok(())
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let pieces = &self.pieces;
        let found = |place: &u32| at(pieces, *place).0 == number;
        let (place, _) = self.places.find_entry(mixed(number), found).ok()?.remove();
        let last = u32::try_from(self.len()).ok()?;
        let gone = self.pieces.last_mut()?.pop()?;
        if self.pieces.last().is_some_and(Vec::is_empty) {
            self.pieces.pop();
        }
        let record = if place == last {
            gone
        } else {
            // The last record takes the place that is free now.
            if let Some(its) = self.places.find_mut(mixed(gone.0), |&place| place == last) {
                *its = place;
            }
            let (piece, index) = split(place);
            std::mem::replace(&mut self.pieces[piece][index], gone)
        };
        let len = self.len();
        if self.places.capacity() > ROOM_MIN && len < self.places.capacity() / 4 {
            let pieces = &self.pieces;
            self.places.shrink_to(len * 2, |&place| mixed(at(pieces, place).0));
        }
        Some(record.1)
    }
}

fn at<T>(pieces: &[Vec<(u64, T)>], place: u32) -> &(u64, T) {
    let (piece, index) = split(place);
    &pieces[piece][index]
}

/// The piece of a place, and where it is in it.
fn split(place: u32) -> (usize, usize) {
    // No supported system has pointers of less than 32 bits.
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    (place / PIECE, place % PIECE)
}

/// Brings the number's bits to where a hash table wants them: into the highest and the lowest.
fn mixed(number: u64) -> u64 {
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    high ^ (high >> 32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u8..5, 0_u64..40, any::<u8>()), 1..400)) {
            let (mut table, mut model) = (Table::default(), HashMap::new());
            for (kind, number, value) in steps {
                match kind {
                    0..3 if !model.contains_key(&number) => {
                        prop_assert!(table.insert(number, value).is_ok());
                        model.insert(number, value);
                    }
                    0..3 => {
                        *table.get_mut(number).unwrap() = value;
                        model.insert(number, value);
                    }
                    _ => prop_assert_eq!(table.remove(number), model.remove(&number)),
                }
                prop_assert_eq!(table.len(), model.len());
                for number in 0..40 {
                    prop_assert_eq!(table.get(number), model.get(&number));
                }
            }
        }
    }

    #[test]
    fn memory_follows_the_records() {
        let mut table = Table::default();
        (0..100_000_u64).for_each(|number| table.insert(number << 20, [0_u8; 56]).unwrap());
        (100..100_000).for_each(|number| assert!(table.remove(number << 20).is_some()));
        assert!(table.pieces.len() == 1 && table.places.capacity() < 1000);
        assert!((0..100).all(|number| table.get(number << 20).is_some()));
    }
}
