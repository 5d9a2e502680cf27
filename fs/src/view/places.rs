//! The part of a mount that no snapshot holds: the directories and symlinks that are made of refs.
//!
//! ```text
//! compose/…          refs whose names begin with compose/
//! views/<ref>        all other refs; a name with slashes makes directories
//! current/<ref>      symlink to ../snapshots/<id>
//! snapshots/<id>     every snapshot, by its whole id
//! at/<ref>/<time>    the newest snapshot of a ref not later than <time>
//! generations/<ref>/<k>   what the ref was as its <k>th generation
//! ```
//!
//! Always true: a place has no state; what stands in it is asked of the [`Roots`] each time. Where a ref's
//! name is the beginning of another's, the ref is shown and what is below its name is not.

use std::collections::BTreeMap;

use super::roots::{Roots, Target};
use super::{ViewError, identity, stamp};
use crate::digest::SnapshotId;
use crate::name::{Name, TreePath};

/// Symbolic refs are followed this far; more is a circle.
const FOLLOW_MAX: usize = 8;
/// No ref moves so often.
const GENERATION_MAX: u64 = i64::MAX.cast_unsigned();

/// A directory that no snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The top of a mount that shows everything.
    Top,
    /// The top of a mount that shows one ref: the root of the snapshot that the ref names now.
    Followed(TreePath),
    /// Refs of an area, at `below` inside of it.
    Refs { area: Area, below: TreePath },
    /// The times of a ref.
    Times(TreePath),
    /// The generations of a ref.
    Generations(TreePath),
    /// Where a mount that shows one ref keeps what it showed before. No listing shows it.
    Former,
    /// All snapshots.
    Snapshots,
}

/// A directory at the top that is made of refs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Compose,
    Views,
    Current,
    At,
    Generations,
}

/// What stands at a name of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Child {
    Place(Place),
    /// The root of a snapshot, of no ref.
    Root(SnapshotId),
    /// The root of a generation of a ref.
    Generation(Generation),
    /// A symlink.
    Link {
        /// The number that programs see.
        number: u64,
        target: String,
    },
}

/// A ref at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Generation {
    pub(super) name: TreePath,
    pub(super) number: u64,
    pub(super) id: SnapshotId,
}

const AREAS: [Area; 5] = [Area::At, Area::Compose, Area::Current, Area::Generations, Area::Views];

/// The name of [`Place::Former`].
pub(super) const FORMER: &str = ".cfs-former";

impl Area {
    fn dir_name(self) -> &'static str {
        match self {
            Self::Compose => "compose",
            Self::Views => "views",
            Self::Current => "current",
            Self::At => "at",
            Self::Generations => "generations",
        }
    }

    /// The area's place for a ref, as the components that lead there, or `None` when it shows others.
    fn place_of(self, name: &TreePath) -> Option<Vec<&str>> {
        let components: Vec<&str> = name.components().collect();
        match (self, components.as_slice()) {
            (Self::Compose, ["compose", rest @ ..]) if !rest.is_empty() => Some(rest.to_vec()),
            (Self::Generations, _) => Some(components),
            (Self::Compose, _) | (_, ["compose", _, ..]) => None,
            _ => Some(components),
        }
    }

    /// The ref whose place is `below`; the reverse of [`Area::place_of`].
    fn ref_at(self, below: &TreePath) -> Option<TreePath> {
        let name = match self {
            Self::Compose => TreePath::new(self.dir_name()).ok()?.concat(below).ok()?,
            Self::Views | Self::Current | Self::At | Self::Generations => below.clone(),
        };
        if self.place_of(&name).is_some() { Some(name) } else { None }
    }
}

impl Place {
    /// Where it is in the mount, without a leading separator.
    fn path(&self) -> String {
        match self {
            Self::Top | Self::Followed(_) => String::new(),
            Self::Snapshots => "snapshots".to_owned(),
            Self::Times(name) => format!("at/{name}"),
            Self::Generations(name) => format!("generations/{name}"),
            Self::Former => FORMER.to_owned(),
            Self::Refs { area, below } if below.is_root() => area.dir_name().to_owned(),
            Self::Refs { area, below } => format!("{}/{below}", area.dir_name()),
        }
    }

    /// The place where the mount shows a ref, and the ref's name there.
    pub(super) fn showing(name: &TreePath) -> Option<(Self, Name)> {
        let area = if Area::Compose.place_of(name).is_some() { Area::Compose } else { Area::Views };
        let path = TreePath::new(area.place_of(name)?.join("/")).ok()?;
        let (below, last) = path.split_last()?;
        Some((Self::Refs { area, below }, last))
    }

