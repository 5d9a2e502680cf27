//! Real packages, built on the spot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::repo::TIME;

/// Writes the package NAME-VERSION-1.noarch.rpm into `dir`, always the same bytes and the same time.
pub fn package(dir: &Path, name: &str, version: &str) -> PathBuf {
    let built = u32::try_from(TIME).unwrap();
    let config = rpm::BuildConfig::v4().source_date(built).reserved_space(None);
    let mut builder = rpm::PackageBuilder::new(name, version, "MIT", "noarch", "a package");
    builder.using_config(config).release("1").build_host("test.example");
    let content = format!("{name} {version}\n").repeat(500);
    let options = rpm::FileOptions::new(format!("/usr/share/{name}/data"));
    builder.with_file_contents(content, options).unwrap();
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(format!("{name}-{version}-1.noarch.rpm"));
    builder.build().unwrap().write_file(&path).unwrap();
    let time = UNIX_EPOCH + Duration::from_secs(TIME + content_time(name, version));
    File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    path
}

/// Different packages have different times.
fn content_time(name: &str, version: &str) -> u64 {
    name.bytes().chain(version.bytes()).map(u64::from).sum()
}
