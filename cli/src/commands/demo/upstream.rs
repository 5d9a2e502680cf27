//! A small upstream: two repositories of real packages, built on the spot, with the metadata of createrepo.
//!
//! Always true: what is built follows from names and versions alone, so a package built twice is the same
//! file; a package for no architecture is the same file in both repositories; metadata is written when all
//! its packages are there, and what it no longer names is removed after that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cfs_fs::digest::Digest;
use rpm::{BuildConfig, CompressionWithLevel, Dependency, FileOptions, PackageBuilder};
use rpmrepo_metadata::{Package, PackageOptions, PackageSource, Repository};

use crate::report::{CommandError, Kind};

use super::repodata;

/// The architectures, a repository each.
const ARCHES: [&str; 2] = ["x86_64", "aarch64"];
/// Packages that are built for every architecture.
const PROGRAMS: [&str; 24] = [
    "alder", "ash", "aspen", "beech", "birch", "cedar", "cherry", "chestnut", "cypress", "elder", "elm",
    "fir", "hazel", "hickory", "holly", "hornbeam", "juniper", "larch", "linden", "maple", "medlar", "oak",
    "olive", "pear",
];
/// Packages for no architecture.
const DOCUMENTS: [&str; 11] = [
    "pine-doc",
    "plane-doc",
    "poplar-doc",
    "quince-doc",
    "rowan-doc",
    "spruce-doc",
    "sycamore-doc",
    "walnut-doc",
    "whitebeam-doc",
    "willow-doc",
    "yew-doc",
];
/// The package that all others need.
const RELEASE: &str = "demo-release";
/// What the update changes.
const UPDATED: [&str; 8] = ["ash", "cedar", "fir", "larch", "oak", "quince-doc", "willow-doc", RELEASE];
/// What the update removes.
const REMOVED: &str = "holly";
/// What the update adds.
const ADDED: &str = "gorse";
/// Sizes of what packages hold, one after the other.
const SIZES_KIB: [usize; 6] = [16, 1900, 48, 500, 128, 1100];
const LICENSE: &str = "MIT";

/// A package to be built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Recipe {
    name: &'static str,
    version: &'static str,
    arch: &'static str,
    size_kib: usize,
    /// Seconds since 1970.
    built: u32,
}

/// The repositories, with what is published in them now.
#[derive(Debug)]
pub struct Upstream {
    root: PathBuf,
    published: BTreeMap<Recipe, Package>,
}

/// What a publication holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packages, one that is in two repositories counted twice.
    pub packages: u64,
    /// Packages with different content.
    pub distinct: u64,
    /// Bytes of all packages.
    pub bytes: u64,
}

