//! From the configuration of empanadas (YAML) to cfs's: a file of releases, or one of a special interest group.
//!
//! Always true: what comes out is a configuration that cfs takes; whatever of the file is not in it is told, with
//! its line.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use super::ConfigError;
use crate::checksum::Algorithm;
use crate::productmd::label::Label;

mod section;
mod toml;
mod yaml;

use self::section::Section;
use self::toml::Writer;

/// What empanadas has outside its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What the projects of all releases stand below.
    pub base_url: String,
    /// The short name of releases [default: the first word of their names].
    pub short: Option<String>,
}

/// A configuration made of empanadas'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The configuration, in TOML.
    pub text: String,
    /// What is not in it, in the order of lines.
    pub remarks: Vec<Remark>,
}

/// Something that is not in the result, or should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The line, from 1.
    pub line: usize,
    /// Where it stands, such as `9.iso_map.lorax`.
    pub key: String,
    /// What is to be said of it.
    pub what: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.line, self.key, self.what)
    }
}

/// Why a file cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ImportError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// Converts a file.
pub fn import(text: &str, options: &Options) -> Result<Imported, ImportError> {
    let remarks = RefCell::default();
    let mut top = Section::of_file(yaml::parse(text)?, &remarks)?;
    let mut writer = Writer::default();
    for name in top.names() {
        let Some(mut section) = top.section(&name) else { continue };
        if section.has("revision") || section.has("all_repos") {
            release(&name, section, options, &mut writer)?;
            continue;
        }
        for profile in section.names() {
            if let Some(of_release) = section.section(&profile) {
                sig(&name, &profile, of_release, options, &mut writer)?;
            }
        }
        section.finish();
    }
    top.finish();
    let text = writer.finished().to_owned();
    if text.is_empty() {
        return Err(ImportError { line: 1, reason: "it has neither a release nor a group".to_owned() });
    }
    if let Err(ConfigError { line, message, suggestion }) = super::parse(&text) {
        let meant = suggestion.map(|word| format!("; is {word:?} meant?")).unwrap_or_default();
        return Err(ImportError { line: writer.origin(line), reason: format!("{message}{meant}") });
    }
    let mut remarks = remarks.into_inner();
    remarks.sort();
    Ok(Imported { text, remarks })
}

/// Keys that other tools than cfs read, and why they are left out.
const OF_OTHERS: [(&str, &str); 11] = [
    ("disttag", "is left out: nothing of cfs needs it"),
    ("code", "is left out: nothing of cfs needs it"),
    ("bugurl", "is left out: nothing of cfs needs it"),
    ("fedora_major", "is left out: nothing of cfs needs it"),
    ("major", "is left out: it is the first number of the version"),
    ("minor", "is left out: it is in the version"),
    ("extra_repos", "is left out: cfs makes no images"),
    ("cloudimages", "is left out: cfs makes no images"),
    ("livemap", "is left out: cfs makes no images"),
    ("kiwimap", "is left out: cfs makes no images"),
    ("repo_symlinks", "is left out: `links` of a promotion make symlinks in a view"),
];

