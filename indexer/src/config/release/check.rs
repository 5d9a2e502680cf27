//! What is wrong with a release, or with a group's part of one.
//!
//! Always true: of what passes, a recipe can be made whose trees all have places of their own and addresses that a
//! sync takes, and every name of its composes is short enough for every file system.

use std::collections::BTreeMap;

use cfs_fs::name::TreePath;
use url::Url;

use super::{Release, Sig, Upstream};
use crate::address::{Address, AddressError};
use crate::arch;
use crate::config::fault::{Fault, excerpt};
use crate::productmd::compose_id::is_version;
use crate::productmd::version::Version;

/// The longest name of a release, a group or a repository; those of composes and of files are made of several, and
/// 255 bytes is what a file system takes.
const NAME_BYTES_MAX: usize = 64;
/// The longest name of the directory of composes, so that theirs are names of refs.
const REFS_BYTES_MAX: usize = 80;
/// The longest text in a document.
const TEXT_BYTES_MAX: usize = 255;
/// What stands for something in an address of repositories.
const WORDS: [&str; 5] = ["repo", "basearch", "version", "major", "hashed"];
/// The same in the address of a finished compose.
const WORDS_OF_COMPOSE: [&str; 3] = ["compose", "version", "major"];

/// Names of repositories, some of which are called otherwise in composes.
type Renames = BTreeMap<String, String>;

/// Looks at the release `profile`.
pub(in crate::config) fn release(profile: &str, release: &Release) -> Result<(), Fault> {
    name(&[], "is called", profile, "_-+.")?;
    line(&["name"], "has the name", &release.name)?;
    name(&["short"], "has the short name", &release.short, "_-+")?;
    let version = &release.version;
    if !is_version(version) || name(&[], "", version, "_-+.").is_err() {
        let message = format!("has the version {}; versions are such as \"9.7\"", excerpt(version));
        return Err(Fault::at(&["version"], message));
    }
    if release.refs.as_ref().is_some_and(|refs| refs.as_str().len() > REFS_BYTES_MAX) {
        let message = format!("has `refs` of more than {REFS_BYTES_MAX} bytes");
        return Err(Fault::at(&["refs"], message));
    }
    if release.arches.is_empty() {
        return Err(Fault::at(&["arches"], "has no `arches`"));
    }
    arches(&["arches"], &release.arches)?;
    base_url(release)?;
    upstream(&release.upstream)?;
    for (from, to) in &release.renames {
        name(&["renames", from], "renames a repository to", to, "_-+")?;
    }
    let known = Known { upstream: &release.upstream, renames: &release.renames, others: Vec::new() };
    for of in release.renames.keys() {
        known.has(&["renames", of], of)?;
    }
    for of in &release.multilib {
        known.has(&["multilib", of], of)?;
    }
    for (image, iso) in &release.iso {
        iso.repositories.iter().try_for_each(|of| known.has(&["iso", image, "repositories", of], of))?;
    }
    known.have_places(&["renames"])?;
    known.comps(&release.comps)?;
    known.closure(&release.closure)
}

/// Looks at what the group `group` adds to the release `profile`.
pub(in crate::config) fn sig(group: &str, profile: &str, sig: &Sig) -> Result<(), Fault> {
    name(&[], "has a group called", group, "_-+")?;
    name(&[], "is of a release called", profile, "_-+.")?;
    arches(&["arches"], &sig.arches)?;
    upstream(&sig.upstream)?;
    for directory in &sig.directories {
        let good = TreePath::new(directory.as_str()).is_ok_and(|path| !path.is_root());
        if !good {
            let message = format!("has the directory {}; paths below the compose are", excerpt(directory));
            return Err(Fault::at(&["directories", directory], message));
        }
    }
    let renames = BTreeMap::new();
    let known = Known { upstream: &sig.upstream, renames: &renames, others: Vec::new() };
    debug_beside(&sig.upstream)?;
    known.comps(&sig.comps)
}

/// Looks at what a group adds to a release, which may stand in another file.
pub(in crate::config) fn sig_of(release: &Release, sig: &Sig) -> Result<(), Fault> {
    let names = release.upstream.names().into_iter().chain(release.renames.values());
    let others = names.map(String::as_str).collect();
    let known = Known { upstream: &sig.upstream, renames: &release.renames, others };
    known.have_places(&["upstream", "repositories"])?;
    known.closure(&sig.closure)
}

/// The repositories that something may be said of.
struct Known<'a> {
    upstream: &'a Upstream,
    renames: &'a Renames,
    /// Those that packages may need besides.
    others: Vec<&'a str>,
}

