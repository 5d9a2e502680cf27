//! Metalinks: a repomd.xml's digests and where it may be had, as MirrorManager tells clients.
//!
//! Always true: what the ref shows now stands first, whatever its timestamps say, so that a rollback is followed; the
//! alternates are what it showed before, newest first, so that a mirror which is one step behind is accepted.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use cfs_fs::digest::BlobId;
use cfs_fs::tree::{Item, Kind, NodeError, resolve};

use crate::catalogue::{CatalogueError, Target};
use crate::checksum::{Algorithm, Digester};
use crate::depot::Depot;
use crate::repodata::repomd;
use crate::revision::RevPath;

/// What clients know the digests of; they take the strongest.
const ALGORITHMS: [Algorithm; 4] = [Algorithm::Md5, Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];

/// Why there is no metalink.
#[derive(Debug, thiserror::Error)]
pub enum MetalinkError {
    /// There is no file at the place.
    #[error("{place}: there is no such file")]
    NoFile {
        /// The place.
        place: RevPath,
    },
    /// It is no repomd.xml.
    #[error("{place}: is no repomd.xml")]
    NotRepomd {
        /// The place.
        place: RevPath,
        /// What is wrong with it.
        #[source]
        source: crate::repodata::RepodataError,
    },
    /// A line of the list of mirrors is none.
    #[error("line {line} of the mirrors: {reason}")]
    Mirror {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The catalogue failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl From<NodeError> for MetalinkError {
    fn from(error: NodeError) -> Self {
        Self::Catalogue(error.into())
    }
}

/// A mirror: the address at which it serves a directory of the view, and how it is preferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Ends in `/`.
    pub address: String,
    /// Two letters.
    pub country: Option<String>,
    /// From 0 to 100, the best.
    pub preference: u8,
}

/// Reads a list of mirrors: an address, a country and a preference in each line, of which only the address must be
/// there; what follows `#` is said to people.
pub fn mirrors(text: &str) -> Result<Vec<Mirror>, MetalinkError> {
    let mut mirrors = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let [address, rest @ ..] = &words[..] else { continue };
        let fail = |reason: String| MetalinkError::Mirror { line: index + 1, reason };
        let scheme = address.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("http" | "https" | "ftp" | "rsync" | "file")) {
            return Err(fail(format!("{address:?} is no address")));
        }
        let (mut country, mut preference) = (None, 100);
        for word in rest {
            match word.parse::<u8>() {
                Ok(number) if number <= 100 => preference = number,
                Err(_) if word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                    country = Some(word.to_ascii_uppercase());
                }
                _ => return Err(fail(format!("{word:?} is no country and no preference from 0 to 100"))),
            }
        }
        let slash = if address.ends_with('/') { "" } else { "/" };
        mirrors.push(Mirror { address: format!("{address}{slash}"), country, preference });
    }
    Ok(mirrors)
}

/// One content of a repomd.xml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The newest time in it, seconds since 1970.
    pub timestamp: i64,
    /// Its length.
    pub size_bytes: u64,
    /// Digests in hexadecimal, weakest first.
    pub digests: Vec<(Algorithm, String)>,
}

/// How far back alternates are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Alternates at most.
    pub count: usize,
    /// What was replaced before this time (seconds) is no alternate.
    pub since: i64,
}

/// What the file at `place` is, and what it was before in the history of the ref, newest first.
pub fn versions(depot: &Depot, place: &RevPath, limits: Limits) -> Result<Vec<Version>, MetalinkError> {
    let no_file = || MetalinkError::NoFile { place: place.clone() };
    let (id, snapshot) = depot.catalogue.resolve(&place.revision)?;
    let (now, mtime) = file(depot, place, &snapshot.root_item())?.ok_or_else(no_file)?;
    let mut blobs = vec![now];
    let mut versions = vec![version(depot, place, now, mtime)?];
    if depot.catalogue.find_ref(&place.revision.base)?.is_none() {
        return Ok(versions);
    }
    let (found, _) = depot.catalogue.follow_ref(&place.revision.base)?;
    let log = depot.catalogue.log(&found.name)?;
    let moves = log.iter().skip_while(|entry| entry.new != Some(Target::Snapshot(id)));
    for old in moves.take_while(|entry| entry.at >= limits.since).map_while(|entry| entry.old) {
        if versions.len() > limits.count {
            break;
        }
        let Some(snapshot) = depot.catalogue.snapshot(old)? else { break };
        let (blob, mtime) = match file(depot, place, &snapshot.root_item()) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            // What is not kept any more is in no mirror's way.
            Err(MetalinkError::Catalogue(CatalogueError::Node(NodeError::Missing { .. }))) => break,
            Err(error) => return Err(error),
        };
        if !blobs.contains(&blob) {
            blobs.push(blob);
            versions.push(version(depot, place, blob, mtime)?);
        }
    }
    Ok(versions)
}

fn file(depot: &Depot, place: &RevPath, root: &Item) -> Result<Option<(BlobId, i64)>, MetalinkError> {
    Ok(match resolve(&depot.catalogue, root, &place.path)? {
        Some(Item { mtime, kind: Kind::File { blob, .. } }) => Some((blob, mtime)),
        _ => None,
    })
}

