//! A release of a million files in 250 repositories, and updates that change 500 of them: each is promoted to
//! staging and from there to production, as `cfs promote` does it, with all gates but signatures, with lists
//! besides, and without any of both. Whoever brings a repository in reads its metadata ahead, as import and sync do;
//! what it costs when nobody has is shown beside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cfs_fs::digest::BlobId;
use cfs_fs::name::Name;
use cfs_fs::store::lease::Lease;
use cfs_fs::store::publish::{Publisher, Ready};
use cfs_fs::tree::{Entry, Item, Kind, NodeMap, Stage};
use cfs_indexer::catalogue::{CatalogueError, Draft, Signer, Taken};
use cfs_indexer::checksum::{Algorithm, Checksum, Hasher};
use cfs_indexer::depot::Depot;
use flate2::Compression;
use flate2::write::GzEncoder;

const REPOSITORIES: usize = 250;
/// Updates that are promoted, and repositories that each of them changes.
const UPDATES: usize = 5;
const CHANGED: usize = 10;
/// Packages of a changed repository that get a new version; with the metadata, 500 files of ten repositories.
const REPLACED: usize = 47;

/// Runs the benchmark with about so many files.
pub fn run(dir: &Path, files: usize) {
    let packages = files / REPOSITORIES;
    println!(
        "\ngates: {REPOSITORIES} repositories of {packages} packages, {CHANGED} of them changed by an update"
    );
    let store = dir.join("store");
    fs::create_dir_all(dir).unwrap();
    let depot = Depot::create(&store).unwrap();
    let mut release = Release { depot: &depot, packages, versions: vec![0; REPOSITORIES] };
    let mut items: Vec<Item> = Vec::new();
    let started = Instant::now();
    for number in 0..REPOSITORIES {
        items.push(release.repository(number));
    }
    release.commit("compose/0", &items);
    println!("  made in {:?}", started.elapsed());
    let gated = config(dir, "gated.toml", "[view.staging]\n[view.production]\n");
    let lists =
        "[[view.staging.lists]]\ndirectory = \"\"\nname = \"rocky\"\naliases = [\"fullfiletimelist\"]\n";
    let listed = config(dir, "listed.toml", &(lists.to_owned() + &lists.replace("staging", "production")));
    let free = config(dir, "free.toml", "");
    let promote = |config: &Path, from: &str, to: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
        command.arg("--store").arg(&store).arg("--config").arg(config).args(["promote", from, to]);
        let started = Instant::now();
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
        started.elapsed()
    };
    println!("  first promotion, everything checked {:?}", promote(&gated, "compose/0", "staging"));
    println!("  to production, all known {:?}", promote(&gated, "staging", "production"));
    promote(&free, "compose/0", "free");
    let mut before = release.root("compose/0");
    let mut number_of_update = 0;
    let mut updates = |config: &Path, read_ahead: bool| {
        let (mut to_staging, mut to_production, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..UPDATES {
            number_of_update += 1;
            for number in 0..CHANGED {
                let number = (number_of_update * CHANGED + number) % REPOSITORIES;
                release.versions[number] = number_of_update;
                items[number] = release.repository(number);
            }
            let compose = format!("compose/{number_of_update}");
            release.commit(&compose, &items);
            let root = release.root(&compose);
            if read_ahead {
                cfs_indexer::repository::read_ahead(&depot, &depot.catalogue, Some(&before), &root);
            }
            before = root;
            to_staging.push(promote(config, &compose, "staging"));
            to_production.push(promote(config, "staging", "production"));
            without.push(promote(&free, &compose, "free"));
        }
        [to_staging, to_production, without].map(|times| median(&times))
    };
    let [unread, ..] = updates(&gated, false);
    let [staging, production, without] = updates(&gated, true);
    println!("  an update, with gates: to staging {staging:?}, to production {production:?}");
    println!("             when nobody has read its metadata ahead: to staging {unread:?}");
    println!("             without gates {without:?} (aim 10 ms)");
    println!("  first lists, to production {:?}", promote(&listed, "staging", "production"));
    promote(&listed, "production", "staging");
    let [staging, production, _] = updates(&listed, true);
    println!(
        "  an update, with gates and lists: to staging {staging:?}, to production {production:?} (aim 150 ms)"
    );
    fs::remove_dir_all(dir).unwrap();
}

fn config(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Repositories whose packages are recorded but not written, and whose metadata is.
struct Release<'a> {
    depot: &'a Depot,
    packages: usize,
    /// The update that each repository was changed by last.
    versions: Vec<usize>,
}

