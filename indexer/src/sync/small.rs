//! Small files that no metadata declares: keys, and what a compose has besides its repositories.

use cfs_fs::name::TreePath;

use super::Failure;
use super::fetch::{self, FetchError, Fetcher};
use crate::address::Address;
use crate::repository::with_causes;

/// The most bytes that one may have.
const BYTES_MAX: u64 = 64 << 20;

/// Gets the file at each path below each address.
pub fn small_files(
    options: &fetch::Options,
    places: &[(Address, TreePath)],
) -> Result<Vec<Vec<u8>>, Failure> {
    let failed = |url: String, error: &FetchError| Failure { url, reason: with_causes(error) };
    let Some((first, path)) = places.first() else { return Ok(Vec::new()) };
    let fetcher = Fetcher::new(options.clone()).map_err(|error| failed(first.describe(path), &error))?;
    let get = |(address, path): &(Address, TreePath)| {
        let url = || address.describe(path);
        match fetcher.document(address, path, BYTES_MAX) {
            Ok(Some(document)) => Ok(document.bytes),
            Ok(None) => Err(Failure { url: url(), reason: "is not there".to_owned() }),
            Err(error) => Err(failed(url(), &error)),
        }
    };
    places.iter().map(get).collect()
}

/// Splits the address of a file into what it stands below and its name.
pub fn split(text: &str) -> Result<(Address, TreePath), String> {
    let (base, name) = text.rsplit_once('/').unwrap_or((".", text));
    let address = base.parse().map_err(|error: crate::address::AddressError| error.to_string())?;
    let name = TreePath::new(name).map_err(|error| error.to_string())?;
    if name.is_root() { Err(format!("{text:?} names no file")) } else { Ok((address, name)) }
}
