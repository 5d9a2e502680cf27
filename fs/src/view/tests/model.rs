//! The view against a model: trees in maps, flips, and what was removed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

impl Kernel {
    /// The content of a file or symlink, as trees are written here.
    fn text(&self, found: Found) -> String {
        if found.attributes.kind == FileKind::Symlink {
            return format!("->{}", self.read_link(found.inode).unwrap());
        }
        let handle = self.open_file(found.inode).unwrap();
        let content = self.content(handle);
        self.close_file(handle);
        content
    }
}

/// What a program may hold while refs move.
enum Held {
    Dir(Inode, Files),
    OpenDir(u64, Vec<String>),
    File(u64, String),
}

#[derive(Debug, Clone)]
enum Step {
    Flip { name: usize, tree: usize },
    HoldDir { name: usize, dir: usize },
    HoldOpenDir { name: usize },
    HoldFile { name: usize, file: usize },
    Forget,
}

fn any_tree() -> impl Strategy<Value = Files> {
    // Few names and contents, so that trees share much and differ in a little.
    let path = prop_oneof!["[ab]/[ab]/[a-d]", "[cd]/[a-d]", "[ef]"];
    proptest::collection::btree_map(path, "[xyz]{1,2}|->[ab]", 1..12)
}

fn any_step() -> impl Strategy<Value = Step> {
    let index = || 0..100_usize;
    prop_oneof![
        3 => (index(), index()).prop_map(|(name, tree)| Step::Flip { name, tree }),
        2 => (index(), index()).prop_map(|(name, dir)| Step::HoldDir { name, dir }),
        1 => index().prop_map(|name| Step::HoldOpenDir { name }),
        2 => (index(), index()).prop_map(|(name, file)| Step::HoldFile { name, file }),
        1 => Just(Step::Forget),
    ]
}

fn held_dirs(held: &[Held]) -> Vec<Inode> {
    let dir = |held: &Held| match held {
        Held::Dir(inode, _) => Some(*inode),
        Held::OpenDir(..) | Held::File(..) => None,
    };
    held.iter().filter_map(dir).collect()
}

/// The part of a tree below `dir`.
fn part(files: &Files, dir: &str) -> Files {
    let prefix = format!("{dir}/");
    let below = files.iter().filter_map(|(at, content)| Some((at.strip_prefix(&prefix)?, content)));
    below.map(|(at, content)| (at.to_owned(), content.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whoever holds something goes on in the snapshot it was taken from; whoever comes by name sees the
    /// newest one, whole.
    #[test]
    fn nobody_sees_two_snapshots_mixed(
        trees in proptest::collection::vec(any_tree(), 2..5),
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        const NAMES: [&str; 2] = ["staging", "sig/core"];
        let world = World::new();
        let grace = Grace { seconds: 1000, generations: 100 };
        let view = world.view(Options { grace, ..Options::default() });
        let mut now = [0; 2].map(|tree: usize| trees[tree].clone());
        for (name, files) in NAMES.into_iter().zip(&now) {
            world.flip(name, files);
        }
        let mut held = Vec::new();
        // All generations of each name, the newest last.
        let mut past = now.clone().map(|files| vec![files]);
        for step in steps {
            match step {
                Step::Flip { name, tree } => {
                    now[name % 2] = trees[tree % trees.len()].clone();
                    world.flip(NAMES[name % 2], &now[name % 2]);
                    past[name % 2].push(now[name % 2].clone());
                    view.follow();
                }
                Step::HoldDir { name, dir } => {
                    let files = &now[name % 2];
                    let dirs: Vec<&str> =
                        files.keys().filter_map(|at| at.rsplit_once('/')).map(|(dir, _)| dir).collect();
                    let (at, files) = match dirs.get(dir % dirs.len().max(1)) {
                        Some(dir) => (format!("views/{}/{dir}", NAMES[name % 2]), part(files, dir)),
                        None => (format!("views/{}", NAMES[name % 2]), files.clone()),
                    };
                    held.push(Held::Dir(view.top(&at).unwrap().inode, files));
                }
                Step::HoldOpenDir { name } => {
                    let dir = view.top(&format!("views/{}", NAMES[name % 2])).unwrap().inode;
                    let names = now[name % 2].keys().map(|at| at.split('/').next().unwrap().to_owned());
                    let names: BTreeSet<String> = names.collect();
                    held.push(Held::OpenDir(view.open_dir(dir).unwrap().0, names.into_iter().collect()));
                }
                Step::HoldFile { name, file } => {
                    let plain = now[name % 2].iter().filter(|(_, content)| !content.starts_with("->"));
                    if let Some((at, content)) = plain.clone().cycle().nth(file % plain.count().max(1)) {
                        let found = view.top(&format!("views/{}/{at}", NAMES[name % 2])).unwrap();
                        held.push(Held::File(view.open_file(found.inode).unwrap(), content.clone()));
                    }
                }
                Step::Forget => view.forget_all(&held_dirs(&held)),
            }
            for (name, files) in NAMES.into_iter().zip(&now) {
                prop_assert_eq!(&view.walk(view.top(&format!("views/{name}")).unwrap().inode), files);
            }
            for (name, past) in NAMES.into_iter().zip(&past) {
                let paths: BTreeSet<&String> = past.iter().flat_map(BTreeMap::keys).collect();
                for at in paths {
                    let newest = past.iter().rev().find_map(|files| files.get(at));
                    let is_ghost = !past[past.len() - 1].contains_key(at);
                    let found = view.top(&format!("views/{name}/{at}")).unwrap();
                    prop_assert_eq!(Some(&view.text(found)), newest, "{}", at);
                    let is_marked = view.labels(found.inode).unwrap().iter().any(|(name, _)| name == "user.cfs.ghost");
                    let has_labels = found.attributes.kind == FileKind::File;
                    prop_assert_eq!(is_marked, is_ghost && has_labels, "{}", at);
                }
                let never = format!("views/{name}/a/never");
                prop_assert!(view.top(&never).is_none());
            }
            for held in &held {
                match held {
                    Held::Dir(inode, files) => prop_assert_eq!(&view.walk(*inode), files),
                    Held::File(handle, content) => prop_assert_eq!(&view.content(*handle), content),
                    Held::OpenDir(handle, names) => {
                        let lines: Vec<String> =
                            view.lines(*handle, true).into_iter().skip(2).map(|(name, ..)| name).collect();
                        prop_assert_eq!(&lines, names);
                    }
                }
            }
        }
        view.forget_all(&[]);
        prop_assert_eq!(view.held_inodes(), 0);
    }
}
