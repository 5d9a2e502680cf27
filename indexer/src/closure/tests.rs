use std::fmt::Write as _;

use cfs_fs::name::TreePath;
use proptest::prelude::*;

use super::rich::Formula;
use super::*;
use crate::checksum::{Algorithm, Hasher};
use crate::repodata::primary::{More, Package as Record};
use crate::repodata::relation::{Comparison, Evr, Relation};

/// A package as tests write it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    name: String,
    evr: String,
    arch: String,
    relations: Vec<(Kind, String)>,
}

fn made(title: &str, relations: &[(Kind, &str)]) -> Made {
    let (rest, arch) = title.split_once('.').unwrap_or((title, "x86_64"));
    let (name, evr) = rest.split_once('-').unwrap_or((rest, "1-1"));
    let relations = relations.iter().map(|(kind, text)| (*kind, (*text).to_owned())).collect();
    Made { name: name.to_owned(), evr: evr.to_owned(), arch: arch.to_owned(), relations }
}

fn parts(text: &str) -> (&str, Comparison, &str) {
    match text.split(' ').collect::<Vec<_>>()[..] {
        [name, sign, evr] if !text.starts_with('(') => (name, Comparison::of_sign(sign).unwrap(), evr),
        _ => (text, Comparison::ANY, ""),
    }
}

fn universe(repositories: &[(&str, &[Made])]) -> Universe {
    let mut universe = Universe::new();
    for (name, packages) in repositories {
        let number = universe.add_repository(name);
        for package in *packages {
            let mut collector = universe.collector();
            for (kind, text) in &package.relations {
                let (name, comparison, evr) = parts(text);
                if name.starts_with('/') && *kind == Kind::Provides {
                    collector.file(name);
                } else {
                    collector.relation(*kind, &Relation { name, comparison, evr: Evr::parse(evr) });
                }
            }
            let evr = Evr::parse(&package.evr);
            let mut hasher = Hasher::new(Algorithm::Sha256);
            std::io::Write::write_all(&mut hasher, format!("{package:?}").as_bytes()).unwrap();
            universe.add_package(
                number,
                &Record {
                    name: package.name.clone(),
                    arch: package.arch.clone(),
                    epoch: evr.epoch,
                    version: evr.version.to_owned(),
                    release: evr.release.to_owned(),
                    checksum: hasher.finish().checksum,
                    size_bytes: 1,
                    file_time: None,
                    build_time: None,
                    location: TreePath::new("a.rpm").unwrap(),
                },
            );
        }
    }
    universe.index();
    universe
}

fn question() -> Question {
    Question { machine: Some("x86_64".to_owned()), installable: true, ..Question::default() }
}

fn one(packages: &[Made], question: &Question) -> Vec<Problem> {
    let universe = universe(&[("r", packages)]);
    check(&universe, &Repositories { checked: vec![0], lookaside: vec![] }, question).unwrap().problems
}

/// What each requirement comes to: whether it is reported, whether its package cannot be installed although it is
/// not, and whether dnf reports it.
const TRUTHS: &[(&str, bool, bool, bool)] = &[
    ("ok", false, false, false),
    ("missing", true, false, true),
    ("ok > 1", true, false, true),
    ("ok = 1", false, false, false),
    ("ok < 1-5", false, false, false),
    ("ranged > 1-5", false, false, false),
    ("plain = 1", false, false, false),
    ("/usr/bin/there", false, false, false),
    ("/usr/bin/absent", true, false, true),
    ("rpmlib(Whatever) <= 1", false, false, false),
    ("(missing if absent)", false, false, true),
    ("(missing if present)", false, false, true),
    ("(ok if absent else missing)", true, false, false),
    ("(missing if present else ok)", false, false, false),
    ("(missing and ok)", true, false, false),
    ("(missing or ok)", false, false, false),
    ("(ok without other)", false, false, false),
    ("(missing or missing2)", true, false, true),
    ("(ok with plain)", false, false, false),
    ("(ok with present)", true, false, true),
    ("(plain without ok)", true, false, true),
    ("(ok unless present)", false, false, false),
    ("(missing unless present)", true, false, true),
    ("(missing unless present else ok)", false, false, false),
    ("(missing if target)", true, false, true),
    ("(ok unless target)", true, false, false),
    ("((missing if ok) and ok)", true, false, false),
    ("((missing if ok) if present)", false, false, true),
    ("((ok or missing) and (present if ok))", false, false, false),
    ("(ok with (plain or missing))", false, false, false),
    ("(ok >= 1 with ok < 2)", false, false, false),
    ("(ok >= 1 with ok < 1)", true, false, true),
    ("(fighter1 and fighter2)", false, true, false),
    ("fighter1and2", false, true, false),
    ("(fighter1and2 or ok)", false, false, false),
    ("old", false, true, false),
    ("(ok and", true, false, false),
];