    /// The number that programs see.
    pub(super) fn number(&self) -> u64 {
        identity::of_place(&self.path(), "")
    }

    /// The number of the directory above.
    pub(super) fn parent_number(&self) -> u64 {
        let path = self.path();
        identity::of_place(path.rsplit_once('/').map_or("", |(parent, _)| parent), "")
    }

    /// Whether its names stand for the same things as long as the mount lives.
    pub(super) fn is_fixed(&self) -> bool {
        *self == Self::Top
    }
}

/// What stands at `name` of `place`.
pub(super) fn child(roots: &dyn Roots, place: &Place, name: &Name) -> Result<Option<Child>, ViewError> {
    match place {
        Place::Top => Ok(top().into_iter().find_map(|(n, child)| (n == name.as_str()).then_some(child))),
        Place::Followed(_) => Ok(None),
        Place::Generations(of) => {
            let number =
                name.as_str().parse().ok().filter(|number: &u64| number.to_string() == name.as_str());
            number.map_or(Ok(None), |number| generation(roots, of, number))
        }
        Place::Refs { area, below } => {
            let Ok(path) = below.join(name) else { return Ok(None) };
            child_of_area(roots, *area, &path)
        }
        Place::Times(of) => {
            let Some(time) = stamp::seconds(name.as_str()) else { return Ok(None) };
            let Some(of) = follow(roots, of)? else { return Ok(None) };
            let found = roots.at(&of.name, time).map_err(|source| ViewError::roots(of.name, source))?;
            Ok(found.map(Child::Root))
        }
        Place::Snapshots | Place::Former => {
            let Ok(id) = name.as_str().parse::<SnapshotId>() else { return Ok(None) };
            let found = roots.snapshot(id).map_err(|source| ViewError::roots(id, source))?;
            Ok(found.map(|_| Child::Root(id)))
        }
    }
}

/// What a ref was as its `number`th generation; what it is now is a symlink to where that is shown.
fn generation(roots: &dyn Roots, of: &TreePath, number: u64) -> Result<Option<Child>, ViewError> {
    let failed = |source| ViewError::roots(of, source);
    let now = match roots.find(of).map_err(failed)? {
        Some(Target::Snapshot { generation, .. }) => generation,
        Some(Target::Symbolic(_)) => return Ok(None),
        // What a deleted ref was is told to who knows its name.
        None => GENERATION_MAX,
    };
    if number >= now {
        let here = format!("generations/{of}/{number}");
        let target = relative(&here, &shown_at(of));
        let link = Child::Link { number: identity::of_place(&here, &target), target };
        return Ok((number == now).then_some(link));
    }
    let id = roots.generation(of, number).map_err(failed)?;
    Ok(id.map(|id| Child::Generation(Generation { name: of.clone(), number, id })))
}

/// Everything in `place`, in the order of the names. Of the times of a ref nothing is listed, since every
/// second is one, and of its generations nothing, since who walks through the mount should not meet all of the
/// past.
pub(super) fn children(roots: &dyn Roots, place: &Place) -> Result<Vec<(String, Child)>, ViewError> {
    match place {
        Place::Top => Ok(top().into_iter().map(|(name, child)| (name.to_owned(), child)).collect()),
        Place::Followed(_) | Place::Times(_) | Place::Generations(_) | Place::Former => Ok(Vec::new()),
        Place::Snapshots => {
            let mut ids = roots.snapshots().map_err(|source| ViewError::roots("snapshots", source))?;
            ids.sort_unstable();
            Ok(ids.into_iter().map(|id| (id.to_string(), Child::Root(id))).collect())
        }
        Place::Refs { area, below } => children_of_area(roots, *area, below),
    }
}

fn top() -> Vec<(&'static str, Child)> {
    let area = |area: Area| (area.dir_name(), Child::Place(Place::Refs { area, below: TreePath::root() }));
    let mut places: Vec<_> = AREAS.into_iter().map(area).collect();
    places.push(("snapshots", Child::Place(Place::Snapshots)));
    places.sort_unstable_by_key(|(name, _)| *name);
    places
}

fn all_refs(roots: &dyn Roots) -> Result<Vec<(TreePath, Target)>, ViewError> {
    roots.refs().map_err(|source| ViewError::roots("refs", source))
}

