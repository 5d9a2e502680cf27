//! Dependencies in primary.xml: which are published, and how.
//!
//! The rules are those of `createrepo_c`, without which metadata would hold much that clients know already: what a
//! package requires of rpm itself, of its own files and of what it provides is left out, and of the many symbol
//! versions of `libc.so.6` only the highest is required.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::escape::attribute;
use super::is_primary;
use crate::repodata::evr;
use crate::rpm::{Dependency, Package, Sense};

/// A dependency and whether it is needed before the package's files.
type Published<'a> = (&'a Dependency, bool);

/// Writes all sorts of dependencies, each if there are any.
pub(super) fn write(text: &mut String, package: &Package) {
    let plain = |all: &'_ [Dependency]| -> Vec<(usize, bool)> {
        all.iter().enumerate().filter(|(_, one)| has_sound_version(one)).map(|(at, _)| (at, false)).collect()
    };
    let list = |text: &mut String, tag: &str, all: &[Dependency]| {
        let published: Vec<Published<'_>> = plain(all).into_iter().map(|(at, pre)| (&all[at], pre)).collect();
        section(text, tag, &published);
    };
    let (requires, mut recommends) = requires(package);
    let sound = package.recommends.iter().filter(|one| has_sound_version(one));
    recommends.extend(sound.map(|one| (one, false)));
    list(text, "provides", &package.provides);
    section(text, "requires", &requires);
    list(text, "conflicts", &package.conflicts);
    list(text, "obsoletes", &package.obsoletes);
    list(text, "suggests", &package.suggests);
    list(text, "enhances", &package.enhances);
    section(text, "recommends", &recommends);
    list(text, "supplements", &package.supplements);
}

/// A version whose epoch is no number means nothing.
fn has_sound_version(dependency: &Dependency) -> bool {
    dependency.version.is_empty() || dependency.evr().is_some()
}

/// What is required, and what of the requirements is a recommendation.
fn requires(package: &Package) -> (Vec<Published<'_>>, Vec<Published<'_>>) {
    type Key<'a> = (Option<Sense>, &'a str);
    let own_files: HashSet<&str> =
        package.files.iter().map(|file| file.path.as_str()).filter(|path| is_primary(path)).collect();
    let provided: HashSet<(&str, Key<'_>)> = package
        .provides
        .iter()
        .filter(|one| has_sound_version(one))
        .map(|one| (one.name.as_str(), (one.sense(), one.version.as_str())))
        .collect();
    let (mut required, mut recommended): (Vec<Published<'_>>, Vec<Published<'_>>) = (Vec::new(), Vec::new());
    // What was written last under a name.
    let mut last: HashMap<&str, (Key<'_>, bool)> = HashMap::new();
    let mut libc: Option<Published<'_>> = None;
    for one in &package.requires {
        let (name, key) = (one.name.as_str(), (one.sense(), one.version.as_str()));
        let pre = one.flags & Dependency::PRE != 0;
        let is_known = name.starts_with("rpmlib(")
            || name.starts_with('/') && own_files.contains(name)
            || provided.contains(&(name, key))
            || last.get(name) == Some(&(key, pre));
        if is_known || !has_sound_version(one) {
            continue;
        }
        if one.flags & Dependency::MISSING_OK != 0 {
            recommended.push((one, false));
        } else if name.starts_with("libc.so.6") {
            if libc.is_none_or(|(highest, _)| is_newer_libc(name, &highest.name)) {
                libc = Some((one, pre));
            }
        } else {
            required.push((one, pre));
            last.insert(name, (key, pre));
        }
    }
    required.extend(libc);
    (required, recommended)
}

/// Whether a requirement of libc.so.6 is of a newer symbol version than another.
fn is_newer_libc(new: &str, old: &str) -> bool {
    /// How much of a version there is: parentheses, their end, a digit between them; and what begins with it.
    fn version(name: &str) -> (u8, &str) {
        let Some((_, behind)) = name.split_once('(') else { return (0, "") };
        let Some((inside, _)) = behind.split_once(')') else { return (1, "") };
        inside.find(|c: char| c.is_ascii_digit()).map_or((2, ""), |at| (3, &inside[at..]))
    }
    let ((new_rank, new), (old_rank, old)) = (version(new), version(old));
    new_rank.cmp(&old_rank).then_with(|| evr::compare(new, old)).is_gt()
}

fn section(text: &mut String, tag: &str, published: &[Published<'_>]) {
    if published.is_empty() {
        return;
    }
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "    <rpm:{tag}>");
    for (dependency, pre) in published.iter().filter(|(dependency, _)| !dependency.name.is_empty()) {
        text.push_str("      <rpm:entry name=\"");
        attribute(text, &dependency.name);
        text.push('"');
        if let Some(sense) = dependency.sense() {
            let _ = write!(text, " flags=\"{}\"", word(sense));
            if let Some((epoch, version, release)) = dependency.evr() {
                for (name, value) in [("epoch", epoch), ("ver", version), ("rel", release)] {
                    if !value.is_empty() {
                        let _ = write!(text, " {name}=\"");
                        attribute(text, value);
                        text.push('"');
                    }
                }
            }
        }
        text.push_str(if *pre { " pre=\"1\"/>\n" } else { "/>\n" });
    }
    let _ = writeln!(text, "    </rpm:{tag}>");
}

fn word(sense: Sense) -> &'static str {
    match sense {
        Sense::Less => "LT",
        Sense::LessEqual => "LE",
        Sense::Equal => "EQ",
        Sense::GreaterEqual => "GE",
        Sense::Greater => "GT",
    }
}