fn cast() -> Vec<Made> {
    use Kind::{Conflicts, Obsoletes, Provides, Requires};
    vec![
        made("ok", &[(Provides, "plain"), (Provides, "/usr/bin/there"), (Provides, "ranged = 1")]),
        made("present", &[]),
        made("other", &[]),
        made("fighter1", &[(Conflicts, "fighter2")]),
        made("fighter2", &[]),
        made("fighter1and2", &[(Requires, "fighter1"), (Requires, "fighter2")]),
        made("old", &[(Requires, "new")]),
        made("new", &[(Obsoletes, "old < 2")]),
    ]
}

#[test]
fn the_truth_about_requirements() {
    for (text, unresolved, impossible, dnf) in TRUTHS {
        let mut packages = cast();
        packages.push(made("target", &[(Kind::Requires, text)]));
        let about = |problems: Vec<Problem>| problems.into_iter().find(|p| p.package == "target-1-1.x86_64");
        let found = about(one(&packages, &question()));
        let is_unresolved = found.as_ref().is_some_and(|problem| !problem.unresolved.is_empty());
        let is_impossible = found.as_ref().is_some_and(|problem| !problem.impossible.is_empty());
        assert_eq!((is_unresolved, is_impossible), (*unresolved, *impossible), "{text}: {found:?}");
        let compatible = Question { reading: Reading::Dnf, installable: false, ..question() };
        assert_eq!(about(one(&packages, &compatible)).is_some(), *dnf, "dnf: {text}");
    }
}

#[test]
fn an_explanation_leads_from_the_package_to_the_reason() {
    use Kind::{Conflicts, Requires};
    let packages = [
        made("app", &[(Requires, "lib"), (Requires, "tool")]),
        made("lib", &[(Requires, "thing"), (Requires, "(base = 1 or base = 3)")]),
        made("tool", &[(Requires, "plugin")]),
        made("plugin", &[(Requires, "base > 1")]),
        made("base-1-1", &[]),
        made("base-2-1", &[]),
        made("bystander", &[(Conflicts, "app"), (Conflicts, "tool")]),
        made("old", &[(Kind::Provides, "thing")]),
    ];
    let problems = one(&packages, &question());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].package, "app-1-1.x86_64");
    assert_eq!(
        problems[0].impossible,
        [
            "app-1-1.x86_64 requires lib: lib-1-1.x86_64",
            "app-1-1.x86_64 requires tool: tool-1-1.x86_64",
            "lib-1-1.x86_64 requires (base = 1 or base = 3): base-1-1.x86_64",
            "tool-1-1.x86_64 requires plugin: plugin-1-1.x86_64",
            "plugin-1-1.x86_64 requires base > 1: base-2-1.x86_64",
            "base-1-1.x86_64 and base-2-1.x86_64 cannot be installed together",
        ]
    );
}

#[test]
fn lookasides_machines_sources_and_weak_dependencies() {
    use Kind::{Provides, Recommends, Requires};
    let app = [
        made("app", &[(Requires, "lib"), (Recommends, "nice")]),
        made("app.i686", &[(Requires, "lib32"), (Requires, "lib64")]),
        made("app-2-1", &[]),
        made("strange.aarch64", &[(Requires, "nothing")]),
        made("app.src", &[(Requires, "builder")]),
    ];
    let base = [
        made("lib", &[(Provides, "lib64")]),
        made("lib.i686", &[(Provides, "lib32")]),
        made("broken", &[(Requires, "nothing")]),
    ];
    let universe = universe(&[("app", &app), ("base", &base)]);
    let both = Repositories { checked: vec![0], lookaside: vec![1] };
    let names = |repositories: &Repositories, question: &Question| -> Vec<String> {
        let report = check(&universe, repositories, question).unwrap();
        report.problems.into_iter().map(|problem| problem.package).collect()
    };
    assert!(names(&both, &question()).is_empty());
    let alone = Repositories { checked: vec![0], lookaside: vec![] };
    assert_eq!(names(&alone, &question()), ["app-1-1.i686", "app-1-1.x86_64"]);
    assert_eq!(names(&alone, &Question { newest: true, ..question() }), ["app-1-1.i686"]);
    assert_eq!(names(&both, &Question { weak: true, ..question() }), ["app-1-1.x86_64"]);
    assert_eq!(names(&both, &Question { sources: true, ..question() }), ["app-1-1.src"]);
    assert_eq!(machines(&universe, &[0, 1]), ["aarch64", "x86_64"]);
    let arm = Question { machine: Some("aarch64".to_owned()), ..question() };
    assert_eq!(names(&both, &arm), ["strange-1-1.aarch64"]);
    let some = |pattern: &str| Question { packages: vec![pattern.to_owned()], ..question() };
    assert_eq!(names(&alone, &some("app-1*.i686")), ["app-1-1.i686"]);
    assert_eq!(check(&universe, &alone, &some("lib")), Err(NoSuchPackage("lib".to_owned())));
}

