//! What one package brings to the metadata of any repository it is in.
//!
//! Always true: a fragment follows from the package's headers alone. What depends on the repository (path, time of
//! the file, kind of checksum) is filled in when a document is written, so fragments are kept by blob and used
//! for ever. The records are those of `createrepo_c`, with its rules about which requirements are left out;
//! `docs/repodata.md` lists where they differ on purpose.

use std::fmt::Write;

use crate::checksum::Checksum;
use crate::rpm::{Nevra, Package};

mod dependencies;
mod encoding;
mod escape;

pub use encoding::Decoder;
pub(super) use escape::{attribute, content};

/// Bytes of what one package may bring to one document.
const BYTES_MAX: usize = 128 << 20;
/// Entries of the changelog that are published.
const CHANGES_MAX: usize = 10;

/// Why a package cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// Names in XML hold no such characters, and no client could name the thing.
    #[error("{what} {name:?} holds a control character")]
    Control {
        /// What sort of name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// It says more than any package.
    #[error("brings more than {BYTES_MAX} bytes to {document}")]
    TooLarge {
        /// To which document.
        document: &'static str,
    },
}

/// What one package brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// What identifies the package.
    pub nevra: Nevra,
    /// The file name of the source package; empty for a source package.
    pub source_rpm: String,
    /// The id of the key that is said to have signed the package, in lower-case hexadecimal digits; empty where
    /// nobody has. Whoever makes a fragment knows it, or leaves it empty.
    pub signer: String,
    build_time: u64,
    installed_bytes: u64,
    archive_bytes: u64,
    /// Of the record in primary.xml, what stands before the checksum.
    head: String,
    /// What stands between checksum and times.
    about: String,
    /// The element `format`.
    format: String,
    /// Of the records in filelists.xml and other.xml, what stands behind the checksum.
    files: String,
    changes: String,
}

/// What a repository says of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The checksum of the file.
    pub checksum: &'a Checksum,
    /// The time of the file, seconds since 1970; `None` for that of the build.
    pub file_time: Option<i64>,
    /// The size of the file.
    pub size_bytes: u64,
    /// Where the file is, below the repository.
    pub href: &'a str,
}

impl Fragment {
    /// What `package` brings.
    pub fn of(package: &Package) -> Result<Self, FragmentError> {
        check(package)?;
        let mut fragment = Self {
            nevra: package.nevra.clone(),
            source_rpm: package.source_rpm.clone(),
            build_time: package.build_time,
            installed_bytes: package.installed_bytes,
            archive_bytes: package.archive_bytes,
            ..Self::default()
        };
        fragment.write_head(package);
        fragment.write_format(package);
        fragment.write_files(package);
        fragment.write_changes(package);
        let parts = [
            ("primary.xml", fragment.format.len()),
            ("filelists.xml", fragment.files.len()),
            ("other.xml", fragment.changes.len()),
        ];
        match parts.into_iter().find(|(_, bytes)| *bytes > BYTES_MAX) {
            Some((document, _)) => Err(FragmentError::TooLarge { document }),
            None => Ok(fragment),
        }
    }

    fn write_head(&mut self, package: &Package) {
        let Nevra { name, arch, .. } = &package.nevra;
        self.head.push_str("<package type=\"rpm\">\n");
        element(&mut self.head, "  ", "name", name);
        element(&mut self.head, "  ", "arch", arch);
        version(&mut self.head, &package.nevra);
        for (tag, value) in [
            ("summary", &package.summary),
            ("description", &package.description),
            ("packager", &package.packager),
            ("url", &package.url),
        ] {
            element(&mut self.about, "  ", tag, value);
        }
    }

