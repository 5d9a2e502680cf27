//! A yum repository made on the spot, as right or as wrong as a test wants it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use cfs_indexer::checksum::{Algorithm, Hasher};

/// A time for things that are not about times.
pub const TIME: u64 = 1_700_000_000;

/// A package of a repository. What a package's file holds matters only to who checks signatures.
#[derive(Debug, Clone)]
pub struct Package {
    /// Where it is, as the metadata says: the file itself is only made where that is a plain path.
    pub href: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its time.
    pub time: u64,
}

/// A repository to be.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Where it is made.
    pub dir: PathBuf,
    /// Its packages.
    pub packages: Vec<Package>,
    /// Program and arguments that compress metadata from standard input to standard output; none: plain.
    pub compressor: Vec<&'static str>,
    /// What the metadata declares checksums with.
    pub algorithm: Algorithm,
    /// Changes the text of primary.xml before it is compressed.
    pub edit_primary: fn(String) -> String,
    /// Changes the text of repomd.xml.
    pub edit_repomd: fn(String) -> String,
    /// What the metadata declares as primary.xml's uncompressed size, instead of the truth.
    pub open_size: Option<u64>,
}

impl Repo {
    /// An empty repository in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            packages: Vec::new(),
            compressor: vec!["gzip", "-cn"],
            algorithm: Algorithm::Sha256,
            edit_primary: |text| text,
            edit_repomd: |text| text,
            open_size: None,
        }
    }

    /// A repository of `count` packages of about 5,000 bytes, in `Packages/`.
    pub fn with_packages(dir: &Path, count: usize) -> Self {
        let mut repo = Self::new(dir);
        for number in 0..count {
            repo.add(&format!("Packages/p{number:04}.rpm"), &content(number));
        }
        repo
    }

    /// Adds a package.
    pub fn add(&mut self, href: &str, content: &[u8]) {
        let time = TIME + self.packages.len() as u64;
        self.packages.push(Package { href: href.to_owned(), content: content.to_owned(), time });
    }

    /// Writes packages and metadata; returns the path of primary.xml below the repository.
    pub fn write(&self) -> String {
        for package in &self.packages {
            let odd = package.href.split('/').any(|part| ["", ".", ".."].contains(&part));
            if !odd && !package.href.contains('\0') {
                put(&self.dir.join(&package.href), &package.content, package.time);
            }
        }
        let _ = fs::remove_dir_all(self.dir.join("repodata"));
        let plain = (self.edit_primary)(self.primary());
        let primary = compress(&self.compressor, plain.as_bytes());
        let checksum = self.checksum(&primary);
        let name = format!("repodata/{}-primary.xml{}", &checksum[..16], self.suffix());
        put(&self.dir.join(&name), &primary, TIME);
        let group = b"<comps/>";
        put(&self.dir.join("repodata/comps.xml"), group, TIME + 1);
        let (kind, sum) = (self.algorithm, self.checksum(group));
        let (size, open_size) = (primary.len(), self.open_size.unwrap_or(plain.len() as u64));
        let repomd = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>{TIME}</revision>
<data type="primary"><checksum type="{kind}">{checksum}</checksum><location href="{name}"/>
<timestamp>{TIME}</timestamp><size>{size}</size><open-size>{open_size}</open-size></data>
<data type="group"><checksum type="{kind}">{sum}</checksum><location href="repodata/comps.xml"/>
<timestamp>{}</timestamp><size>{}</size></data></repomd>
"#,
            TIME + 1,
            group.len(),
        );
        put(&self.dir.join("repodata/repomd.xml"), (self.edit_repomd)(repomd).as_bytes(), TIME + 2);
        name
    }

    fn primary(&self) -> String {
        let mut packages = String::new();
        for (number, package) in self.packages.iter().enumerate() {
            let (kind, sum) = (self.algorithm, self.checksum(&package.content));
            let (time, size) = (package.time, package.content.len());
            let href = package.href.replace('&', "&amp;").replace('\n', "&#10;").replace('\t', "&#9;");
            let text = format!(
                r#"<package type="rpm"><name>p{number}</name><arch>noarch</arch>
<version epoch="0" ver="1" rel="1"/><checksum type="{kind}" pkgid="YES">{sum}</checksum>
<time file="{time}" build="{TIME}"/><size package="{size}" installed="1" archive="1"/><location href="{href}"/>
<format><rpm:license>MIT</rpm:license></format></package>
"#
            );
            packages.push_str(&text);
        }
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm"
 packages="{}">
{packages}</metadata>
"#,
            self.packages.len(),
        )
    }

    fn checksum(&self, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish().checksum.to_hex()
    }

    fn suffix(&self) -> &'static str {
        match self.compressor.first().copied() {
            Some("gzip") => ".gz",
            Some("xz") => ".xz",
            Some("zstd") => ".zst",
            Some("bzip2") => ".bz2",
            _ => "",
        }
    }
}

/// Bytes that differ from package to package.
pub fn content(number: usize) -> Vec<u8> {
    let mut bytes = format!("package {number}\n").into_bytes();
    let mut state = number as u64 + 1;
    while bytes.len() < 5000 + number {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.push(state.to_be_bytes()[0]);
    }
    bytes
}

/// Writes a file with a time.
pub fn put(path: &Path, content: &[u8], time: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(UNIX_EPOCH + Duration::from_secs(time))
        .unwrap();
}

fn compress(program: &[&str], bytes: &[u8]) -> Vec<u8> {
    let Some((name, args)) = program.split_first() else { return bytes.to_owned() };
    let mut command = Command::new(name);
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program:?}");
    output.stdout
}