/// Random universes: few names, few versions, everything about everything.
fn packages(max: usize) -> impl Strategy<Value = Vec<Made>> {
    let package = (0..5_u8, 1..3_u8, 0..8_u8, prop::collection::vec(relation(), 0..4));
    prop::collection::vec(package, 1..=max).prop_map(|packages| {
        let title = |(name, version, arch, relations): (u8, u8, u8, Vec<(Kind, String)>)| {
            let arch = ["x86_64", "noarch", "i686"][usize::from(arch.saturating_sub(5))];
            let mut made = made(&format!("n{name}-{version}-1.{arch}"), &[]);
            made.relations = relations;
            made
        };
        let mut packages: Vec<Made> = packages.into_iter().map(title).collect();
        packages.sort_by(|a, b| (&a.name, &a.evr, &a.arch).cmp(&(&b.name, &b.evr, &b.arch)));
        packages.dedup_by(|a, b| (&a.name, &a.evr, &a.arch) == (&b.name, &b.evr, &b.arch));
        packages
    })
}

fn atom() -> impl Strategy<Value = String> {
    (0..7_u8, prop::option::weighted(0.3, (0..5_usize, 1..3_u8))).prop_map(|(name, version)| {
        let sign = ["=", "<", "<=", ">", ">="];
        let versioned = version.map_or(String::new(), |(at, version)| format!(" {} {version}", sign[at]));
        if name < 6 { format!("n{name}{versioned}") } else { format!("v{versioned}") }
    })
}

fn formula() -> impl Strategy<Value = String> {
    let set = prop_oneof![
        4 => atom(),
        1 => (atom(), atom()).prop_map(|(a, b)| format!("({a} with {b})")),
        1 => (atom(), atom()).prop_map(|(a, b)| format!("({a} without {b})")),
    ];
    set.prop_recursive(2, 8, 3, |inner| {
        let third = prop::option::of(inner.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" or "))),
            (inner.clone(), inner.clone(), third, any::<bool>()).prop_map(|(a, b, c, positive)| {
                let word = if positive { "if" } else { "unless" };
                let mut text = format!("({a} {word} {b}");
                if let Some(c) = c {
                    let _ = write!(text, " else {c}");
                }
                text + ")"
            }),
        ]
    })
}

fn relation() -> impl Strategy<Value = (Kind, String)> {
    let provided = (0..7_u8, prop::option::of(1..3_u8)).prop_map(|(name, version)| {
        let name = if name < 6 { format!("n{name}") } else { "v".to_owned() };
        version.map_or(name.clone(), |version| format!("{name} = {version}"))
    });
    prop_oneof![
        4 => formula().prop_map(|text| (Kind::Requires, text)),
        2 => provided.prop_map(|text| (Kind::Provides, text)),
        1 => formula().prop_map(|text| (Kind::Conflicts, text)),
        1 => atom().prop_map(|text| (Kind::Obsoletes, text)),
    ]
}

/// The rules once more, as plainly as they can be said: whether a set of packages may be installed.
struct Rules<'a> {
    packages: &'a [Made],
}