fn version(depot: &Depot, place: &RevPath, blob: BlobId, mtime: i64) -> Result<Version, MetalinkError> {
    let bytes = depot.store.read_blob(blob).map_err(CatalogueError::from)?;
    let parsed = repomd::parse(&bytes[..]);
    let parsed = parsed.map_err(|source| MetalinkError::NotRepomd { place: place.clone(), source })?;
    let timestamp = parsed.records.iter().filter_map(|record| record.timestamp).max().unwrap_or(mtime);
    let digest = |algorithm| {
        let mut digester = Digester::new(algorithm);
        digester.update(&bytes);
        (algorithm, digester.finish().to_hex())
    };
    let digests = ALGORITHMS.into_iter().map(digest).collect();
    Ok(Version { timestamp, size_bytes: bytes.len() as u64, digests })
}

/// The document, version 3 with MirrorManager's additions: the first of `versions` and its alternates. `path` is
/// where the file is below the mirrors' addresses, `now` the time of publication in seconds.
pub fn write(versions: &[Version], mirrors: &[Mirror], path: &str, now: i64) -> String {
    let published = UNIX_EPOCH + Duration::from_secs(now.max(0).cast_unsigned());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\" type=\"dynamic\" pubdate=\"{}\" generator=\"cfs\" \
         xmlns:mm0=\"http://fedorahosted.org/mirrormanager\">\n <files>\n  <file name=\"repomd.xml\">\n",
        httpdate::fmt_http_date(published)
    );
    if let [first, alternates @ ..] = versions {
        text += &described(first, "   ");
        if !alternates.is_empty() {
            text += "   <mm0:alternates>\n";
            for alternate in alternates {
                let inner = described(alternate, "     ");
                // Writing to a String cannot fail.
                let _ = writeln!(text, "    <mm0:alternate>\n{inner}    </mm0:alternate>");
            }
            text += "   </mm0:alternates>\n";
        }
    }
    text += "   <resources maxconnections=\"1\">\n";
    for Mirror { address, country, preference } in mirrors {
        let scheme = address.split_once("://").map_or("http", |(scheme, _)| scheme);
        let location = country.as_ref().map(|country| format!(" location=\"{country}\"")).unwrap_or_default();
        let url = escape(&format!("{address}{}", encode(path)));
        let _ = writeln!(
            text,
            "    <url protocol=\"{scheme}\" type=\"{scheme}\"{location} preference=\"{preference}\">{url}</url>"
        );
    }
    text += "   </resources>\n  </file>\n </files>\n</metalink>\n";
    text
}

fn described(version: &Version, indent: &str) -> String {
    let Version { timestamp, size_bytes, digests } = version;
    let mut text = format!(
        "{indent}<mm0:timestamp>{timestamp}</mm0:timestamp>\n{indent}<size>{size_bytes}</size>\n\
         {indent}<verification>\n"
    );
    for (algorithm, digest) in digests {
        let _ = writeln!(text, "{indent} <hash type=\"{algorithm}\">{digest}</hash>");
    }
    text + indent + "</verification>\n"
}

/// A path in an address.
fn encode(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~+^".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read() {
        let text = "# ours\nhttps://a.example/rocky DE 90\n\nhttp://b.example/pub/rocky/ # no country\nfile:///x 5 us\n";
        let mirror = |address: &str, country: Option<&str>, preference| Mirror {
            address: address.into(),
            country: country.map(str::to_owned),
            preference,
        };
        let expected = [
            mirror("https://a.example/rocky/", Some("DE"), 90),
            mirror("http://b.example/pub/rocky/", None, 100),
            mirror("file:///x/", Some("US"), 5),
        ];
        assert_eq!(mirrors(text).unwrap(), expected);
        for (text, line) in [("x", 1), ("\nhttp://a/ 101", 2), ("http://a/ Germany", 1), ("gopher://a/", 1)] {
            let error = mirrors(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line} of the mirrors: ")), "{error}");
        }
    }

    #[test]
    fn the_document_is_as_clients_read_it() {
        let version = |timestamp| Version {
            timestamp,
            size_bytes: 7,
            digests: vec![(Algorithm::Sha256, "ab".into()), (Algorithm::Sha512, "cd".into())],
        };
        let mirrors = mirrors("http://m.example/a&b DE 80").unwrap();
        let text = write(&[version(9), version(8)], &mirrors, "os 1/repodata/repomd.xml", 1_795_221_084);
        let expected = r#"<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic" pubdate="Sat, 21 Nov 2026 00:31:24 GMT" generator="cfs" xmlns:mm0="http://fedorahosted.org/mirrormanager">
 <files>
  <file name="repomd.xml">
   <mm0:timestamp>9</mm0:timestamp>
   <size>7</size>
   <verification>
    <hash type="sha256">ab</hash>
    <hash type="sha512">cd</hash>
   </verification>
   <mm0:alternates>
    <mm0:alternate>
     <mm0:timestamp>8</mm0:timestamp>
     <size>7</size>
     <verification>
      <hash type="sha256">ab</hash>
      <hash type="sha512">cd</hash>
     </verification>
    </mm0:alternate>
   </mm0:alternates>
   <resources maxconnections="1">
    <url protocol="http" type="http" location="DE" preference="80">http://m.example/a&amp;b/os%201/repodata/repomd.xml</url>
   </resources>
  </file>
 </files>
</metalink>
"#;
        assert_eq!(text, expected);
    }
}
