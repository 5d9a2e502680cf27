//! Which lists a directory of a view has.

use std::collections::BTreeSet;

use cfs_fs::name::{Name, TreePath};
use serde::Deserialize;

/// The lists of one directory.
///
/// ```toml
/// [[view.production.lists]]
/// directory = "mirror/pub/rocky"
/// name = "rocky"
/// aliases = ["fullfiletimelist", "fullfiletimelist-rocky-linux"]
/// previous = "fullfiletimelist-rocky-old"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Lists {
    /// The directory, in the view.
    pub directory: TreePath,
    /// `fullfiletimelist-<name>`: the list with times.
    pub timelist: Name,
    /// `fullfilelist`: the list of paths.
    pub filelist: Name,
    /// `imagelist-<name>`: the list of images.
    pub imagelist: Name,
    /// More names of the timelist.
    pub aliases: Vec<Name>,
    /// The name of the timelist before.
    pub previous: Option<Name>,
}

/// Why a directory cannot have such lists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {reason}")]
pub struct ListsError {
    /// The offending name.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// As it stands in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    directory: String,
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    previous: Option<String>,
}

impl TryFrom<Written> for Lists {
    type Error = ListsError;

    fn try_from(written: Written) -> Result<Self, ListsError> {
        let directory = written.directory.parse();
        let spec = Self {
            directory: directory.map_err(|error| refuse(&written.directory, &error))?,
            timelist: name(&format!("fullfiletimelist-{}", written.name))?,
            filelist: name("fullfilelist")?,
            imagelist: name(&format!("imagelist-{}", written.name))?,
            aliases: written.aliases.iter().map(|alias| name(alias)).collect::<Result<_, _>>()?,
            previous: written.previous.as_deref().map(name).transpose()?,
        };
        if spec.own_names().len() != 3 + spec.aliases.len() + usize::from(spec.previous.is_some()) {
            return Err(refuse(&written.directory, &"two of its lists have one name"));
        }
        Ok(spec)
    }
}

fn refuse(text: &str, reason: &impl ToString) -> ListsError {
    ListsError { text: text.to_owned(), reason: reason.to_string() }
}

fn name(text: &str) -> Result<Name, ListsError> {
    if text.contains(char::is_whitespace) {
        return Err(refuse(text, &"no list can have white space in its name"));
    }
    Name::new(text).map_err(|error| refuse(text, &error.reason))
}

impl Lists {
    /// All names that the lists have in their directory; no list shows any of them there.
    pub fn own_names(&self) -> BTreeSet<Name> {
        let own = [&self.timelist, &self.filelist, &self.imagelist].into_iter();
        own.chain(&self.aliases).chain(&self.previous).cloned().collect()
    }
}