impl Upstream {
    /// An upstream below the directory `root`, with nothing published yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), published: BTreeMap::new() }
    }

    /// Where each repository is, below the root.
    pub fn repositories() -> Vec<String> {
        ARCHES.iter().map(|arch| format!("BaseOS/{arch}/os")).collect()
    }

    /// Publishes the first state; its packages were built at `built`.
    pub fn publish_first(&mut self, built: u32, threads: usize) -> Result<Counts, CommandError> {
        self.publish(&recipes(built), built, threads)
    }

    /// Publishes the update: some packages in a new version, one removed, one added.
    pub fn publish_update(&mut self, built: u32, threads: usize) -> Result<Counts, CommandError> {
        let mut recipes: Vec<Recipe> = self.published.keys().cloned().collect();
        recipes.retain(|recipe| recipe.name != REMOVED);
        for recipe in recipes.iter_mut().filter(|recipe| UPDATED.contains(&recipe.name)) {
            (recipe.version, recipe.built) = ("1.1", built);
        }
        let added = |arch| Recipe { name: ADDED, version: "1.0", arch, size_kib: 500, built };
        recipes.extend(ARCHES.map(added));
        self.publish(&recipes, built, threads)
    }

    fn publish(&mut self, recipes: &[Recipe], time: u32, threads: usize) -> Result<Counts, CommandError> {
        let new: Vec<&Recipe> =
            recipes.iter().filter(|recipe| !self.published.contains_key(recipe)).collect();
        let built = build_all(&self.root, &new, threads)?;
        self.published.extend(built);
        let gone: Vec<Recipe> =
            self.published.keys().filter(|recipe| !recipes.contains(recipe)).cloned().collect();
        let gone: Vec<(Recipe, Package)> =
            gone.into_iter().filter_map(|recipe| self.published.remove_entry(&recipe)).collect();
        let mut counts = Counts { packages: 0, distinct: 0, bytes: 0 };
        let mut distinct = BTreeSet::new();
        for (arch, dir) in ARCHES.iter().zip(self.dirs()) {
            let mut repository = Repository::new();
            for package in
                self.published.values().filter(|package| [*arch, "noarch"].contains(&package.arch()))
            {
                counts.packages += 1;
                counts.bytes += package.size_package();
                distinct.insert(package.pkgid().to_owned());
                repository.add_package(package.clone());
            }
            repository.sort();
            repodata::write(&dir, &mut repository, time)?;
        }
        counts.distinct = distinct.len() as u64;
        for (recipe, package) in gone {
            for dir in dirs_of(&self.root, recipe.arch) {
                let path = dir.join(package.location_href());
                fs::remove_file(&path).map_err(|e| CommandError::io("remove", &path, e))?;
            }
        }
        Ok(counts)
    }

    fn dirs(&self) -> Vec<PathBuf> {
        Self::repositories().iter().map(|dir| self.root.join(dir)).collect()
    }
}

/// The first state.
fn recipes(built: u32) -> Vec<Recipe> {
    let size_kib = |place: usize| SIZES_KIB[place % SIZES_KIB.len()];
    let programs = PROGRAMS.iter().enumerate().flat_map(|(place, name)| {
        ARCHES.map(|arch| Recipe { name, version: "1.0", arch, size_kib: size_kib(place), built })
    });
    let documents = DOCUMENTS.iter().chain([&RELEASE]).enumerate().map(|(place, name)| {
        let size_kib = if *name == RELEASE { 4 } else { size_kib(place + 2) };
        Recipe { name, version: "1.0", arch: "noarch", size_kib, built }
    });
    programs.chain(documents).collect()
}

/// The repositories that a package of this architecture is in.
fn dirs_of(root: &Path, arch: &str) -> Vec<PathBuf> {
    let dirs = ARCHES.iter().zip(Upstream::repositories());
    dirs.filter(|(of, _)| [**of, "noarch"].contains(&arch)).map(|(_, dir)| root.join(dir)).collect()
}

/// Builds packages into their repositories, `threads` at a time.
fn build_all(
    root: &Path,
    recipes: &[&Recipe],
    threads: usize,
) -> Result<Vec<(Recipe, Package)>, CommandError> {
    for dir in Upstream::repositories() {
        let path = root.join(dir).join("Packages");
        fs::create_dir_all(&path).map_err(|e| CommandError::io("make", &path, e))?;
    }
    let (next, built) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(recipe) = recipes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = build(recipe).and_then(|(bytes, package)| {
                        write_package(root, recipe, &bytes, &package)?;
                        Ok(((*recipe).clone(), package))
                    });
                    built.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(done);
                }
            });
        }
    });
    built.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_iter().collect()
}

fn write_package(root: &Path, recipe: &Recipe, bytes: &[u8], package: &Package) -> Result<(), CommandError> {
    for dir in dirs_of(root, recipe.arch) {
        let path = dir.join(package.location_href());
        fs::write(&path, bytes).map_err(|e| CommandError::io("write", &path, e))?;
        set_time(&path, recipe.built)?;
    }
    Ok(())
}

