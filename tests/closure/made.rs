//! Repositories of packages that are nothing but their relations.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use cfs_indexer::checksum::{Algorithm, Hasher};

/// A package.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub version: String,
    pub arch: String,
    /// Each with its list: `requires`, `provides`, …
    pub relations: Vec<(&'static str, String)>,
    /// Files that primary metadata names, and files that only filelists name.
    pub files: (Vec<String>, Vec<String>),
    /// The name of the source package, where that is another one.
    pub source: Option<String>,
    /// Texts of the changelog, a day between them.
    pub changes: Vec<String>,
}

impl Made {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: "x86_64".to_owned(),
            relations: Vec::new(),
            files: (Vec::new(), Vec::new()),
            source: None,
            changes: Vec::new(),
        }
    }

    pub fn with(mut self, list: &'static str, text: &str) -> Self {
        self.relations.push((list, text.to_owned()));
        self
    }

    pub fn requires(self, text: &str) -> Self {
        self.with("requires", text)
    }

    pub fn provides(self, text: &str) -> Self {
        self.with("provides", text)
    }

    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    pub fn arch(mut self, arch: &str) -> Self {
        arch.clone_into(&mut self.arch);
        self
    }

    pub fn file(mut self, path: &str, in_primary: bool) -> Self {
        if in_primary { &mut self.files.0 } else { &mut self.files.1 }.push(path.to_owned());
        self
    }

    pub fn of_source(mut self, name: &str) -> Self {
        self.source = Some(name.to_owned());
        self
    }

    pub fn changes(mut self, texts: &[&str]) -> Self {
        self.changes = texts.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    pub fn nevra(&self) -> String {
        format!("{}-{}-1.{}", self.name, self.version, self.arch)
    }

    fn id(&self) -> String {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        std::io::Write::write_all(&mut hasher, format!("{self:?}").as_bytes()).unwrap();
        hasher.finish().checksum.to_hex()
    }

    fn primary(&self) -> String {
        let Self { name, version, arch, .. } = self;
        let nevra = self.nevra();
        let source = self.source.as_ref().unwrap_or(name);
        let mut text = format!(
            r#"<package type="rpm"><name>{name}</name><arch>{arch}</arch><version epoch="0" ver="{version}" rel="1"/>
<checksum type="sha256" pkgid="YES">{}</checksum><summary>{name} of a test</summary><description>d</description>
<packager/><url/><time file="1" build="1"/><size package="1000" installed="2000" archive="3000"/>
<location href="{nevra}.rpm"/><format><rpm:license>x</rpm:license><rpm:sourcerpm>{source}-{version}-1.src.rpm</rpm:sourcerpm>
"#,
            self.id()
        );
        let own = ("provides", format!("{name} = {version}-1"));
        for list in [
            "provides",
            "requires",
            "conflicts",
            "obsoletes",
            "recommends",
            "suggests",
            "supplements",
            "enhances",
        ] {
            let all = self.relations.iter().chain((arch != "src").then_some(&own));
            let entries: String =
                all.filter(|(kind, _)| *kind == list).map(|(_, relation)| entry(relation)).collect();
            write!(text, "<rpm:{list}>{entries}</rpm:{list}>").unwrap();
        }
        self.files.0.iter().for_each(|path| write!(text, "<file>{path}</file>").unwrap());
        text + "</format></package>\n"
    }

    fn filelists(&self) -> String {
        let mut files = String::new();
        for path in self.files.0.iter().chain(&self.files.1) {
            write!(files, "<file>{path}</file>").unwrap();
        }
        let Self { name, version, arch, .. } = self;
        format!(
            r#"<package pkgid="{}" name="{name}" arch="{arch}"><version epoch="0" ver="{version}" rel="1"/>{files}</package>
"#,
            self.id()
        )
    }
}

fn other(package: &Made) -> String {
    let Made { name, version, arch, .. } = package;
    let mut entries = String::new();
    for (day, text) in (0..).zip(&package.changes) {
        let time = 1_546_344_000 + day * 86_400;
        let author = format!("A B &lt;a@b&gt; - {day}-1");
        let text = text.replace('&', "&amp;");
        write!(entries, r#"<changelog author="{author}" date="{time}">- {text}</changelog>"#).unwrap();
    }
    format!(
        r#"<package pkgid="{}" name="{name}" arch="{arch}"><version epoch="0" ver="{version}" rel="1"/>{entries}</package>
"#,
        package.id()
    )
}

fn entry(relation: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words: Vec<&str> = relation.split(' ').collect();
    let [name, sign, evr] = words[..] else { return format!(r#"<rpm:entry name="{}"/>"#, escape(relation)) };
    if relation.starts_with('(') {
        return format!(r#"<rpm:entry name="{}"/>"#, escape(relation));
    }
    let flags = match sign {
        "=" => "EQ",
        "<" => "LT",
        "<=" => "LE",
        ">" => "GT",
        _ => "GE",
    };
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
    let release = if release.is_empty() { String::new() } else { format!(r#" rel="{release}""#) };
    format!(r#"<rpm:entry name="{name}" flags="{flags}" epoch="{epoch}" ver="{version}"{release}/>"#)
}

/// Writes a repository without the packages themselves.
pub fn write(dir: &Path, packages: &[Made]) {
    let count = packages.len();
    let primary: String = packages.iter().map(Made::primary).collect();
    let filelists: String = packages.iter().map(Made::filelists).collect();
    let other: String = packages.iter().map(other).collect();
    write_metadata(
        dir,
        &format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<metadata xmlns="http://linux.duke.edu/metadata/common" xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{count}">
{primary}</metadata>"#
        ),
        Some(&format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="{count}">
{filelists}</filelists>"#
        )),
        Some(&format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="{count}">
{other}</otherdata>"#
        )),
    );
}

/// Writes metadata with its repomd.xml.
pub fn write_metadata(dir: &Path, primary: &str, filelists: Option<&str>, other: Option<&str>) {
    let repodata = dir.join("repodata");
    fs::create_dir_all(&repodata).unwrap();
    let mut records = String::new();
    for (kind, text) in [("primary", Some(primary)), ("filelists", filelists), ("other", other)] {
        let Some(text) = text else { continue };
        fs::write(repodata.join(format!("{kind}.xml")), text).unwrap();
        let mut hasher = Hasher::new(Algorithm::Sha256);
        std::io::Write::write_all(&mut hasher, text.as_bytes()).unwrap();
        let (checksum, size) = (hasher.finish().checksum.to_hex(), text.len());
        write!(
            records,
            r#"<data type="{kind}"><checksum type="sha256">{checksum}</checksum><open-checksum type="sha256">{checksum}</open-checksum>
<location href="repodata/{kind}.xml"/><timestamp>1</timestamp><size>{size}</size><open-size>{size}</open-size></data>"#
        )
        .unwrap();
    }
    fs::write(
        repodata.join("repomd.xml"),
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>{records}</repomd>"#
        ),
    )
    .unwrap();
}