impl Rules<'_> {
    fn gives(&self, at: usize, asked: &str) -> bool {
        let package = &self.packages[at];
        let (name, comparison, evr) = parts(asked);
        let meets = |given: &str, has: (Comparison, &str)| {
            given == name && Relation::is_met_by((comparison, &Evr::parse(evr)), (has.0, &Evr::parse(has.1)))
        };
        let provides = package.relations.iter().filter(|(kind, _)| *kind == Kind::Provides);
        meets(&package.name, (Comparison::EQUAL, &package.evr))
            || provides
                .map(|(_, text)| parts(text))
                .any(|(name, comparison, evr)| meets(name, (comparison, evr)))
    }

    /// The packages that a formula is about, where it is about a set of packages.
    fn set(&self, formula: &Formula) -> u32 {
        match formula {
            Formula::With(a, b) => self.set(a) & self.set(b),
            Formula::Without(a, b) => self.set(a) & !self.set(b),
            Formula::Atom(atom) => {
                let text = match atom.evr.as_str() {
                    "" => atom.name.clone(),
                    evr => format!("{} {} {evr}", atom.name, atom.comparison),
                };
                (0..self.packages.len()).filter(|at| self.gives(*at, &text)).map(|at| 1 << at).sum()
            }
            _ => unreachable!("tests make no other sets"),
        }
    }

    fn is_true(&self, formula: &Formula, installed: u32) -> bool {
        let is_true = |formula: &Formula| self.is_true(formula, installed);
        match formula {
            Formula::Atom(_) | Formula::With(..) | Formula::Without(..) => self.set(formula) & installed != 0,
            Formula::And(all) => all.iter().all(is_true),
            Formula::Or(any) => any.iter().any(is_true),
            Formula::If(a, b, _) if is_true(b) => is_true(a),
            Formula::If(_, _, c) => c.as_ref().is_none_or(|c| is_true(c)),
            Formula::Unless(a, b, _) if !is_true(b) => is_true(a),
            Formula::Unless(_, _, c) => c.as_ref().is_some_and(|c| is_true(c)),
        }
    }

    fn holds(&self, text: &str, installed: u32) -> bool {
        match rich::parse(text) {
            Some(formula) => self.is_true(&formula, installed),
            None => (0..self.packages.len()).any(|at| installed >> at & 1 == 1 && self.gives(at, text)),
        }
    }

    fn may_be_installed(&self, installed: u32) -> bool {
        let members = (0..self.packages.len()).filter(|at| installed >> at & 1 == 1);
        members.clone().all(|at| {
            let package = &self.packages[at];
            let relations_hold = package.relations.iter().all(|(kind, text)| match kind {
                Kind::Requires => self.holds(text, installed),
                Kind::Conflicts if text.starts_with('(') => !self.holds(text, installed),
                Kind::Conflicts => !self.holds(text, installed & !(1 << at)),
                Kind::Obsoletes => !members.clone().any(|other| {
                    let (name, comparison, evr) = parts(text);
                    let has = Evr::parse(&self.packages[other].evr);
                    let asked = (comparison, &Evr::parse(evr));
                    other != at
                        && self.packages[other].name == name
                        && Relation::is_met_by(asked, (Comparison::EQUAL, &has))
                }),
                _ => true,
            });
            let alone = !members.clone().any(|other| {
                let other_package = &self.packages[other];
                other != at
                    && other_package.name == package.name
                    && arch::exclude(&other_package.arch, &package.arch)
            });
            relations_hold && alone
        })
    }

    fn can_be_installed(&self, at: usize) -> bool {
        let sets = 0..1_u32 << self.packages.len();
        sets.into_iter().any(|installed| installed >> at & 1 == 1 && self.may_be_installed(installed))
    }
}