fn release(
    key: &str,
    mut section: Section<'_>,
    options: &Options,
    writer: &mut Writer,
) -> Result<(), ImportError> {
    let version = section.needed("revision")?;
    let fullname = section.needed("fullname")?;
    let name = match fullname.strip_suffix(version.as_str()) {
        Some(name) => name.trim_end().to_owned(),
        None => fullname.clone(),
    };
    let profile = section.text("profile").unwrap_or_else(|| key.to_owned());
    if profile != key {
        let line = section.line_of("profile");
        section.remark(line, "profile", &format!("is what the release is called now, and not {key}"));
    }
    let first = || name.split_whitespace().next().unwrap_or_default().to_owned();
    let short = options.short.clone().unwrap_or_else(first);
    let repositories = section.needed_list("all_repos")?;
    let renames = section.texts("renames");
    writer.from(section.line_of("profile")).table(&["release", &profile]);
    writer.from(section.line_of("fullname")).text("name", &name);
    writer.text("short", &short);
    writer.from(section.line_of("revision")).text("version", &version);
    if let Some((line, level)) = section.line_and_text("rclvl") {
        milestone(&mut section, line, &level, writer.from(line));
    }
    let arches = section.needed_list("allowed_arches")?;
    writer.from(section.line_of("allowed_arches")).list("arches", &arches);
    if section.flag("provide_multilib") == Some(true) {
        // Others have their i686 packages among those of x86_64.
        let of_all: Vec<String> = repositories.iter().filter(|name| name.contains("all")).cloned().collect();
        writer.from(section.line_of("provide_multilib")).list("multilib", &of_all);
    }
    writer.from(section.line_of("renames")).map("renames", &renames);
    let known: BTreeSet<&str> =
        repositories.iter().map(String::as_str).chain(renames.iter().map(|(_, to)| to.as_str())).collect();
    let closures = closures(&mut section, &known);
    match section.line_and_text("checksum") {
        Some((line, sum)) if sum == Algorithm::Sha256.name() => writer.from(line).text("checksum", &sum),
        Some((line, sum)) => {
            section.remark(line, "checksum", &format!("is left out: cfs writes sha256, not {sum}"));
        }
        None => {}
    }
    structure(&mut section);
    let images = images(&mut section, &known);
    writer.from(section.line()).table(&["release", &profile, "upstream"]);
    upstream(&mut section, options, writer)?;
    writer.from(section.line_of("all_repos")).list("repositories", &repositories);
    extra_files(&mut section, &["release", &profile, "upstream", "extra-files"], writer);
    for (name, disc, variant, repositories) in images {
        writer.from(section.line_of("iso_map")).table(&["release", &profile, "iso", &name]);
        writer.flag("disc", disc);
        writer.text("variant", &variant);
        writer.list("repositories", &repositories);
    }
    if !closures.is_empty() {
        writer.from(section.line_of("repoclosure_map")).table(&["release", &profile, "closure"]);
        closures.iter().for_each(|(name, others)| writer.list_even_empty(name, others));
    }
    for (key, why) in OF_OTHERS {
        section.leave(key, why);
    }
    section.finish();
    Ok(())
}