impl<'a> Known<'a> {
    fn names(&self) -> impl Iterator<Item = &'a str> + Clone {
        let renames = self.renames;
        let upstream = self.upstream.names().into_iter();
        upstream.flat_map(move |name| [Some(name), renames.get(name)]).flatten().map(String::as_str)
    }

    fn has(&self, path: &[&str], name: &str) -> Result<(), Fault> {
        Self::is_among(path, name, self.names())
    }

    fn is_among<'n>(
        path: &[&str],
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<(), Fault> {
        if known.clone().any(|known| known == name) {
            return Ok(());
        }
        let message = format!("says something of the repository {}, which it does not have", excerpt(name));
        Err(Fault::at(path, message).meant(name, known))
    }

    fn comps(&self, comps: &BTreeMap<String, String>) -> Result<(), Fault> {
        for (of, place) in comps {
            self.has(&["comps", of], of)?;
            file(&["comps", of], place, &WORDS)?;
        }
        Ok(())
    }

    fn closure(&self, closure: &BTreeMap<String, Vec<String>>) -> Result<(), Fault> {
        let all: Vec<&str> = self.names().chain(self.others.iter().copied()).collect();
        for (of, others) in closure {
            self.has(&["closure", of], of)?;
            for other in others {
                Self::is_among(&["closure", of, other], other, all.iter().copied())?;
            }
        }
        Ok(())
    }

    /// No two repositories may stand in one place. `path` leads to what brings two to one.
    fn have_places(&self, path: &[&str]) -> Result<(), Fault> {
        let mut places: BTreeMap<&str, &str> = BTreeMap::new();
        for name in self.upstream.names() {
            let composed = self.renames.get(name).unwrap_or(name);
            if let Some(other) = places.insert(composed, name) {
                let message = format!(
                    "has two repositories in one place: {other:?} and {name:?} are both {composed:?} in composes"
                );
                let renamed = if self.renames.contains_key(name) { name } else { other };
                let path: Vec<&str> = path.iter().copied().chain([renamed]).collect();
                return Err(Fault::at(&path, message));
            }
        }
        Ok(())
    }
}

/// The layout of groups has debug packages beside packages: `NAME-debug` must not be another repository.
fn debug_beside(upstream: &Upstream) -> Result<(), Fault> {
    let names = upstream.names();
    let has_debug =
        |name: &str| upstream.repository.get(name).and_then(|own| own.debug).unwrap_or(upstream.debug);
    for name in &names {
        let beside = format!("{name}-debug");
        if names.contains(&&beside) && has_debug(name) {
            let message =
                format!("has two repositories in one place: {beside:?} and the debug packages of {name:?}");
            return Err(Fault::at(&["upstream", "repositories", &beside], message));
        }
    }
    Ok(())
}

/// Architectures that there are, none of them twice.
pub(in crate::config) fn arches(path: &[&str], arches: &[String]) -> Result<(), Fault> {
    for (number, name) in arches.iter().enumerate() {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        if !arch::is_known(name) {
            let message = format!("has the architecture {}, which is unknown", excerpt(name));
            return Err(Fault::at(&path, message).meant(name, arch::known()));
        }
        if arches[..number].contains(name) {
            return Err(Fault::at(&path, format!("has the architecture {name:?} twice")));
        }
    }
    Ok(())
}

fn upstream(upstream: &Upstream) -> Result<(), Fault> {
    let names = upstream.names();
    if names.is_empty() {
        return Err(Fault::at(&["upstream", "repositories"], "has no `repositories`"));
    }
    for (number, repository) in names.iter().enumerate() {
        let table = if upstream.repositories.is_empty() { "repository" } else { "repositories" };
        let path = ["upstream", table, repository.as_str()];
        name(&path, "has a repository called", repository, "_-+")?;
        if names[..number].contains(repository) {
            return Err(Fault::at(&path, format!("has the repository {repository:?} twice")));
        }
    }
    let mut urls = vec![(vec!["url"], Some(&upstream.url))];
    urls.extend([(vec!["debug-url"], upstream.debug_url.as_ref())]);
    urls.extend([(vec!["source-url"], upstream.source_url.as_ref())]);
    for (of, own) in &upstream.repository {
        let table = ["upstream", "repository", of];
        if !names.contains(&of) {
            let message = format!("has a table of the repository {of:?}, which is not in `repositories`");
            return Err(Fault::at(&table, message).meant(of, names.iter().map(|name| name.as_str())));
        }
        arches(&["upstream", "repository", of, "arches"], &own.arches)?;
        let all = [("url", &own.url), ("debug-url", &own.debug_url), ("source-url", &own.source_url)];
        urls.extend(all.map(|(key, url)| (vec!["repository", of, key], url.as_ref())));
    }
    let has_hashed = urls.iter().any(|(_, url)| url.is_some_and(|url| url.contains("$hashed")));
    for (path, url) in urls {
        let path: Vec<&str> = ["upstream"].into_iter().chain(path).collect();
        url.map_or(Ok(()), |url| address(&path, url))?;
    }
    if upstream.hashed && !has_hashed {
        let message = "has `hashed`, and `$hashed` is in no address";
        return Err(Fault::at(&["upstream", "hashed"], message));
    }
    let own = |name: &&String| upstream.repository.get(*name).is_some_and(|own| own.url.is_some());
    if names.len() > 1 && !upstream.url.contains("$repo") && !names.iter().all(own) {
        let message = "has an `url` without `$repo` for several repositories";
        return Err(Fault::at(&["upstream", "url"], message));
    }
    files(upstream)
}

