//! Files as empanadas has them, and as nobody should.

use proptest::prelude::*;

use super::*;

const RELEASE: &str = r#"---
'9':
  fullname: 'Example Linux 9.5'
  revision: '9.5'
  rclvl: 'RC2'
  major: '9'
  minor: '5'
  profile: '9'
  code: "Blue"
  checksum: 'sha256'
  gpg_key:
    - 'https://keys.example.org/KEY-9'
  allowed_arches:
    - x86_64
    - aarch64
  provide_multilib: True
  project_id: 'ae163d6a'
  repo_symlinks:
    NFV: 'nfv'
  renames:
    all: 'devel'
  all_repos:
    - 'all'
    - 'BaseOS'
    - 'AppStream'
  structure:
    packages: 'os/Packages'
    repodata: 'os/metadata'
  iso_map:
    iso_level: False
    images:
      minimal:
        disc: True
        isoskip: True
        repos:
          - 'minimal'
          - 'BaseOS'
        variant: 'minimal'
      BaseOS:
        disc: False
        variant: 'BaseOS'
        repos: ['BaseOS', 'AppStream']
  repoclosure_map:
    arches:
      x86_64: '--forcearch=x86_64'
    repos:
      devel: []
      AppStream:
        - BaseOS
      CRB:
        - BaseOS
  extra_files:
    git_repo: 'https://git.example.org/release.git'
    git_raw_path: 'https://git.example.org/release/-/raw/r9/'
    branch: 'r9'
    list:
      - 'SOURCES/EULA'
  surprise: 1
...
"#;

const GROUP: &str = "---
alt:
  '8':
    profile: 'alt'
    project_id: 'a1aac235'
    repo:
      alt-common:
        allowed_arches: [aarch64]
      alt-rpi:
        allowed_arches:
          - aarch64
          - x86_64
        subproject: 'x'
    additional_dirs:
      - 'images'
    extra_files:
      git_raw_path: 'https://git.example.org/alt/-/raw/r8/'
      gpg:
        stable: 'SOURCES/KEY'
      list:
        - 'SOURCES/KEY'
  '9':
    profile: 'other'
    project_id: ''
    addtional_dirs: []
    repo:
      alt-common:
        allowed_arches: [aarch64]
";

fn options() -> Options {
    Options { base_url: "https://repos.example.org/projects/".to_owned(), short: None }
}

fn imported(text: &str) -> (crate::config::Config, Vec<String>) {
    let imported = import(text, &options()).unwrap();
    let remarks = imported.remarks.iter().map(ToString::to_string).collect();
    (crate::config::parse(&imported.text).unwrap(), remarks)
}

#[test]
fn a_release_is_what_it_was() {
    let (config, remarks) = imported(RELEASE);
    let release = &config.releases["9"];
    assert_eq!((release.name.as_str(), release.short.as_str()), ("Example Linux", "Example"));
    assert_eq!((release.version.as_str(), release.rc), ("9.5", Some(2)));
    assert_eq!(release.arches, ["x86_64", "aarch64"]);
    assert_eq!(release.checksum.map(|sum| sum.algorithm().name()), Some("sha256"));
    assert_eq!(release.multilib, ["all"]);
    assert_eq!(release.renames["all"], "devel");
    assert_eq!(
        release.upstream.url,
        "https://repos.example.org/projects/ae163d6a/repo/$hashed$repo/$basearch"
    );
    assert_eq!(release.upstream.repositories, ["all", "BaseOS", "AppStream"]);
    assert_eq!(release.upstream.gpg_keys.0, ["https://keys.example.org/KEY-9"]);
    let files = release.upstream.extra_files.as_ref().unwrap();
    assert_eq!(
        (files.url.as_str(), &files.files[..]),
        ("https://git.example.org/release/-/raw/r9", &["SOURCES/EULA".to_owned()][..])
    );
    assert_eq!(release.iso["minimal"].repositories, ["BaseOS"]);
    assert!(release.iso["minimal"].disc && !release.iso["BaseOS"].disc);
    assert_eq!(release.closure["AppStream"], ["BaseOS"]);
    assert!(release.closure["devel"].is_empty() && !release.closure.contains_key("CRB"));
    let expected = [
        "6: 9.major: ",
        "9: 9.code: ",
        "18: 9.repo_symlinks: ",
        "27: 9.structure.packages: is left out: it is always so",
        "28: 9.structure.repodata: is left out: it is always os/repodata, not os/metadata",
        "30: 9.iso_map.iso_level: ",
        "34: 9.iso_map.images.minimal.isoskip: ",
        "35: 9.iso_map.images.minimal.repos: \"minimal\" is left out: the release has no such repository",
        "44: 9.repoclosure_map.arches: ",
        "50: 9.repoclosure_map.repos.CRB: is left out: the release has no such repository",
        "53: 9.extra_files.git_repo: ",
        "58: 9.surprise: is left out: cfs does not know it",
    ];
    for expected in expected {
        assert!(
            remarks.iter().any(|remark| remark.starts_with(expected)),
            "{expected} is not in {remarks:#?}"
        );
    }
}

