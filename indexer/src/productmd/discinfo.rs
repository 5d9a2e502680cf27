//! The files `.discinfo` and `media.repo` of install trees and discs.

/// The file `.discinfo`: when the tree was made (seconds since 1970), of what, and for which architecture.
pub fn discinfo(timestamp: i64, description: &str, arch: &str) -> Vec<u8> {
    format!("{timestamp}\n{description}\n{arch}\nALL\n").into_bytes()
}

/// The file `media.repo`, which makes dnf use a disc. `timestamp` is that of its `.discinfo`.
pub fn media_repo(timestamp: i64, name: &str) -> Vec<u8> {
    let rest = "metadata_expire=-1\ngpgcheck=0\ncost=500\n";
    format!("[InstallMedia]\nname={name}\nmediaid={timestamp}\n{rest}").into_bytes()
}