/// Without rich conflicts that are about the package itself: what they come to, resolvers alone know.
fn without_rich_conflicts_with_oneself(packages: &[Made]) -> Vec<Made> {
    let rules = Rules { packages };
    let is_fine = |at: usize, (kind, text): &(Kind, String)| {
        let mut own = false;
        if let (Kind::Conflicts, Some(formula)) = (kind, rich::parse(text)) {
            formula.atoms(&mut |atom| own |= rules.gives(at, &atom.name));
        }
        !own
    };
    let mut fine = packages.to_vec();
    for (at, package) in fine.iter_mut().enumerate() {
        package.relations.retain(|relation| is_fine(at, relation));
    }
    fine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_can_be_installed_is_what_trying_every_set_says(packages in packages(7)) {
        let packages = without_rich_conflicts_with_oneself(&packages);
        let rules = Rules { packages: &packages };
        let problems = one(&packages, &question());
        for (at, package) in packages.iter().enumerate() {
            let title = format!("{}-{}.{}", package.name, package.evr, package.arch);
            let problem = problems.iter().find(|problem| problem.package == title);
            prop_assert_eq!(problem.is_none(), rules.can_be_installed(at), "{} {:?}", title, problem);
        }
    }

    #[test]
    fn a_requirement_is_unresolved_when_no_set_of_packages_meets_it(packages in packages(7)) {
        let rules = Rules { packages: &packages };
        let problems = one(&packages, &Question { installable: false, ..question() });
        for (at, package) in packages.iter().enumerate() {
            let title = format!("{}-{}.{}", package.name, package.evr, package.arch);
            let problem = problems.iter().find(|problem| problem.package == title);
            for (_, text) in package.relations.iter().filter(|(kind, _)| *kind == Kind::Requires) {
                let said = problem.is_some_and(|p| p.unresolved.iter().any(|one| one.text == *text));
                let mut sets = 0..1_u32 << packages.len();
                let can = sets.any(|installed| installed >> at & 1 == 1 && rules.holds(text, installed));
                prop_assert_eq!(said, !can, "{} {}", title, text);
            }
        }
    }

    #[test]
    fn what_was_read_once_is_read_back_whole_or_not_at_all(
        packages in packages(7), others in packages(4), cut in 0.0..1.0_f64, flip in any::<(prop::sample::Index, u8)>(),
    ) {
        let wrote = universe(&[("l", &others), ("r", &packages)]);
        let mut bytes = Vec::new();
        extract::Extract::of(&wrote, others.len()).write(&mut bytes).unwrap();
        // Its texts have other numbers here.
        let mut read = universe(&[("x", &packages[packages.len() / 2..])]);
        let first = read.len();
        let number = read.add_repository("r");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "any place will do")]
        let short = (bytes.len() as f64 * cut) as usize;
        prop_assert!(extract::decode(&bytes[..short], &mut read, number).is_none());
        prop_assert_eq!(read.len(), first);
        let mut damaged = bytes.clone();
        damaged[flip.0.index(bytes.len())] ^= flip.1;
        // It may say something else then, and nothing worse.
        let _ = extract::decode(&damaged, &mut universe(&[("x", &[])]), 0);

        prop_assert!(extract::decode(&bytes, &mut read, number).is_some());
        let all = |universe: &Universe, first: usize| -> Vec<_> {
            let of = |id: PackageId| {
                let said = universe.relations(id).map(|at| (universe.said(at).kind, universe.text(at)));
                let package = universe.package(id);
                (universe.nevra(id), package.id, universe.repository(id).to_owned(), said.collect::<Vec<_>>())
            };
            universe.packages().skip(first).map(of).collect()
        };
        prop_assert_eq!(all(&read, first), all(&wrote, others.len()));
    }

    #[test]
    fn what_is_new_is_found_without_looking_at_the_rest(
        old in (packages(7), packages(4)),
        take in prop::collection::vec(any::<bool>(), 11),
        more in packages(3),
        newest in any::<bool>(),
        installable in any::<bool>(),
    ) {
        // The new state keeps some of the old packages of both repositories, and has others.
        let keep = |packages: &[Made], at: usize| -> Vec<Made> {
            let kept = packages.iter().zip(&take[at..]).filter(|(_, take)| **take);
            kept.map(|(package, _)| package.clone()).collect()
        };
        let mut new = (keep(&old.0, 0), keep(&old.1, 7));
        let title = |package: &Made| (package.name.clone(), package.evr.clone(), package.arch.clone());
        new.0.extend(more.into_iter().filter(|one| !old.0.iter().any(|other| title(other) == title(one))));
        let universe = universe(&[("r", &old.0), ("l", &old.1), ("r", &new.0), ("l", &new.1)]);
        let before = Repositories { checked: vec![0], lookaside: vec![1] };
        let after = Repositories { checked: vec![2], lookaside: vec![3] };
        let question = Question { newest, installable, ..question() };
        let known = check(&universe, &before, &question).unwrap().problems;
        let all = check(&universe, &after, &question).unwrap();
        let found = check_since(&universe, &before, &after, &question).unwrap();
        // Of several explanations, either will do.
        let without_reasons = |problems: Vec<Problem>| -> Vec<(Problem, bool)> {
            let split = |problem: Problem| {
                let impossible = !problem.impossible.is_empty();
                (Problem { impossible: Vec::new(), ..problem }, impossible)
            };
            problems.into_iter().map(split).collect()
        };
        let expected = new_problems(all.problems, &known);
        prop_assert_eq!(without_reasons(found.problems), without_reasons(expected));
        prop_assert!(found.checked <= all.checked);
    }
}