fn child_of_area(roots: &dyn Roots, area: Area, path: &TreePath) -> Result<Option<Child>, ViewError> {
    if let Some(name) = area.ref_at(path) {
        let target = roots.find(&name).map_err(|source| ViewError::roots(&name, source))?;
        if let Some(target) = target {
            return ref_child(roots, area, path, &name, &target);
        }
    }
    let steps: Vec<&str> = path.components().collect();
    let is_above = |name: &TreePath| {
        area.place_of(name).is_some_and(|place| place.len() > steps.len() && place.starts_with(&steps))
    };
    if all_refs(roots)?.iter().any(|(name, _)| is_above(name)) {
        return Ok(Some(Child::Place(Place::Refs { area, below: path.clone() })));
    }
    // Of a deleted ref there is the past, for who is there.
    let Some(name) = area.ref_at(path).filter(|_| area == Area::Generations) else { return Ok(None) };
    let past = roots.past(&name, GENERATION_MAX, i64::MIN, 1);
    let past = past.map_err(|source| ViewError::roots(&name, source))?;
    Ok((!past.is_empty()).then_some(Child::Place(Place::Generations(name))))
}

fn children_of_area(
    roots: &dyn Roots,
    area: Area,
    below: &TreePath,
) -> Result<Vec<(String, Child)>, ViewError> {
    let steps: Vec<&str> = below.components().collect();
    let mut found: BTreeMap<String, Child> = BTreeMap::new();
    for (name, target) in all_refs(roots)? {
        let Some(place) = area.place_of(&name) else { continue };
        let Some(rest) = place.strip_prefix(steps.as_slice()) else { continue };
        let Some(first) = rest.first() else { continue };
        let Ok(path) = TreePath::new(place[..=steps.len()].join("/")) else { continue };
        if rest.len() == 1 {
            if let Some(child) = ref_child(roots, area, &path, &name, &target)? {
                found.insert((*first).to_owned(), child);
            }
        } else {
            let place = Child::Place(Place::Refs { area, below: path });
            found.entry((*first).to_owned()).or_insert(place);
        }
    }
    Ok(found.into_iter().collect())
}

/// How `area` shows the ref `name`, whose place there is `path`.
fn ref_child(
    roots: &dyn Roots,
    area: Area,
    path: &TreePath,
    name: &TreePath,
    target: &Target,
) -> Result<Option<Child>, ViewError> {
    let here = format!("{}/{path}", area.dir_name());
    let link = |there: &str| {
        let target = relative(&here, there);
        Child::Link { number: identity::of_place(&here, &target), target }
    };
    Ok(match (area, target) {
        (Area::Compose | Area::Views, Target::Snapshot { id, generation }) => {
            let (name, number, id) = (name.clone(), *generation, *id);
            Some(Child::Generation(Generation { name, number, id }))
        }
        (Area::Compose | Area::Views, Target::Symbolic(to)) => Some(link(&shown_at(to))),
        (Area::Current, _) => follow(roots, name)?.map(|found| link(&format!("snapshots/{}", found.id))),
        (Area::Generations, Target::Symbolic(_)) => None,
        (Area::Generations, _) => Some(Child::Place(Place::Generations(name.clone()))),
        (Area::At, _) => Some(Child::Place(Place::Times(name.clone()))),
    })
}

/// The generation that a ref names, through symbolic refs. `None` when one of them
/// does not exist or they go in a circle.
pub(super) fn follow(roots: &dyn Roots, name: &TreePath) -> Result<Option<Generation>, ViewError> {
    let mut name = name.clone();
    for _ in 0..FOLLOW_MAX {
        match roots.find(&name).map_err(|source| ViewError::roots(&name, source))? {
            None => return Ok(None),
            Some(Target::Snapshot { id, generation: number }) => {
                return Ok(Some(Generation { name, number, id }));
            }
            Some(Target::Symbolic(to)) => name = to,
        }
    }
    Ok(None)
}

/// Where the mount shows a ref as a directory.
pub(super) fn shown_at(name: &TreePath) -> String {
    if Area::Compose.place_of(name).is_some() { name.to_string() } else { format!("views/{name}") }
}

/// What a symlink at `here` must say to lead to `there`, both paths of the mount.
fn relative(here: &str, there: &str) -> String {
    let mut from: Vec<&str> = here.split('/').collect();
    from.pop();
    let to: Vec<&str> = there.split('/').collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count().min(to.len() - 1);
    let steps = std::iter::repeat_n("..", from.len() - shared).chain(to[shared..].iter().copied());
    steps.collect::<Vec<_>>().join("/")
}
