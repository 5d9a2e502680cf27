//! How many names a file has in a snapshot.
//!
//! Equal files of a snapshot have one inode number, so programs take them for hard links, and want to be told
//! how many there are. Counting reads the whole tree once, so a thread of its own does it ([`View::count_links`]),
//! and from one generation to the next it costs what differs. Whoever looks up a file first waits for the count,
//! so that a client that asks about links is told; not for long, since a huge tree takes its time: until it is
//! counted, its files have one link each, as far as anybody is told.
//!
//! Always true: a count is that of a whole snapshot or is not told; counting begins when a file of a snapshot is
//! looked up, or when a flip shows the snapshot to those who look at files of the one before; and again when that
//! count was dropped to make room.
//!
//! [`View::count_links`]: super::View::count_links

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::access::{Access, Rule};
use super::identity;
use super::roots::Root;
use crate::diff::{Change, diff};
use crate::digest::SnapshotId;
use crate::tree::{Dir, Item, Kind, NodeError, Nodes};
use crate::walk::walk;

/// What slots tell, and what the next count may begin with, take at most this much memory each, unless the
/// newest takes more.
const KEPT_BYTES: usize = 24 << 20;
/// The longest that a lookup waits for a count.
const PATIENCE: Duration = Duration::from_secs(1);
/// And no more than so many are kept of each.
const KEPT_MAX: usize = 32;
/// Slots that are expected to be entered.
const EXPECTED_MAX: usize = 8;
/// So many slots are looked through for those that nobody holds.
const SLOTS_SWEPT: usize = 64;