/// The files of this host, or at addresses, that an upstream needs.
fn files(upstream: &Upstream) -> Result<(), Fault> {
    for key in &upstream.gpg_keys.0 {
        file(&["upstream", "gpg-keys", key], key, &[])?;
    }
    let Some(extra) = &upstream.extra_files else { return Ok(()) };
    let table = ["upstream", "extra-files"];
    file(&[table[0], table[1], "url"], &extra.url, &[])?;
    for path in &extra.files {
        if !TreePath::new(path.as_str()).is_ok_and(|path| !path.is_root()) {
            let message = format!("has the extra file {}; paths below its `url` are", excerpt(path));
            return Err(Fault::at(&[table[0], table[1], "files", path], message));
        }
    }
    Ok(())
}

/// A name that becomes part of one of a file.
fn name(path: &[&str], verb: &str, text: &str, marks: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    let reason = if text.len() > NAME_BYTES_MAX {
        format!("more than {NAME_BYTES_MAX} bytes are too many")
    } else if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(good) {
        let marks: Vec<String> = marks.chars().map(String::from).collect();
        format!("names are letters, digits and {}", marks.join(" "))
    } else {
        return Ok(());
    };
    Err(Fault::at(path, format!("{verb} {}; {reason}", excerpt(text))))
}

/// A text that stands on one line of a document.
fn line(path: &[&str], verb: &str, text: &str) -> Result<(), Fault> {
    let reason = if text.len() > TEXT_BYTES_MAX {
        format!("more than {TEXT_BYTES_MAX} bytes are too many")
    } else if text.trim().is_empty() || text.chars().any(char::is_control) {
        "it must be a line of text".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::at(path, format!("{verb} {}; {reason}", excerpt(text))))
}

/// An address of repositories, as a sync takes it.
fn address(path: &[&str], text: &str) -> Result<(), Fault> {
    match located(path, text, &WORDS)? {
        Address::Dir(dir) if !dir.is_absolute() => {
            let message = format!(
                "has the address {}; such as \"https://example.org/$repo/$basearch\" are, and whole paths of directories",
                excerpt(text)
            );
            Err(Fault::at(path, message))
        }
        _ => Ok(()),
    }
}

/// A file, or the address of one.
fn file(path: &[&str], text: &str, words: &[&str]) -> Result<(), Fault> {
    located(path, text, words).map(|_| ())
}

fn located(path: &[&str], text: &str, words: &[&str]) -> Result<Address, Fault> {
    let refuse = |reason: &str| Fault::at(path, format!("has the address {}: {reason}", excerpt(text)));
    if text.chars().any(char::is_control) {
        return Err(refuse("it has a control character"));
    }
    let whole = if words.is_empty() { text.to_owned() } else { expanded(path, text, words)? };
    whole.parse().map_err(|error: AddressError| refuse(&error.reason))
}

/// A text with something for each of its `words`; an error for other words.
fn expanded(path: &[&str], text: &str, words: &[&str]) -> Result<String, Fault> {
    let mut parts = text.split('$');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(part.len());
        let (word, rest) = part.split_at(end);
        if !words.contains(&word) {
            let words: Vec<String> = words.iter().map(|word| format!("${word}")).collect();
            let written = format!("${word}");
            let message = format!(
                "has the address {}: {} stands for nothing; there are {}",
                excerpt(text),
                excerpt(&written),
                words.join(", ")
            );
            return Err(Fault::at(path, message).meant(&written, words.iter().map(String::as_str)));
        }
        whole.push('x');
        whole.push_str(rest);
    }
    Ok(whole)
}

fn base_url(release: &Release) -> Result<(), Fault> {
    let Some(text) = &release.base_url else { return Ok(()) };
    let path = ["base-url"];
    if release.productmd == Version::Paths {
        let message = "has a `base-url`, which is for `productmd = \"2.0\"` only";
        return Err(Fault::at(&path, message));
    }
    let whole = expanded(&path, text, &WORDS_OF_COMPOSE)?;
    let is_plain = |url: Url| {
        let bare = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
        bare && ["http", "https"].contains(&url.scheme())
    };
    let is_printable = !text.chars().any(char::is_control);
    if is_printable && Url::parse(&whole).is_ok_and(is_plain) {
        return Ok(());
    }
    let such = "such as \"https://example.org/$compose/compose\" are";
    Err(Fault::at(&path, format!("has the `base-url` {}; {such}", excerpt(text))))
}