fn sig(
    group: &str,
    profile: &str,
    mut section: Section<'_>,
    options: &Options,
    writer: &mut Writer,
) -> Result<(), ImportError> {
    if let Some((line, other)) = section.line_and_text("profile") {
        let not = if other == group { String::new() } else { format!(", not {other}") };
        section.remark(line, "profile", &format!("is left out: the group is called {group}{not}"));
    }
    let mut directories = section.list("additional_dirs");
    // As empanadas itself spells it in most files.
    directories.extend(section.list("addtional_dirs"));
    let mut repositories: Vec<(String, Vec<String>)> = Vec::new();
    let mut all = section.needed_section("repo")?;
    for name in all.names() {
        let mut own = all.needed_section(&name)?;
        repositories.push((name, own.list("allowed_arches")));
        own.leave("subproject", "is left out: give the repository an `url` of its own");
        own.finish();
    }
    all.finish();
    let arches = repositories.first().map(|(_, arches)| arches.clone()).unwrap_or_default();
    let are_same = repositories.iter().all(|(_, own)| *own == arches);
    writer.from(section.line()).table(&["sig", group, profile]);
    let line = section.line_of("repo");
    if are_same {
        writer.from(line).list("arches", &arches);
    }
    writer.from(section.line()).list("directories", &directories);
    writer.table(&["sig", group, profile, "upstream"]);
    upstream(&mut section, options, writer)?;
    writer
        .from(line)
        .list("repositories", &repositories.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
    extra_files(&mut section, &["sig", group, profile, "upstream", "extra-files"], writer);
    for (name, arches) in repositories.iter().filter(|_| !are_same) {
        writer.from(line).table(&["sig", group, profile, "upstream", "repository", name]);
        writer.list("arches", arches);
    }
    section.finish();
    Ok(())
}

/// The level of a release candidate, which may also be a beta.
fn milestone(section: &mut Section<'_>, line: usize, level: &str, writer: &mut Writer) {
    let upper = level.to_ascii_uppercase();
    let number = |rest: &str| if rest.is_empty() { Some(1) } else { rest.parse::<u32>().ok() };
    if let Some(rc) = upper.strip_prefix("RC").and_then(number) {
        return writer.number("rc", rc);
    }
    let beta = upper.strip_prefix("BETA").and_then(number);
    match beta.map(|number| format!("Beta-{number}.0")).filter(|label| label.parse::<Label>().is_ok()) {
        Some(label) => writer.text("label", &label),
        None => section.remark(line, "rclvl", &format!("is left out: no label is called {level:?}")),
    }
}

/// The address of repositories and the keys, into the table of an upstream.
fn upstream(section: &mut Section<'_>, options: &Options, writer: &mut Writer) -> Result<(), ImportError> {
    let line = section.line_of("project_id");
    let project = section.needed("project_id")?;
    if project.is_empty() {
        section.remark(line, "project_id", "is empty: `url` must be completed");
    }
    let base = options.base_url.trim_end_matches('/');
    writer.from(line).text("url", &format!("{base}/{project}/repo/$hashed$repo/$basearch"));
    let mut keys = section.list("gpg_key");
    let line = section.line_of("repo_gpg_key");
    let of_metadata = section.list("repo_gpg_key");
    if !of_metadata.is_empty() {
        section.remark(line, "repo_gpg_key", "is in `gpg-keys` now, whose keys may have signed packages too");
        keys.extend(of_metadata);
    }
    if keys.is_empty() {
        keys = key_among_files(section);
    }
    writer.from(section.line_of("gpg_key")).list("gpg-keys", &keys);
    Ok(())
}

/// The key that the list of extra files names, in older files of groups.
fn key_among_files(section: &mut Section<'_>) -> Vec<String> {
    let Some((base, stable)) =
        section.peek(&["extra_files", "git_raw_path"]).zip(section.peek(&["extra_files", "gpg", "stable"]))
    else {
        return Vec::new();
    };
    vec![format!("{}/{stable}", base.trim_end_matches('/'))]
}

fn extra_files(section: &mut Section<'_>, table: &[&str], writer: &mut Writer) {
    let Some(mut files) = section.section("extra_files") else { return };
    let (url, list) = (files.text("git_raw_path"), files.list("list"));
    match url {
        Some(url) if !list.is_empty() => {
            writer.from(files.line()).table(table);
            writer.from(files.line_of("git_raw_path")).text("url", url.trim_end_matches('/'));
            writer.from(files.line_of("list")).list("files", &list);
        }
        _ => files.remark(files.line(), "", "is left out: it needs `git_raw_path` and `list`"),
    }
    files.leave("git_repo", "is left out: the files come from `git_raw_path`");
    files.leave("branch", "is left out: the files come from `git_raw_path`");
    if let Some(mut keys) = files.section("gpg") {
        keys.text("stable");
        keys.finish();
    }
    files.finish();
}

/// Where packages and metadata stand below an architecture, which cfs does not let choose.
fn structure(section: &mut Section<'_>) {
    let Some(mut structure) = section.section("structure") else { return };
    for (key, only) in [("packages", "os/Packages"), ("repodata", "os/repodata")] {
        let Some((line, other)) = structure.line_and_text(key) else { continue };
        let always = if other == only { "so".to_owned() } else { format!("{only}, not {other}") };
        structure.remark(line, key, &format!("is left out: it is always {always}"));
    }
    structure.finish();
}

/// For each repository the others that its packages may need.
fn closures(section: &mut Section<'_>, known: &BTreeSet<&str>) -> Vec<(String, Vec<String>)> {
    let Some(mut map) = section.section("repoclosure_map") else { return Vec::new() };
    map.leave("arches", "is left out: cfs knows which architectures go together");
    let mut closures = Vec::new();
    if let Some(mut repositories) = map.section("repos") {
        for name in repositories.names() {
            let line = repositories.line_of(&name);
            let others = known_ones(&mut repositories, &name, known);
            if known.contains(name.as_str()) {
                closures.push((name, others));
            } else {
                repositories.remark(line, &name, "is left out: the release has no such repository");
            }
        }
        repositories.finish();
    }
    map.finish();
    closures
}

/// Images: name, whether it is a disc, variant, repositories.
fn images(section: &mut Section<'_>, known: &BTreeSet<&str>) -> Vec<(String, bool, String, Vec<String>)> {
    let Some(mut map) = section.section("iso_map") else { return Vec::new() };
    let mut images = Vec::new();
    if let Some(mut all) = map.section("images") {
        for name in all.names() {
            let Some(mut image) = all.section(&name) else { continue };
            let disc = image.flag("disc").unwrap_or(false);
            let variant = image.text("variant").unwrap_or_else(|| name.clone());
            let repositories = known_ones(&mut image, "repos", known);
            for key in ["isoskip", "reposcan"] {
                image.leave(key, "is left out: cfs makes no images");
            }
            image.leave("volname", "is left out: a disc has the label of its boot image");
            image.finish();
            images.push((name, disc, variant, repositories));
        }
        all.finish();
    }
    for key in ["iso_level", "lorax"] {
        map.leave(key, "is left out: cfs makes no images");
    }
    map.finish();
    images
}

/// The repositories of a list that the release has.
fn known_ones(section: &mut Section<'_>, key: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let line = section.line_of(key);
    let (good, bad): (Vec<String>, Vec<String>) =
        section.list(key).into_iter().partition(|name| known.contains(name.as_str()));
    for name in bad {
        section.remark(line, key, &format!("{name:?} is left out: the release has no such repository"));
    }
    good
}

#[cfg(test)]
mod tests;
