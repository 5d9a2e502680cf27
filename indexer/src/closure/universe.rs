//! All packages that a closure is about, with their relations, in few bytes.
//!
//! Always true: a package's relations stand together; every package but a source provides its own name in its
//! own version; nothing here decides anything.

use std::ops::Range;

use super::rich;
use super::texts::{TextId, Texts};
use crate::arch;
use crate::repodata::primary::{More, Package as Record};
use crate::repodata::relation::{Comparison, Evr, Kind, Relation};

/// A package of a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub(super) u32);

/// A relation of a package of a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationId(pub(super) u32);

impl PackageId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a relation says; texts by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Said {
    /// The list that it is in.
    pub kind: Kind,
    /// Which versions.
    pub comparison: Comparison,
    /// The name, path or rich dependency.
    pub name: TextId,
    /// The version.
    pub evr: TextId,
}

/// What is kept of a package.
#[derive(Debug, Clone, Copy)]
pub(super) struct Package {
    pub(super) name: TextId,
    pub(super) arch: TextId,
    pub(super) evr: TextId,
    pub(super) repository: u32,
    first_relation: u32,
    end_relation: u32,
    /// The beginning of the file's checksum.
    pub(super) id: u128,
}

/// Who gives something, and by which relation; a file by none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Giver {
    pub(super) package: PackageId,
    pub(super) relation: u32,
}

/// A file that only `filelists.xml` names.
const NO_RELATION: u32 = u32::MAX;

/// Packages of some repositories.
#[derive(Debug)]
pub struct Universe {
    pub(super) texts: Texts,
    pub(super) repositories: Vec<String>,
    pub(super) packages: Vec<Package>,
    relations: Vec<Said>,
    /// Files of packages that primary metadata does not name.
    more_files: Vec<(TextId, PackageId)>,
    /// For each text, where its givers begin.
    starts: Vec<u32>,
    givers: Vec<Giver>,
    scratch: String,
}

impl Default for Universe {
    fn default() -> Self {
        Self::new()
    }
}

impl Universe {
    /// No packages.
    pub fn new() -> Self {
        Self {
            texts: Texts::new(),
            repositories: Vec::new(),
            packages: Vec::new(),
            relations: Vec::new(),
            more_files: Vec::new(),
            starts: Vec::new(),
            givers: Vec::new(),
            scratch: String::new(),
        }
    }

    /// Adds a repository without packages.
    pub fn add_repository(&mut self, name: &str) -> usize {
        self.repositories.push(name.to_owned());
        self.repositories.len() - 1
    }

