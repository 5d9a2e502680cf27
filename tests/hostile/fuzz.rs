//! The bodies of the fuzz targets, tried with mutated seeds: the same ones for the same seed, which is printed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{bodies, root};

/// Inputs for each target, unless `CFS_FUZZ_ROUNDS` says otherwise.
const ROUNDS: u64 = 3000;
/// The first state of the generator, unless `CFS_FUZZ_SEED` says otherwise.
const SEED: u64 = 20_261_121;
/// More makes a test slow and finds nothing else.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// What readers stumble over.
const PIECES: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"../",
    b"%2e%2e%2f",
    b"%00",
    b"%",
    b"<!DOCTYPE a [",
    b"<a>",
    b"</",
    b"/>",
    b"&#0;",
    b"&lt;",
    b"]]>",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x01",
    b"-1",
    b"bytes=0-,-1",
    b"99999999999999999999",
    b"\xed\xa0\x80",
    b"[view.x]\n",
    b"\x1f\x8b\x08",
];

fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let end = (at + 1 + dice.below(32)).min(bytes.len());
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end.max(at))),
            2 => {
                let piece = bytes[at..end.max(at)].to_vec();
                let times = 1 + dice.below(64);
                bytes.splice(at..at, piece.repeat(times));
            }
            3 => drop(bytes.splice(at..at, PIECES[dice.below(PIECES.len())].iter().copied())),
            4 => drop(bytes.splice(at..end.max(at), PIECES[dice.below(PIECES.len())].iter().copied())),
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len() + 1);
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ if !bytes.is_empty() => {
                let at = at.min(bytes.len() - 1);
                bytes[at] ^= 1 << dice.below(8);
            }
            _ => {}
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

/// The files of `tests/hostile/seeds` that begin with the target's name, and what is made here.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    let dir = root().join("tests/hostile/seeds");
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.split('-').next() == Some(target) {
            found.push(fs::read(path).unwrap());
        }
    }
    match target {
        "node" => found.extend(made::nodes()),
        "rpm_header" => found.push(made::package()),
        "commit_file" => found.extend(made::records()),
        "primary" => {
            let text = found.last().cloned().unwrap_or_default();
            found.push(made::gzip(&text));
        }
        _ => {}
    }
    assert!(found.len() > 1, "{target} has no seed");
    found
}

#[expect(clippy::disallowed_methods, reason = "tests read the environment")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_mutated_seed_is_a_panic_or_breaks_a_promise() {
    let (seed, rounds) = (number("CFS_FUZZ_SEED", SEED), number("CFS_FUZZ_ROUNDS", ROUNDS));
    eprintln!("CFS_FUZZ_SEED={seed} CFS_FUZZ_ROUNDS={rounds}");
    for (target, body) in bodies::ALL {
        let seeds = seeds(target);
        let mut dice = Dice(seed ^ u64::from(blake3::hash(target.as_bytes()).as_bytes()[0]) << 32 | 1);
        let given = seeds.clone().into_iter();
        let mutated = std::iter::repeat_with(|| mutate(&mut dice, &seeds));
        for (round, input) in given.chain(mutated).take(usize::try_from(rounds).unwrap()).enumerate() {
            let tried = catch_unwind(AssertUnwindSafe(|| body(&input)));
            if tried.is_err() {
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}-{round}"));
                fs::write(&path, &input).unwrap();
                panic!("{target}, round {round} of seed {seed}: the input is in {}", path.display());
            }
        }
    }
}

#[test]
fn the_targets_of_the_fuzzer_are_those_of_the_test() {
    let mut found: Vec<String> = fs::read_dir(root().join("tests/fuzz/fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut expected: Vec<String> = bodies::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(found, expected);
    let manifest = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
    assert!(expected.iter().all(|name| manifest.contains(&format!("fuzz_targets/{name}.rs"))));
}

/// Seeds that are best made by the program itself.
mod made {
    use std::io::Write;

    use cfs_fs::digest::BlobId;
    use cfs_fs::name::Name;
    use cfs_fs::tree::{Entry, Item, Kind, NodeMap, Stage};
    use cfs_indexer::commitfile;
    use cfs_indexer::snapshot::Snapshot;

    pub(super) fn nodes() -> Vec<Vec<u8>> {
        let base = NodeMap::new();
        let mut stage = Stage::new(&base);
        let entry = |name: &str, kind| Entry {
            name: Name::new(name).unwrap(),
            item: Item { mtime: 1_700_000_000, kind },
        };
        let file = |number: u64| Kind::File {
            blob: BlobId::of(&number.to_le_bytes()),
            size_bytes: number * 77,
            executable: number.is_multiple_of(3),
        };
        let link = Kind::Symlink { target: "../x".into() };
        let small = stage.write_dir(&[entry("a", file(1)), entry("b", file(2)), entry("c", link)]);
        let many: Vec<Entry> = (0..600).map(|n| entry(&format!("package-{n:05}.rpm"), file(n))).collect();
        stage.write_dir(&many);
        stage.write_dir(&[entry("sub", Kind::Dir(small)), entry("zz", file(3))]);
        stage.into_new_nodes().into_values().collect()
    }

    pub(super) fn records() -> Vec<Vec<u8>> {
        let base = NodeMap::new();
        let mut stage = Stage::new(&base);
        let root = stage.write_dir(&[]);
        let record = Snapshot {
            root,
            mtime: 7,
            parents: Vec::new(),
            created: 1_700_000_000,
            creator: "releng@build".into(),
            tool: "cfs".into(),
            meta: [("compose".to_owned(), "Rocky-9.7".to_owned())].into(),
            access: std::collections::BTreeMap::default(),
            message: "two\nlines \\ and more".into(),
        };
        let nodes: Vec<_> = stage.into_new_nodes().into_iter().collect();
        vec![record.encode().into_bytes(), commitfile::encode(&record, &nodes)]
    }

    /// The headers of a small package.
    pub(super) fn package() -> Vec<u8> {
        let built = rpm::PackageBuilder::new("fuzz", "1.0", "MIT", "noarch", "a seed").build().unwrap();
        let mut bytes = Vec::new();
        built.write(&mut bytes).unwrap();
        bytes
    }

    pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }
}