/// Names of files that are replaced in place by those who mirror a tree, so that they must not be links of one
/// another: the metadata's own index, and lists of files.
fn is_replaced_in_place(name: &str) -> bool {
    ["repomd.xml", "treeinfo", ".treeinfo", "fullfilelist", "fullfiletimelist", "imagelist"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// The inode number of a file of a snapshot, of a lone one or of one that shares it with its equals.
pub(super) fn number_of_file(
    item: &Item,
    path: impl Fn() -> String,
    name: &str,
    rule: Rule,
    is_lone: bool,
) -> u64 {
    let Kind::File { blob, size_bytes, executable } = &item.kind else { return 0 };
    let number = identity::ruled(identity::of_file(*blob, *size_bytes, *executable, item.mtime), rule);
    if is_lone || is_replaced_in_place(name) { identity::at_path(number, &path()) } else { number }
}

/// How often each number is there, of all files of a snapshot.
#[derive(Debug)]
struct Tally {
    root: Dir,
    access: Option<Arc<Access>>,
    /// Of every file of a snapshot counted before, sorted; shared by all tallies that began with it.
    numbers: Arc<[u64]>,
    /// How many more, or fewer, there are here: sorted, none by zero.
    since: Vec<(u64, i64)>,
    several: Arc<Several>,
}

/// Numbers that are there more than once, sorted, and how often.
type Several = Box<[(u64, u32)]>;

/// A tally is made anew from `numbers` when what changed since is more than this part of them.
const SINCE_PART: usize = 16;

impl Tally {
    fn whole(nodes: &impl Nodes, root: Dir, access: Option<Arc<Access>>) -> Result<Self, NodeError> {
        let mut numbers = Vec::with_capacity(usize::try_from(root.sums.files).unwrap_or(0));
        walk(nodes, root, "", &mut |path, item| {
            numbers.extend(number_at(path, item, access.as_deref()));
            Ok::<(), NodeError>(())
        })?;
        numbers.sort_unstable();
        Ok(Self::of(root, access, numbers.into()))
    }

    /// The tally of sorted numbers.
    fn of(root: Dir, access: Option<Arc<Access>>, numbers: Arc<[u64]>) -> Self {
        let runs = numbers.chunk_by(|a, b| a == b).filter(|run| run.len() > 1);
        let several = runs.map(|run| (run[0], u32::try_from(run.len()).unwrap_or(u32::MAX))).collect();
        Self { root, access, numbers, since: Vec::new(), several: Arc::new(several) }
    }

    /// The tally of another snapshot with the same rules, at the cost of the difference.
    fn other(&self, nodes: &impl Nodes, root: Dir) -> Result<Self, NodeError> {
        let mut changes = Vec::new();
        let access = self.access.as_deref();
        diff(nodes, self.root, root, &mut |path, change| {
            let (old, new) = match change {
                Change::Added(new) => (None, Some(new)),
                Change::Removed(old) => (Some(old), None),
                Change::Changed(old, new) => (Some(old), Some(new)),
            };
            changes.extend(old.and_then(|item| number_at(path, item, access)).map(|number| (number, -1)));
            changes.extend(new.and_then(|item| number_at(path, item, access)).map(|number| (number, 1)));
            Ok::<(), NodeError>(())
        })?;
        Ok(self.changed(root, changes))
    }

    /// The tally with so many more, or fewer, of some numbers.
    fn changed(&self, root: Dir, changes: Vec<(u64, i64)>) -> Self {
        let changes = summed(changes);
        let since = summed(self.since.iter().chain(&changes).copied().collect());
        if since.len() > self.numbers.len() / SINCE_PART {
            return Self::of(root, self.access.clone(), merged(&self.numbers, &since));
        }
        let mut several = Vec::new();
        let (mut numbers, mut sinces) = (&self.numbers[..], &since[..]);
        for (number, change) in changes {
            let before = self.several.binary_search_by_key(&number, |(number, _)| *number).ok();
            if change < 0 && before.is_none() {
                // There was one, and is none.
                continue;
            }
            numbers = &numbers[gallop(numbers, |other| *other < number)..];
            sinces = &sinces[gallop(sinces, |(other, _)| *other < number)..];
            let count = numbers.iter().take_while(|other| **other == number).count();
            let since = sinces.first().filter(|(other, _)| *other == number).map_or(0, |(_, since)| *since);
            let count = i64::try_from(count).unwrap_or(i64::MAX).saturating_add(since);
            if before.is_some() || count > 1 {
                several.push((number, u32::try_from(count).unwrap_or(0)));
            }
        }
        let several = if several.is_empty() { Arc::clone(&self.several) } else { self.with_several(several) };
        Self { root, access: self.access.clone(), numbers: Arc::clone(&self.numbers), since, several }
    }

    /// What is there more than once when these, sorted, are there so often.
    fn with_several(&self, mut counts: Vec<(u64, u32)>) -> Arc<Several> {
        let same =
            |(number, _): &&(u64, u32)| counts.binary_search_by_key(number, |(other, _)| *other).is_err();
        let same: Vec<(u64, u32)> = self.several.iter().filter(same).copied().collect();
        counts.retain(|(_, count)| *count > 1);
        counts.extend(same);
        counts.sort_unstable();
        Arc::new(counts.into())
    }

    /// What it takes, of which what it shares counts in part.
    fn bytes(&self) -> usize {
        size_of_val(&*self.since) + size_of_val(&*self.numbers) / Arc::strong_count(&self.numbers)
    }
}

/// How many of the first of a list are `before` the rest, in time that grows with that number's logarithm.
fn gallop<T>(list: &[T], before: impl Fn(&T) -> bool) -> usize {
    let mut bound = 1;
    while bound <= list.len() && before(&list[bound - 1]) {
        bound *= 2;
    }
    let from = bound / 2;
    from + list[from..bound.min(list.len())].partition_point(before)
}

/// The sum for each number, sorted, without those that come to nothing.
fn summed(mut changes: Vec<(u64, i64)>) -> Vec<(u64, i64)> {
    changes.sort_unstable_by_key(|(number, _)| *number);
    let same = changes.chunk_by(|(a, _), (b, _)| a == b);
    let sums = same.map(|same| (same[0].0, same.iter().map(|(_, change)| change).sum()));
    sums.filter(|(_, sum)| *sum != 0).collect()
}

/// Sorted numbers with so many more, or fewer, of some.
fn merged(numbers: &[u64], changes: &[(u64, i64)]) -> Arc<[u64]> {
    let mut merged = Vec::with_capacity(numbers.len() + changes.len());
    let mut rest = numbers;
    for &(number, change) in changes {
        let before = rest.partition_point(|other| *other < number);
        merged.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        match usize::try_from(change) {
            Ok(more) => merged.extend(std::iter::repeat_n(number, more)),
            Err(_) => rest = &rest[usize::try_from(change.unsigned_abs()).unwrap_or(0).min(rest.len())..],
        }
    }
    merged.extend_from_slice(rest);
    merged.into()
}

fn number_at(path: &str, item: &Item, access: Option<&Access>) -> Option<u64> {
    if !matches!(item.kind, Kind::File { .. }) {
        return None;
    }
    let rule = access.map_or(Rule::USUAL, |access| access.rule(|| path.to_owned()));
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    Some(number_of_file(item, || path.to_owned(), name, rule, false))
}

/// Where everything below a snapshot's root finds its count, while there is one.
#[derive(Debug)]
pub(super) struct Slot {
    snapshot: SnapshotId,
    counted: RwLock<Weak<Several>>,
    is_wished: AtomicBool,
    /// Somebody waited for the count in vain.
    is_waited_out: AtomicBool,
}

impl Slot {
    fn counted(&self) -> Option<Arc<Several>> {
        self.counted.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// How many names the file with this number has.
    pub(super) fn links(&self, number: u64) -> u32 {
        let Some(several) = self.counted() else { return 1 };
        several.binary_search_by_key(&number, |(number, _)| *number).map_or(1, |at| several[at].1)
    }
}

/// The counts of snapshots, and those that are wanted.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    state: Mutex<State>,
    wish: Condvar,
    /// A count is there, or will not be.
    done: Condvar,
    /// Somebody counts.
    is_served: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    slots: HashMap<SnapshotId, Weak<Slot>>,
    wanted: VecDeque<Weak<Slot>>,
    /// What the next count may begin with, the newest last.
    bases: VecDeque<Arc<Tally>>,
    /// What slots tell, the newest last.
    told: VecDeque<Arc<Several>>,
    /// Slots that will be entered, kept until they are.
    expected: VecDeque<Arc<Slot>>,
}

impl Tallies {
    /// The slot of a snapshot that somebody enters.
    pub(super) fn slot(&self, snapshot: SnapshotId) -> Arc<Slot> {
        let mut state = self.lock();
        if let Some(slot) = state.slots.get(&snapshot).and_then(Weak::upgrade) {
            return slot;
        }
        if state.slots.len() >= SLOTS_SWEPT {
            state.slots.retain(|_, slot| slot.strong_count() > 0);
        }
        let slot = Arc::new(Slot {
            snapshot,
            counted: RwLock::default(),
            is_wished: AtomicBool::new(false),
            is_waited_out: AtomicBool::new(false),
        });
        state.slots.insert(snapshot, Arc::downgrade(&slot));
        slot
    }

    /// Wishes for the count of a slot, unless it is there or wished for, and waits a while for it. The caller holds
    /// no lock that whoever counts needs.
    pub(super) fn want(&self, slot: &Arc<Slot>) {
        if slot.counted().is_some() {
            return;
        }
        self.wish_for(slot);
        if self.is_served.load(Ordering::Relaxed) && !slot.is_waited_out.load(Ordering::Relaxed) {
            let is_missing = |_: &mut State| slot.is_wished.load(Ordering::Relaxed);
            let waited = self.done.wait_timeout_while(self.lock(), PATIENCE, is_missing);
            if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                slot.is_waited_out.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Wishes for the count of the snapshot that will be entered next by those who are in `old`, if anybody wished
    /// for the count of that.
    pub(super) fn expect(&self, old: SnapshotId, new: SnapshotId) {
        let is_counted = |slot: Arc<Slot>| slot.counted().is_some();
        if !self.lock().slots.get(&old).and_then(Weak::upgrade).is_some_and(is_counted) {
            return;
        }
        let slot = self.slot(new);
        if slot.counted().is_none() && self.wish_for(&slot) {
            let mut state = self.lock();
            state.expected.push_back(slot);
            if state.expected.len() > EXPECTED_MAX {
                state.expected.pop_front();
            }
        }
    }

    /// Wishes for a count; `false` when it is wished for already.
    fn wish_for(&self, slot: &Arc<Slot>) -> bool {
        let is_new = !slot.is_wished.swap(true, Ordering::Relaxed);
        if is_new {
            self.lock().wanted.push_back(Arc::downgrade(slot));
            self.wish.notify_one();
        }
        is_new
    }

    /// Waits for a wish, at most so long.
    pub(super) fn next(&self, patience: Duration) -> Option<(SnapshotId, Arc<Slot>)> {
        self.is_served.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        if state.wanted.is_empty() {
            let waited = self.wish.wait_timeout(state, patience);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        // Nobody is interested any more in some.
        while let Some(slot) = state.wanted.pop_front() {
            if let Some(slot) = slot.upgrade() {
                return Some((slot.snapshot, slot));
            }
        }
        None
    }

    /// Counts the files of a snapshot, fills its slot, and calls `visit` with those that are there more than
    /// once. After an error the snapshot stays uncounted.
    pub(super) fn count(
        &self,
        nodes: &impl Nodes,
        root: Root,
        slot: &Slot,
        visit: &mut dyn FnMut(u64, u32),
    ) -> Result<(), NodeError> {
        let Kind::Dir(dir) = root.item.kind else { return Ok(()) };
        let bases = self.lock().bases.clone();
        let alike = bases.iter().filter(|tally| tally.access == root.access);
        // Of nearly the same size is most likely of the same ref.
        let base = alike
            .min_by_key(|tally| (tally.root.id != dir.id, tally.root.sums.files.abs_diff(dir.sums.files)));
        let tally = match base {
            Some(base) => base.other(nodes, dir)?,
            None => Tally::whole(nodes, dir, root.access)?,
        };
        let several = Arc::clone(&tally.several);
        *slot.counted.write().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&several);
        {
            let mut state = self.lock();
            state.bases.push_back(Arc::new(tally));
            shorten(&mut state.bases, |tally| tally.bytes());
            state.told.push_back(Arc::clone(&several));
            shorten(&mut state.told, |several| size_of_val(&***several));
            slot.is_wished.store(false, Ordering::Relaxed);
        }
        self.done.notify_all();
        several.iter().for_each(|(number, count)| visit(*number, *count));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked lost at most a wish.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the oldest until what is left is no more than [`KEPT_MAX`] and [`KEPT_BYTES`]; the newest stays.
fn shorten<T>(kept: &mut VecDeque<T>, bytes: impl Fn(&T) -> usize) {
    let mut all: usize = kept.iter().map(&bytes).sum();
    while (all > KEPT_BYTES || kept.len() > KEPT_MAX) && kept.len() > 1 {
        all -= kept.pop_front().map_or(0, |gone| bytes(&gone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::NodeId;
    use crate::tree::Sums;

    fn tally(mut numbers: Vec<u64>) -> Tally {
        numbers.sort_unstable();
        Tally::of(Dir { id: NodeId::of(b""), sums: Sums::default() }, None, numbers.into())
    }

    #[test]
    fn a_changed_tally_is_that_of_what_is_there_now() {
        let mut state = 1_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut shared = 0;
        for size in (0..400).step_by(2) {
            let mut now: Vec<u64> = (0..size).map(|_| next(size)).collect();
            let mut changed = tally(now.clone());
            for _ in 0..6 {
                let mut moves = Vec::new();
                for _ in 0..next(5) {
                    if !now.is_empty() && next(2) == 0 {
                        let gone = usize::try_from(next(now.len() as u64)).unwrap();
                        moves.push((now.swap_remove(gone), -1));
                    } else {
                        now.push(next(size + 1));
                        moves.push((now[now.len() - 1], 1));
                    }
                }
                let before = Arc::clone(&changed.numbers);
                changed = changed.changed(changed.root, moves);
                shared += usize::from(Arc::ptr_eq(&before, &changed.numbers));
                let expected = tally(now.clone());
                assert_eq!(changed.several, expected.several);
                assert_eq!(merged(&changed.numbers, &changed.since), expected.numbers);
            }
        }
        assert!((100..1100).contains(&shared), "{shared} of 1200 were shared");
    }
}
