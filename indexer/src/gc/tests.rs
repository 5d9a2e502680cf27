use std::hash::{BuildHasher, RandomState};

use super::*;

mod world;

use world::World;

/// Operations of one world: it grows, so many small ones find more than a large one.
const WORLD: u64 = 3400;

/// Lives through a world and returns it, or what went wrong and how it came about.
fn live(seed: u64, broken: Option<Broken>) -> Result<World, String> {
    let mut world = World::new(seed, broken);
    let fail = |world: &World, failure| {
        format!("seed {seed}, operation {}: {failure}; before:\n{}", world.operations, world.trace())
    };
    while world.operations < WORLD {
        if let Err(failure) = world.step() {
            return Err(fail(&world, failure));
        }
    }
    world.check().map_err(|failure| fail(&world, failure))?;
    world.end().map_err(|failure| format!("seed {seed}, at the end: {failure}"))
}

/// Seeds that are always the same, and as many that are new each time.
fn seeds(count: u64) -> Vec<u64> {
    let first = RandomState::new().hash_one("cfs");
    (0..count / 2).chain((0..count - count / 2).map(|more| first.wrapping_add(more))).collect()
}

#[test]
fn nothing_that_is_needed_is_ever_deleted() {
    let seeds = seeds(30);
    let (mut operations, mut deleted, mut stopped) = (0, Amount::default(), 0);
    let half = seeds.len() / 2;
    let run = |seeds: &[u64]| seeds.iter().map(|seed| live(*seed, None)).collect::<Vec<_>>();
    let worlds = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(&seeds[half..]));
        let mut worlds = run(&seeds[..half]);
        worlds.extend(other.join().unwrap());
        worlds
    });
    for world in worlds {
        let world = world.unwrap_or_else(|failure| panic!("{failure}"));
        operations += world.operations;
        stopped += world.stopped;
        deleted.snapshots += world.deleted.snapshots;
        deleted.nodes += world.deleted.nodes;
        deleted.blobs += world.deleted.blobs;
        deleted.files += world.deleted.files;
    }
    println!("{operations} operations from seed {} on; {deleted:?}, {stopped} stopped", seeds[half]);
    assert!(operations >= 100_000);
    // It was put to the test at all.
    assert!(deleted.snapshots > 1000 && deleted.nodes > 3000 && deleted.blobs > 1000 && stopped > 100);
}

/// A collector without one of its rules must be found out, or the test above says nothing.
#[test]
fn a_collector_that_breaks_a_rule_is_found_out() {
    for broken in
        [Broken::SecondLook, Broken::Revival, Broken::Leases, Broken::Holds, Broken::Unlinking, Broken::Order]
    {
        let found = (0..12).find_map(|seed| live(seed, Some(broken)).err());
        let found = found.unwrap_or_else(|| panic!("nobody noticed {broken:?}"));
        println!("{broken:?}: {}", found.lines().next().unwrap_or_default());
    }
}