/// Builds one package and describes it.
fn build(recipe: &Recipe) -> Result<(Vec<u8>, Package), CommandError> {
    let failed = |e: &dyn std::fmt::Display| {
        CommandError::new(Kind::Failed, format!("{}: cannot build the package: {e}", recipe.name))
    };
    let mut bytes = Vec::new();
    let package = builder(recipe)
        .and_then(|mut builder| builder.build())
        .and_then(|package| package.write(&mut bytes).map(|()| package))
        .map_err(|e| failed(&e))?;
    let file = package.canonical_filename().map_err(|e| failed(&e))?;
    let source = PackageSource {
        checksum: None,
        size_package: None,
        time_file: recipe.built.into(),
        location_href: format!("Packages/{file}"),
        location_base: None,
    };
    let described =
        Package::from_buffer(&bytes, source, PackageOptions::default()).map_err(|e| failed(&e))?;
    Ok((bytes, described))
}

fn builder(recipe: &Recipe) -> Result<PackageBuilder, rpm::Error> {
    let Recipe { name, version, arch, size_kib, built } = *recipe;
    let seed = u64::from_le_bytes(std::array::from_fn(|at| {
        Digest::of(format!("{name} {version} {arch}").as_bytes()).as_bytes()[at]
    }));
    let summary = format!("The {name} of the demo");
    let mut builder = PackageBuilder::new(name, version, LICENSE, arch, &summary);
    let config =
        BuildConfig::v4().compression(CompressionWithLevel::Zstd(3)).source_date(built).reserved_space(None);
    builder.using_config(config).release("1.demo9").build_host("demo.example");
    builder.description("A package that `cfs demo` has built. It holds noise and words.");
    builder.add_changelog_entry(
        format!("Demo <demo@example.org> - {version}-1"),
        format!("- version {version}"),
        built,
    );
    if name != RELEASE {
        builder.requires(Dependency::greater_eq(RELEASE, "1.0"));
    }
    // Half of it can be compressed, as in programs.
    let half = size_kib * 1024 / 2;
    if arch == "noarch" {
        let manual = FileOptions::new(format!("/usr/share/doc/{name}/manual.dat"));
        builder.with_file_contents(noise(seed, half), manual)?;
    } else {
        let program = FileOptions::new(format!("/usr/bin/{name}")).permissions(0o755);
        builder.with_file_contents(noise(seed, half), program)?;
    }
    let readme = FileOptions::new(format!("/usr/share/doc/{name}/README")).doc();
    builder.with_file_contents(words(seed, half), readme)?;
    let license = FileOptions::new(format!("/usr/share/licenses/{name}/COPYING")).license();
    builder.with_file_contents("Do as you like; there is no warranty.\n", license)?;
    Ok(builder)
}

/// A sequence of numbers that follows from its seed (splitmix64, by Steele, Lea and Flood).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

/// Bytes that nothing compresses.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed);
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&numbers.next().to_le_bytes());
    }
    noise
}

/// Lines of words.
fn words(seed: u64, bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(!seed);
    let mut text = Vec::with_capacity(bytes + 80);
    while text.len() < bytes {
        let mut number = numbers.next();
        for _ in 0..8 {
            // The remainder is below the length of the list.
            #[expect(clippy::cast_possible_truncation, reason = "a remainder of a small number")]
            let word = PROGRAMS[(number % PROGRAMS.len() as u64) as usize];
            text.extend_from_slice(word.as_bytes());
            text.push(b' ');
            number /= PROGRAMS.len() as u64;
        }
        text.push(b'\n');
    }
    text
}

/// Gives a file a modification time, in seconds since 1970.
pub fn set_time(path: &Path, time: u32) -> Result<(), CommandError> {
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(time.into());
    let set = File::options().append(true).open(path).and_then(|file| file.set_modified(time));
    set.map_err(|e| CommandError::io("set the time of", path, e))
}

#[cfg(test)]
mod tests;