    fn write_format(&mut self, package: &Package) {
        let text = &mut self.format;
        text.push_str("  <format>\n");
        for (tag, value) in [
            ("rpm:license", &package.license),
            ("rpm:vendor", &package.vendor),
            ("rpm:group", &package.group),
            ("rpm:buildhost", &package.build_host),
            ("rpm:sourcerpm", &package.source_rpm),
        ] {
            element(text, "    ", tag, value);
        }
        let Package { header_start, header_end, .. } = package;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "    <rpm:header-range start=\"{header_start}\" end=\"{header_end}\"/>");
        dependencies::write(text, package);
        for file in package.files.iter().filter(|file| is_primary(&file.path)) {
            write_file(text, "    ", file);
        }
        text.push_str("  </format>\n</package>\n");
    }

    fn write_files(&mut self, package: &Package) {
        let text = &mut self.files;
        behind_checksum(text, &package.nevra);
        for file in &package.files {
            write_file(text, "  ", file);
        }
        text.push_str("</package>\n");
    }

    fn write_changes(&mut self, package: &Package) {
        let text = &mut self.changes;
        behind_checksum(text, &package.nevra);
        let shown = &package.changes[..package.changes.len().min(CHANGES_MAX)];
        // Entries of one time are set apart by a second each, so that clients that sort by time keep their order.
        let mut times: Vec<u64> = Vec::with_capacity(shown.len());
        let mut last = 0;
        for change in shown {
            if last == change.time {
                for (same, time) in (change.time..).zip(times.iter_mut().rev()) {
                    if *time != same {
                        break;
                    }
                    *time += 1;
                }
            }
            last = change.time;
            times.push(change.time);
        }
        for (change, time) in shown.iter().zip(times).rev() {
            text.push_str("  <changelog author=\"");
            attribute(text, change.author.trim_end_matches(' '));
            let _ = write!(text, "\" date=\"{time}\">");
            content(text, &change.text);
            text.push_str("</changelog>\n");
        }
        text.push_str("</package>\n");
    }

    /// Writes the record of primary.xml.
    pub fn write_primary(&self, text: &mut String, place: &Place<'_>) {
        text.push_str(&self.head);
        let Place { checksum, file_time, size_bytes, href } = place;
        let (kind, digest) = (checksum.algorithm(), checksum.to_hex());
        let _ = writeln!(text, "  <checksum type=\"{kind}\" pkgid=\"YES\">{digest}</checksum>");
        text.push_str(&self.about);
        let Self { build_time, installed_bytes, archive_bytes, .. } = self;
        let file_time = file_time.map_or_else(|| build_time.to_string(), |time| time.to_string());
        let _ = write!(
            text,
            "  <time file=\"{file_time}\" build=\"{build_time}\"/>\n  <size package=\"{size_bytes}\" \
             installed=\"{installed_bytes}\" archive=\"{archive_bytes}\"/>\n  <location href=\""
        );
        attribute(text, href);
        text.push_str("\"/>\n");
        text.push_str(&self.format);
    }

    /// Writes the record of filelists.xml.
    pub fn write_filelists(&self, text: &mut String, checksum: &Checksum) {
        let _ = write!(text, "<package pkgid=\"{}\"", checksum.to_hex());
        text.push_str(&self.files);
    }

    /// Writes the record of other.xml.
    pub fn write_other(&self, text: &mut String, checksum: &Checksum) {
        let _ = write!(text, "<package pkgid=\"{}\"", checksum.to_hex());
        text.push_str(&self.changes);
    }
}

/// Whether a file stands in primary.xml too, so that clients that need it find it without the whole list.
fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

fn behind_checksum(text: &mut String, nevra: &Nevra) {
    text.push_str(" name=\"");
    attribute(text, &nevra.name);
    text.push_str("\" arch=\"");
    attribute(text, &nevra.arch);
    text.push_str("\">\n");
    version(text, nevra);
}

fn version(text: &mut String, nevra: &Nevra) {
    let _ = write!(text, "  <version epoch=\"{}\" ver=\"", nevra.epoch);
    attribute(text, &nevra.version);
    text.push_str("\" rel=\"");
    attribute(text, &nevra.release);
    text.push_str("\"/>\n");
}

fn element(text: &mut String, indent: &str, tag: &str, value: &str) {
    let _ = write!(text, "{indent}<{tag}>");
    content(text, value);
    let _ = writeln!(text, "</{tag}>");
}

fn write_file(text: &mut String, indent: &str, file: &crate::rpm::File) {
    text.push_str(indent);
    text.push_str(match (file.is_dir(), file.is_ghost()) {
        (true, _) => "<file type=\"dir\">",
        (false, true) => "<file type=\"ghost\">",
        (false, false) => "<file>",
    });
    content(text, &file.path);
    text.push_str("</file>\n");
}

/// Refuses names that XML cannot hold. In text for people such characters are replaced.
fn check(package: &Package) -> Result<(), FragmentError> {
    let Nevra { name, version, release, arch, .. } = &package.nevra;
    let own = [name, version, release, arch].into_iter().map(|name| ("the name", name));
    let dependencies = [
        &package.provides,
        &package.requires,
        &package.conflicts,
        &package.obsoletes,
        &package.recommends,
        &package.suggests,
        &package.supplements,
        &package.enhances,
    ];
    let dependencies = dependencies
        .into_iter()
        .flatten()
        .flat_map(|dependency| [("the dependency", &dependency.name), ("the version", &dependency.version)]);
    let files = package.files.iter().map(|file| ("the file", &file.path));
    match own.chain(dependencies).chain(files).find(|(_, name)| name.chars().any(escape::is_forbidden)) {
        Some((what, name)) => Err(FragmentError::Control { what, name: name.chars().take(200).collect() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