impl Release<'_> {
    fn repository(&self, number: usize) -> Item {
        let base = NodeMap::new();
        let mut stage = Stage::new(&base);
        let (mut entries, mut blobs) = (Vec::new(), Vec::new());
        let mut primary = String::from(
            "<metadata xmlns=\"http://linux.duke.edu/metadata/common\" xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n",
        );
        for package in 0..self.packages {
            let version = if package < REPLACED { self.versions[number] } else { 0 };
            let name = format!("package{package:05}-{number}");
            let content = format!("{name} {version}");
            let checksum = sha256(content.as_bytes());
            let location = format!("{name}-1-{version}.el9.x86_64.rpm");
            let size = content.len();
            let line = format!(
                "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch><version epoch=\"0\" ver=\"1\" rel=\"{version}.el9\"/>\
                 <checksum type=\"sha256\" pkgid=\"YES\">{}</checksum><summary>A package</summary>\
                 <time file=\"1700000000\" build=\"1700000000\"/><size package=\"{size}\" installed=\"1\" archive=\"1\"/>\
                 <location href=\"Packages/{location}\"/><format><rpm:license>MIT</rpm:license>\
                 <rpm:provides><rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"{version}.el9\"/>\
                 <rpm:entry name=\"{name}(x86-64)\" flags=\"EQ\" epoch=\"0\" ver=\"1\" rel=\"{version}.el9\"/></rpm:provides>\
                 <rpm:requires><rpm:entry name=\"libc.so.6()(64bit)\"/><rpm:entry name=\"rtld(GNU_HASH)\"/></rpm:requires>\
                 </format></package>\n",
                checksum.to_hex()
            );
            primary.push_str(&line);
            let blob = BlobId::of(content.as_bytes());
            entries.push(entry(&location, file(blob, size as u64)));
            blobs.push((blob, size as u64, checksum));
        }
        primary += "</metadata>\n";
        self.depot
            .catalogue
            .record_blobs(
                blobs.iter().map(|(blob, size, checksum)| (*blob, *size, std::slice::from_ref(checksum))),
            )
            .unwrap();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let packages = dir(&mut stage, &entries);
        let repodata = self.repodata(&mut stage, &primary);
        let top = dir(&mut stage, &[entry("Packages", packages), entry("repodata", repodata)]);
        let mut draft = Some(draft(top.clone(), stage.into_new_nodes()));
        // The nodes are in the catalogue then; what names them is forgotten.
        let name = format!("made/{number}-{}", self.versions[number]).parse().unwrap();
        let made = self
            .depot
            .catalogue
            .update_ref(&self.depot.store, &name, &signer(), |_| Ok::<_, CatalogueError>(draft.take()));
        made.unwrap();
        top
    }

    fn repodata(&self, stage: &mut Stage<'_>, primary: &str) -> Item {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(primary.as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let (checksum, size, open_size) = (sha256(&gz), gz.len(), primary.len());
        let hex = checksum.to_hex();
        let name = format!("{}-primary.xml.gz", &hex[..16]);
        let repomd = format!(
            "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1700000000</revision><data type=\"primary\">\
             <checksum type=\"sha256\">{hex}</checksum><location href=\"repodata/{name}\"/><timestamp>1700000000</timestamp>\
             <size>{size}</size><open-size>{open_size}</open-size></data></repomd>\n",
        );
        let (gz, repomd) = (self.add(&gz), self.add(repomd.as_bytes()));
        dir(stage, &[entry(&name, gz), entry("repomd.xml", repomd)])
    }

    fn add(&self, bytes: &[u8]) -> Item {
        let depot = self.depot;
        let lease = Lease::take(&depot.store).unwrap();
        let (mut temporary, path) = lease.temporary().unwrap();
        temporary.write_all(bytes).unwrap();
        let record = Box::new(|batch: Vec<Ready<Checksum>>| {
            let rows =
                batch.iter().map(|ready| (ready.id, ready.size_bytes, std::slice::from_ref(&ready.tag)));
            depot.catalogue.record_blobs(rows)?;
            Ok(())
        });
        let mut publisher = Publisher::new(&depot.store, record).unwrap();
        let (id, size_bytes) = (BlobId::of(bytes), bytes.len() as u64);
        publisher.add(Ready { id, size_bytes, tag: sha256(bytes), file: Some(path) }).unwrap();
        publisher.finish().unwrap();
        file(id, size_bytes)
    }

    fn root(&self, name: &str) -> Item {
        let current = self.depot.catalogue.current(&name.parse().unwrap()).unwrap();
        current.unwrap().snapshot.root_item()
    }

    fn commit(&self, name: &str, repositories: &[Item]) {
        let base = NodeMap::new();
        let mut stage = Stage::new(&base);
        let entries: Vec<Entry> = repositories
            .iter()
            .enumerate()
            .map(|(number, item)| entry(&format!("repository{number:04}"), item.clone()))
            .collect();
        let top = dir(&mut stage, &entries);
        let mut draft = Some(draft(top, stage.into_new_nodes()));
        let made =
            self.depot.catalogue.update_ref(&self.depot.store, &name.parse().unwrap(), &signer(), |_| {
                Ok::<_, CatalogueError>(draft.take())
            });
        made.unwrap();
    }
}

fn signer() -> Signer {
    Signer { actor: "bench".into(), tool: "bench".into(), now: 1_764_000_000 }
}

fn draft(root: Item, nodes: NodeMap) -> Draft {
    Draft {
        root,
        nodes,
        taken: Taken::default(),
        parents: Vec::new(),
        access: None,
        meta: std::collections::BTreeMap::new(),
        message: String::new(),
        reason: "bench".into(),
    }
}

fn sha256(bytes: &[u8]) -> Checksum {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().checksum
}

fn file(blob: BlobId, size_bytes: u64) -> Item {
    Item { mtime: 1_700_000_000, kind: Kind::File { blob, size_bytes, executable: false } }
}

fn dir(stage: &mut Stage<'_>, entries: &[Entry]) -> Item {
    Item { mtime: 1_700_000_000, kind: Kind::Dir(stage.write_dir(entries)) }
}

fn entry(name: &str, item: Item) -> Entry {
    Entry { name: Name::new(name).unwrap(), item }
}
