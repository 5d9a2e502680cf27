use super::*;

/// The names of the packages in one repository, with their bytes.
fn packages(root: &Path, arch: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = root.join(format!("BaseOS/{arch}/os/Packages"));
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

#[test]
fn the_packages_are_real_and_the_same_every_time() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        let counts = Upstream::new(dir.path()).publish_first(1_700_000_000, 2).unwrap();
        assert_eq!((counts.packages, counts.distinct), (72, 60));
    }
    let [once, again] = dirs.each_ref().map(|dir| packages(dir.path(), "x86_64"));
    assert!(once == again);
    for bytes in once.values() {
        let package = rpm::Package::parse(&mut &bytes[..]).unwrap();
        package.verify_digests().unwrap();
        assert_eq!(package.metadata.get_build_time().unwrap(), 1_700_000_000);
    }
    let other = packages(dirs[0].path(), "aarch64");
    let shared: Vec<_> = once.keys().filter(|name| name.ends_with("noarch.rpm")).collect();
    assert_eq!(shared.len(), 12);
    assert!(shared.iter().all(|name| once[*name] == other[*name]));
}

#[test]
fn the_update_changes_adds_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let mut upstream = Upstream::new(dir.path());
    upstream.publish_first(1_700_000_000, 2).unwrap();
    let before = packages(dir.path(), "aarch64");
    upstream.publish_update(1_700_000_100, 2).unwrap();
    let after = packages(dir.path(), "aarch64");
    let gone: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).collect();
    let new: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!((gone.len(), new.len()), (UPDATED.len() + 1, UPDATED.len() + 1));
    assert!(
        gone.iter().any(|name| name.starts_with(REMOVED)) && new.iter().any(|name| name.starts_with(ADDED))
    );
    assert!(after.iter().all(|(name, bytes)| before.get(name).is_none_or(|old| old == bytes)));
    let repodata = fs::read_dir(dir.path().join("BaseOS/aarch64/os/repodata")).unwrap();
    assert_eq!(repodata.count(), 4);
}
