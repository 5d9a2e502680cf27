//! What the fuzz targets try, each with any bytes: that nothing panics, and what must hold of what is accepted.
//!
//! `cargo fuzz` runs them with coverage (see `README.md` beside this), and the test `hostile::fuzz` with a bounded
//! number of mutated seeds, so that they run everywhere.

use std::io::BufRead;

use cfs_fs::digest::{Digest, NodeId};
use cfs_fs::http::probe;
use cfs_fs::tree::{Node, NodeMap, Stage};
use cfs_indexer::compose::{Recipe, RecipeError, Selection};
use cfs_indexer::openpgp::Keyring;
use cfs_indexer::repodata::primary::Packages;
use cfs_indexer::repodata::{compression, href, repomd, restamp};
use cfs_indexer::rpm::{Headers, Package};
use cfs_indexer::{commitfile, config, filelist, snapshot};

/// Where bytes are tried.
pub type Body = fn(&[u8]);

/// All of them, by the names of the targets.
pub const ALL: [(&str, Body); 9] = [
    ("repomd", repomd),
    ("primary", primary),
    ("rpm_header", rpm_header),
    ("node", node),
    ("http_path", http_path),
    ("http_range", http_range),
    ("file_list", file_list),
    ("config", config),
    ("commit_file", commit_file),
];

/// A list of metadata files: locations stay inside, and other times make another document that says the same.
pub fn repomd(bytes: &[u8]) {
    let Ok(parsed) = repomd::parse(bytes) else { return };
    for record in &parsed.records {
        let location = record.location.as_str();
        assert!(href::location(&href::to_url_path(&record.location)).is_ok(), "{location}");
        inside(location);
    }
    assert!(!restamp::is_older(&parsed, &parsed), "older than itself");
    if let Ok(new) = restamp::restamp(bytes, 2_000_000_000) {
        let again = repomd::parse(&new[..]).expect("what was restamped parses");
        assert_eq!(again.records.len(), parsed.records.len());
    }
}

/// Primary metadata, compressed or not: an end, and locations inside.
pub fn primary(bytes: &[u8]) {
    const LIMIT_BYTES: u64 = 8 << 20;
    let Ok(mut plain) = compression::reader(bytes, LIMIT_BYTES) else { return };
    let mut packages = 0_u64;
    for package in Packages::new(&mut plain).by_ref() {
        let Ok(package) = package else { break };
        inside(package.location.as_str());
        packages += 1;
        assert!(packages <= LIMIT_BYTES, "more packages than bytes");
    }
    while let Ok(left) = plain.fill_buf() {
        let count = left.len();
        if count == 0 {
            break;
        }
        plain.consume(count);
    }
}

/// The headers of a package; and keys, which are as hostile.
pub fn rpm_header(bytes: &[u8]) {
    if let Ok(headers) = Headers::read(&mut &bytes[..]) {
        assert!(headers.main.end_byte() <= bytes.len() as u64, "a header that ends behind the file");
        let _ = headers.is_intact();
        if let Ok(package) = Package::of(&headers) {
            assert!(!package.nevra.name.is_empty(), "a package without a name");
        }
    }
    let _ = Keyring::parse(bytes);
}

/// A node: what is accepted is what cfs itself would write.
pub fn node(bytes: &[u8]) {
    let id = NodeId::of(bytes);
    let Ok(node) = Node::verified(id, bytes) else { return };
    let Node::Leaf(entries) = node else { return };
    for entry in &entries {
        inside(entry.name.as_str());
    }
    if entries.len() <= 256 {
        let base = NodeMap::new();
        let dir = Stage::new(&base).write_dir(&entries);
        assert_eq!(dir.id, id, "a second encoding of one directory");
    }
}

/// A request's head, and its first line's target: no path leads out.
pub fn http_path(bytes: &[u8]) {
    if let Ok(Some(asked)) = probe::request(bytes) {
        assert!(asked.head_bytes <= bytes.len());
        asked.path.flatten().iter().for_each(|path| inside(path.as_str()));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(Some(path)) = probe::path(text)
        && !path.is_root()
    {
        inside(path.as_str());
    }
}

/// A header `Range`: parts are inside, in order, and apart.
pub fn http_range(bytes: &[u8]) {
    let size_bytes = bytes.first().map_or(0, |first| u64::from(*first) << (first & 31));
    let Some(parts) = probe::ranges(bytes, size_bytes) else { return };
    assert!(parts.iter().all(|part| part.start < part.end && part.end <= size_bytes), "{parts:?}");
    assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start), "{parts:?}");
}

/// A published list that the next one is made of.
pub fn file_list(bytes: &[u8]) {
    for path in ["", "a", "pub/rocky/9/x", "zzz"] {
        if let Ok(true) = filelist::probe::has_line(bytes, path) {
            let found = bytes.windows(path.len().max(1)).any(|window| window == path.as_bytes());
            assert!(found || path.is_empty(), "a line that is not there");
        }
    }
}

/// A configuration, and a promotion in a file of its own.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = config::parse(text) {
        config.views.values().for_each(|view| assert!(view.gates().len() <= config::Gate::ALL.len()));
        for profile in config.releases.keys() {
            let recipe = Recipe::of_release(&config, profile, &Selection::default());
            assert!(!matches!(recipe, Err(RecipeError::Clash { .. })), "two repositories in one place");
        }
    }
    if let Err(error) = config::parse_promotion(text) {
        assert!(error.line <= text.lines().count().max(1) + 1, "{error}");
    }
}

/// What a lost catalogue is rebuilt from.
pub fn commit_file(bytes: &[u8]) {
    let _ = commitfile::decode(Digest::of(bytes).into(), bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(record) = snapshot::Snapshot::decode(text) {
        assert_eq!(record.encode(), text, "a second way of writing one record");
        let whole = commitfile::encode::<Vec<u8>>(&record, &[]);
        assert!(commitfile::decode(record.id(), &whole).is_ok(), "a commit file that is not read again");
    }
}

/// No path of a tree leads anywhere else, nor breaks a line.
fn inside(path: &str) {
    let good = |part: &str| !["", ".", ".."].contains(&part) && part.len() <= 255;
    assert!(path.split('/').all(good) && !path.contains(char::is_control) || path.is_empty(), "{path:?}");
}