#[test]
fn a_group_is_what_it_was() {
    let (config, remarks) = imported(GROUP);
    let old = &config.sigs["alt"]["8"];
    assert_eq!(old.directories, ["images"]);
    assert_eq!(old.upstream.repositories, ["alt-common", "alt-rpi"]);
    assert_eq!(old.upstream.repository["alt-rpi"].arches, ["aarch64", "x86_64"]);
    assert_eq!(old.upstream.gpg_keys.0, ["https://git.example.org/alt/-/raw/r8/SOURCES/KEY"]);
    let new = &config.sigs["alt"]["9"];
    assert_eq!((&new.arches[..], new.upstream.repository.len()), (&["aarch64".to_owned()][..], 0));
    for expected in
        ["13: alt.8.repo.alt-rpi.subproject: ", "23: alt.9.profile: ", "24: alt.9.project_id: is empty"]
    {
        assert!(
            remarks.iter().any(|remark| remark.starts_with(expected)),
            "{expected} is not in {remarks:#?}"
        );
    }
}

#[test]
fn what_makes_no_configuration_is_told_with_the_line_that_it_comes_from() {
    for (old, new, line, reason) in [
        ("- aarch64", "- arch64", 13, "the architecture \"arch64\", which is unknown; is \"aarch64\" meant?"),
        ("9.5'", "9.5/'", 4, "versions are such as"),
        ("    all: 'devel'", "    all: 'BaseOS'", 20, "in one place"),
        ("- 'BaseOS'\n    - 'AppStream'", "- 'BaseOS'\n    - 'BaseOS'", 22, "\"BaseOS\" twice"),
        ("- 'SOURCES/EULA'", "- '../EULA'", 56, "extra file"),
        ("KEY-9'", "KEY-9?x=y'", 11, "query"),
    ] {
        let error = import(&RELEASE.replace(old, new), &options()).unwrap_err();
        assert!(error.reason.contains(reason), "{new}: {error}");
        assert_eq!(error.line, line, "{new}: {error}");
    }
}

#[test]
fn levels_become_labels() {
    for (level, rc, label) in
        [("RC", Some(1), None), ("beta", None, Some("Beta-1.0")), ("LookAhead", None, None)]
    {
        let (config, remarks) = imported(&RELEASE.replace("RC2", level));
        let release = &config.releases["9"];
        assert_eq!(
            (release.rc, release.label.as_ref().map(ToString::to_string).as_deref()),
            (rc, label),
            "{level}"
        );
        assert_eq!(remarks.iter().any(|remark| remark.contains("9.rclvl")), level == "LookAhead");
    }
}

#[test]
fn what_is_no_such_file_is_refused_with_its_line() {
    for (text, line, reason) in [
        ("", 1, "a table"),
        ("- a\n", 1, "a table"),
        ("a: 1\n", 1, "neither"),
        ("'9':\n  a: [1,\n", 2, "unclosed"),
        ("'9':\n  a: 1\n  a: 2\n", 3, "duplicate"),
        ("'9':\n  revision: '9.5'\n", 1, "9 has no text `fullname`"),
        ("'9':\n  fullname: []\n  revision: '9.5'\n", 2, "fullname"),
        ("'9':\n  fullname: 'X 9'\n  revision: '9'\n  project_id: x\n", 1, "no list `all_repos`"),
        ("'9':\n  fullname: 'X 9'\n  revision: '9'\n  all_repos: {a: b}\n", 4, "texts in `all_repos`"),
        (
            "'9':\n  fullname: 'X 9'\n  revision: '9'\n  all_repos:\n    - a\n    - [b]\n",
            6,
            "texts in `all_repos`",
        ),
        ("'9':\n  fullname: 'X 9'\n  revision: '9'\n  all_repos: []\n", 4, "nothing in `all_repos`"),
        ("core:\n  '9':\n    project_id: x\n    repo: 1\n", 4, "no table `repo`"),
        ("core:\n  '9':\n    project_id: x\n    repo:\n", 2, "no `repositories`"),
        ("core:\n  '9':\n    project_id: x\n    repo: {a: 1}\n", 4, "no table `a`"),
    ] {
        let error = import(text, &options()).unwrap_err();
        assert!(error.reason.contains(reason), "{text}: {error}");
        assert_eq!(error.line, line, "{text}: {error}");
    }
}

#[test]
fn any_text_is_written_so_that_it_reads_the_same() {
    let text = "a \"b\" \\ \u{7f} \u{1} ü\t\n";
    let mut writer = Writer::default();
    writer.table(&["t", "a b"]);
    writer.map("m", &[(text.to_owned(), text.to_owned())]);
    let value: ::toml::Table = ::toml::from_str(writer.finished()).unwrap();
    assert_eq!(value["t"]["a b"]["m"][text].as_str(), Some(text));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), cut in 0..RELEASE.len(), other in any::<char>()) {
        let _ = import(&text, &options());
        let mut broken = RELEASE.to_owned();
        if broken.is_char_boundary(cut) {
            broken.insert(cut, other);
            if let Ok(imported) = import(&broken, &options()) {
                prop_assert!(crate::config::parse(&imported.text).is_ok());
            }
        }
    }
}