    /// The number of packages.
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are no packages.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// What takes the relations of the next package, which [`Universe::add_package`] then adds.
    pub fn collector(&mut self) -> Collector<'_> {
        Collector { universe: self }
    }

    /// Adds a package whose relations have been collected.
    pub fn add_package(&mut self, repository: usize, record: &Record) -> PackageId {
        let first = self.packages.last().map_or(0, |package| package.end_relation);
        let Record { name, arch, epoch, version, release, checksum, .. } = record;
        let own = Evr { epoch: *epoch, version, release };
        let name = self.texts.add(name);
        let evr = self.evr(&own);
        let itself = Said { kind: Kind::Provides, comparison: Comparison::EQUAL, name, evr };
        if !arch::is_source(arch) && !self.relations[first as usize..].contains(&itself) {
            self.relations.push(itself);
        }
        let package = Package {
            name,
            arch: self.texts.add(arch),
            evr,
            repository: number(repository),
            first_relation: first,
            end_relation: number(self.relations.len()),
            id: id_of(&checksum.to_hex()),
        };
        self.packages.push(package);
        PackageId(number(self.packages.len() - 1))
    }

    /// Adds a relation of the next package, which [`Universe::add_copy`] then adds.
    pub(super) fn say(&mut self, said: Said) {
        self.relations.push(said);
    }

    /// Adds a package as another universe has it: name, architecture and version.
    pub(super) fn add_copy(&mut self, repository: usize, title: [TextId; 3], id: u128) {
        let first_relation = self.packages.last().map_or(0, |package| package.end_relation);
        let (end_relation, repository) = (number(self.relations.len()), number(repository));
        let [name, arch, evr] = title;
        self.packages.push(Package { name, arch, evr, repository, first_relation, end_relation, id });
    }

    /// Removes all packages from the number `first` on.
    pub(super) fn truncate(&mut self, first: usize) {
        self.packages.truncate(first);
        let end = self.packages.last().map_or(0, |package| package.end_relation);
        self.relations.truncate(end as usize);
    }

    /// Adds a file of a package, for the paths of [`Universe::wanted_paths`].
    pub fn add_file(&mut self, package: PackageId, path: TextId) {
        self.more_files.push((path, package));
    }

    fn evr(&mut self, evr: &Evr<'_>) -> TextId {
        use std::fmt::Write;
        self.scratch.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.scratch, "{evr}");
        self.texts.add(&self.scratch)
    }

    /// All packages.
    pub fn packages(&self) -> impl Iterator<Item = PackageId> + use<> {
        (0..number(self.packages.len())).map(PackageId)
    }

    pub(super) fn package(&self, id: PackageId) -> &Package {
        &self.packages[id.index()]
    }

    /// A package's name, epoch, version, release and architecture, as dnf writes them.
    pub fn nevra(&self, id: PackageId) -> String {
        let Package { name, evr, arch, .. } = *self.package(id);
        format!("{}-{}.{}", self.texts.get(name), self.texts.get(evr), self.texts.get(arch))
    }

    /// The name of a package.
    pub fn name(&self, id: PackageId) -> &str {
        self.texts.get(self.package(id).name)
    }

    /// The architecture of a package.
    pub fn arch(&self, id: PackageId) -> &str {
        self.texts.get(self.package(id).arch)
    }

    /// The version of a package.
    pub fn evr_of(&self, id: PackageId) -> Evr<'_> {
        Evr::parse(self.texts.get(self.package(id).evr))
    }

    /// The repository of a package.
    pub fn repository(&self, id: PackageId) -> &str {
        &self.repositories[self.package(id).repository as usize]
    }

    /// The relations of a package.
    pub(super) fn relations(&self, id: PackageId) -> impl Iterator<Item = RelationId> + use<> {
        let package = self.package(id);
        (package.first_relation..package.end_relation).map(RelationId)
    }

    /// What the relations of a package say.
    pub(super) fn said_by(&self, id: PackageId) -> &[Said] {
        let package = self.package(id);
        &self.relations[package.first_relation as usize..package.end_relation as usize]
    }

    /// Calls `visit` with every name that a package gives.
    pub(super) fn given(&self, id: PackageId, visit: &mut dyn FnMut(TextId)) {
        for said in self.said_by(id) {
            if said.kind == Kind::Provides {
                visit(said.name);
            }
        }
        self.more_files.iter().filter(|(_, owner)| *owner == id).for_each(|(path, _)| visit(*path));
    }

    pub(super) fn said(&self, id: RelationId) -> Said {
        self.relations[id.0 as usize]
    }

    /// A relation as people write it.
    pub fn text(&self, id: RelationId) -> String {
        let said = self.said(id);
        let (name, evr) = (self.texts.get(said.name), self.texts.get(said.evr));
        Relation { name, comparison: said.comparison, evr: Evr::parse(evr) }.to_string()
    }

    /// The paths that somebody asks for, as texts of the universe.
    pub fn wanted_paths(&mut self) -> Vec<TextId> {
        let mut wanted = Vec::new();
        let mut rich = Vec::new();
        for said in &self.relations {
            let name = self.texts.get(said.name);
            match name.as_bytes().first() {
                Some(b'/') if said.kind != Kind::Provides => wanted.push(said.name),
                Some(b'(') if said.kind != Kind::Provides => rich.push(said.name),
                _ => {}
            }
        }
        rich.sort_unstable();
        rich.dedup();
        let mut paths = Vec::new();
        for name in rich {
            if let Some(formula) = rich::parse(self.texts.get(name)) {
                formula.atoms(&mut |atom| {
                    if atom.name.starts_with('/') {
                        paths.push(atom.name.clone());
                    }
                });
            }
        }
        wanted.extend(paths.iter().map(|path| self.texts.add(path)));
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// Makes [`Universe::givers`] answer; to be called when everything has been added.
    pub fn index(&mut self) {
        self.starts = vec![0; self.texts.count() + 1];
        let provides = |said: &&Said| said.kind == Kind::Provides;
        for said in self.relations.iter().filter(provides) {
            self.starts[said.name.index() + 1] += 1;
        }
        self.more_files.iter().for_each(|(path, _)| self.starts[path.index() + 1] += 1);
        for at in 1..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
        let none = Giver { package: PackageId(0), relation: NO_RELATION };
        self.givers = vec![none; self.starts.last().map_or(0, |last| *last as usize)];
        let mut next = self.starts.clone();
        let mut put = |name: TextId, giver: Giver| {
            let at = &mut next[name.index()];
            self.givers[*at as usize] = giver;
            *at += 1;
        };
        for (number, package) in (0..).zip(&self.packages) {
            for relation in package.first_relation..package.end_relation {
                let said = self.relations[relation as usize];
                if said.kind == Kind::Provides {
                    put(said.name, Giver { package: PackageId(number), relation });
                }
            }
        }
        for (path, package) in &self.more_files {
            put(*path, Giver { package: *package, relation: NO_RELATION });
        }
    }

    /// Whoever gives something of this name.
    pub(super) fn givers(&self, name: TextId) -> &[Giver] {
        let at = name.index();
        let range = |starts: &[u32]| -> Option<Range<usize>> {
            Some(*starts.get(at)? as usize..*starts.get(at + 1)? as usize)
        };
        range(&self.starts).map_or(&[], |range| &self.givers[range])
    }

    /// The version in which something is given, if in any.
    pub(super) fn version_given(&self, giver: Giver) -> Option<&str> {
        if giver.relation == NO_RELATION {
            return None;
        }
        let said = self.relations[giver.relation as usize];
        (said.comparison != Comparison::ANY).then(|| self.texts.get(said.evr))
    }

    /// Whether what is given is what is asked for; the names are equal.
    pub(super) fn meets(&self, giver: Giver, comparison: Comparison, evr: &Evr<'_>) -> bool {
        if comparison == Comparison::ANY || giver.relation == NO_RELATION {
            return true;
        }
        let said = self.relations[giver.relation as usize];
        let has = Evr::parse(self.texts.get(said.evr));
        Relation::is_met_by((comparison, evr), (said.comparison, &has))
    }
}

/// Takes the relations of one package.
#[derive(Debug)]
pub struct Collector<'u> {
    universe: &'u mut Universe,
}

impl More for Collector<'_> {
    fn relation(&mut self, kind: Kind, relation: &Relation<'_>) {
        let comparison = relation.comparison;
        let name = self.universe.texts.add(relation.name);
        let evr =
            if comparison == Comparison::ANY { TextId::EMPTY } else { self.universe.evr(&relation.evr) };
        self.universe.relations.push(Said { kind, comparison, name, evr });
    }

    fn file(&mut self, path: &str) {
        let name = self.universe.texts.add(path);
        let file = Said { kind: Kind::Provides, comparison: Comparison::ANY, name, evr: TextId::EMPTY };
        self.universe.relations.push(file);
    }
}

/// The beginning of a checksum, enough to tell packages apart.
pub(super) fn id_of(hex: &str) -> u128 {
    u128::from_str_radix(hex.get(..32).unwrap_or(hex), 16).unwrap_or(0)
}

/// Four billion packages or relations do not fit into the memory of any machine that reads them.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
