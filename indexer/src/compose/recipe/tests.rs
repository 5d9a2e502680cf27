//! What a release's configuration comes to.

use super::*;
use crate::config;

const CONFIG: &str = r#"
    [release.9]
    name = "Rocky Linux"
    short = "Rocky"
    version = "9.7"
    arches = ["x86_64", "aarch64"]
    renames = { all = "devel" }
    multilib = ["all"]

    [release.9.upstream]
    url = "https://host/repo/$hashed$repo/$basearch"
    repositories = ["all", "BaseOS", "plus"]

    [release.9.upstream.repository.plus]
    url = "https://other/$version/$major/$repo/$basearch/os"
    arches = ["x86_64"]
    sources = false

    [sig.core.9]
    directories = ["images"]

    [sig.core.9.upstream]
    url = "https://host/core/$repo/$basearch"
    repositories = ["core-common"]
"#;

fn listing(recipe: &Recipe) -> Vec<String> {
    recipe.trees.iter().map(|tree| format!("{} {}", tree.path, tree.address)).collect()
}

#[test]
fn a_release_has_the_trees_of_its_repositories() {
    let config = config::parse(CONFIG).unwrap();
    let recipe = Recipe::of_release(&config, "9", &Selection::default()).unwrap();
    assert_eq!(recipe.latest.as_str(), "compose/9/latest-Rocky-9");
    let all = listing(&recipe);
    for line in [
        "compose/devel/x86_64/os https://host/repo/all/x86_64",
        "compose/devel/i686/debug/tree https://host/repo/all/i686-debug",
        "compose/BaseOS/aarch64/os https://host/repo/BaseOS/aarch64",
        "compose/BaseOS/source/tree https://host/repo/BaseOS/src",
        "compose/plus/x86_64/debug/tree https://other/9.7/9/plus/x86_64/os-debug",
    ] {
        assert!(all.contains(&line.to_owned()), "{line} is not in {all:#?}");
    }
    // devel: 3 architectures, twice, and sources; BaseOS: 2, twice, and sources; plus: 1, twice.
    assert_eq!(all.len(), 7 + 5 + 2);
    let kickstarts = recipe.trees.iter().filter_map(|tree| tree.kickstart.as_ref());
    assert_eq!(kickstarts.count(), 6);
}

#[test]
fn a_selection_leaves_out_what_was_not_asked_for() {
    let config = config::parse(CONFIG).unwrap();
    let selection = Selection {
        repositories: vec!["all".into()],
        arches: vec!["x86_64".into()],
        ignore_debug: true,
        hashed: true,
        ..Selection::default()
    };
    let recipe = Recipe::of_release(&config, "9", &selection).unwrap();
    let expected = [
        "compose/devel/x86_64/os https://host/repo/hashed-all/x86_64",
        "compose/devel/source/tree https://host/repo/hashed-all/src",
    ];
    assert_eq!(listing(&recipe), expected);
    assert_eq!(recipe.all_trees.len(), 14);

    let wrong = Selection { arches: vec!["sparc".into()], ..Selection::default() };
    let error = Recipe::of_release(&config, "9", &wrong).unwrap_err().to_string();
    assert_eq!(error, "no architecture is called \"sparc\"; there are aarch64, i686, src, x86_64");
    let error = Recipe::of_release(&config, "8", &wrong).unwrap_err().to_string();
    assert_eq!(error, "no release is called \"8\"; there is 9");
}

#[test]
fn a_group_has_a_layout_of_its_own() {
    let config = config::parse(CONFIG).unwrap();
    let recipe = Recipe::of_sig(&config, "9", "core", &Selection::default()).unwrap();
    assert_eq!(recipe.latest.as_str(), "compose/9/latest-SIG-core-9");
    let all = listing(&recipe);
    assert!(all[0].starts_with("compose/9/core/x86_64/core-common https://host/core/core-common/x86_64"));
    assert!(all[1].starts_with("compose/9/core/x86_64/core-common-debug "), "{all:#?}");
    assert!(all[4].starts_with("compose/9/core/source/core-common "), "{all:#?}");
    assert_eq!(recipe.directories[0].as_str(), "compose/9/core/images");
    let error = Recipe::of_sig(&config, "9", "cloud", &Selection::default()).unwrap_err().to_string();
    assert_eq!(error, "no group is called \"cloud\"; there is core");
}

#[test]
fn groups_of_packages_are_those_of_each_architecture_under_either_name() {
    let more = "\n[release.9.comps]\ndevel = \"comps-$repo-$version.$basearch.xml\"\n\
                [sig.core.9.comps]\ncore-common = \"https://host/$major/comps.xml\"\n";
    let config = config::parse(&format!("{CONFIG}{more}")).unwrap();
    let comps = |recipe: &Recipe| -> Vec<String> {
        let of_tree = |tree: &Tree| Some(format!("{} {}", tree.path, tree.comps.as_ref()?));
        recipe.trees.iter().filter_map(of_tree).collect()
    };
    let release = Recipe::of_release(&config, "9", &Selection::default()).unwrap();
    let expected = [
        "compose/devel/x86_64/os comps-all-9.7.x86_64.xml",
        "compose/devel/aarch64/os comps-all-9.7.aarch64.xml",
        "compose/devel/i686/os comps-all-9.7.i686.xml",
    ];
    assert_eq!(comps(&release), expected);
    let sig = Recipe::of_sig(&config, "9", "core", &Selection::default()).unwrap();
    assert_eq!(comps(&sig)[0], "compose/9/core/x86_64/core-common https://host/9/comps.xml");

    let error =
        config::parse(&format!("{CONFIG}\n[sig.core.9.comps]\nothers = \"comps.xml\"\n")).unwrap_err();
    assert!(error.message.contains("something of the repository \"others\""), "{error:?}");
}

#[test]
fn no_two_repositories_get_one_place() {
    let clash = |change: &dyn Fn(&mut Config)| {
        let mut config = config::parse(CONFIG).unwrap();
        change(&mut config);
        let of_release = Recipe::of_release(&config, "9", &Selection::default());
        of_release
            .and_then(|_| Recipe::of_sig(&config, "9", "core", &Selection::default()))
            .unwrap_err()
            .to_string()
    };
    let release = |config: &mut Config| config.releases.get_mut("9").unwrap().clone();
    let error = clash(&|config| {
        let mut changed = release(config);
        changed.renames.insert("all".into(), "BaseOS".into());
        config.releases.insert("9".into(), changed);
    });
    assert_eq!(
        error,
        "compose/BaseOS/aarch64/debug/tree would be the place of two repositories, BaseOS and all"
    );
    let error = clash(&|config| {
        let mut changed = release(config);
        changed.upstream.repositories.push("plus".into());
        config.releases.insert("9".into(), changed);
    });
    assert!(error.ends_with("of two repositories, plus and plus"), "{error}");
    let error = clash(&|config| {
        let sig = config.sigs.get_mut("core").unwrap().get_mut("9").unwrap();
        sig.upstream.repositories.push("core-common-debug".into());
    });
    assert_eq!(
        error,
        "compose/9/core/aarch64/core-common-debug would be the place of two repositories, core-common and \
         core-common-debug"
    );
}
