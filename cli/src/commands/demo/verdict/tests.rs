use std::time::Duration;

use cfs_fs::digest::BlobId;

use super::*;
use crate::commands::demo::readers::Done;

fn manifest(files: &[(&str, &str)]) -> Manifest {
    files.iter().map(|(path, content)| ((*path).to_owned(), BlobId::of(content.as_bytes()))).collect()
}

#[test]
fn every_pass_counts_for_what_it_saw() {
    let first = manifest(&[("repomd", "1"), ("same", "x"), ("old", "o")]);
    let second = manifest(&[("repomd", "2"), ("same", "x"), ("new", "n")]);
    let back = manifest(&[("repomd", "1 again"), ("same", "x"), ("old", "o")]);
    let mixed = manifest(&[("repomd", "2"), ("same", "x"), ("old", "o")]);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut log = Log::default();
    for (began, ended, saw) in
        [(0, 2, &first), (2, 5, &first), (6, 7, &second), (8, 9, &mixed), (9, 10, &back)]
    {
        let print = fingerprint(saw);
        log.manifests.insert(print, saw.clone());
        let (began, ended) = (at(began), at(ended));
        log.passes.push(Done { reader: 0, began, ended, saw: print, packages: 3, bytes: 10 });
    }
    let verdict = Verdict::of(&log, &first, &second, &back, &[at(3)]);
    assert_eq!((verdict.first, verdict.second, verdict.back), (2, 1, 1));
    assert_eq!((verdict.mixed, verdict.across_a_flip), (1, 1));
    assert_eq!((verdict.passes(), verdict.packages, verdict.bytes), (5, 15, 50));
    assert_eq!(
        verdict.evidence,
        [
            "new: as in the first compose alone",
            "old: as in the first compose alone",
            "repomd: as in the second compose alone"
        ]
    );
}

#[test]
fn differences_are_named() {
    let saw = manifest(&[("a", "1"), ("b", "1"), ("more", "1")]);
    let wanted = manifest(&[("a", "1"), ("b", "2"), ("missing", "1")]);
    assert_eq!(differences(&saw, &wanted), ["b: differs", "more: differs", "missing: differs"]);
    assert!(differences(&saw, &saw).is_empty());
}
