//! Who asks: the user of this process, or the one whom a keeper works for; and what belongs to whom.
//!
//! Always true: who asks is told by the kernel, never by the environment. A user who may write to the store's files can
//! do anything to them, so what is checked here binds users who may not: for them a keeper works (see
//! `commands::keeper`), and checks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use cfs_indexer::config::WhoMay;

/// A user with the groups that he is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    uid: u32,
    /// The numbers of the groups that the kernel tells.
    gids: Vec<u32>,
    /// Whether this process works for somebody else.
    is_other: bool,
}

impl Caller {
    /// The user of this process. (`sudo` and the like change that; who was before is nobody's proof.)
    pub fn of_process() -> Self {
        let mut gids: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        gids.push(rustix::process::getgid().as_raw());
        Self { uid: rustix::process::getuid().as_raw(), gids, is_other: false }
    }

    /// The user at the other end of a keeper's socket.
    pub fn of_peer(uid: u32, gid: u32) -> Self {
        Self { uid, gids: vec![gid], is_other: true }
    }

    /// As [`Caller::of_peer`], from what [`Caller::to_text`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        let (uid, gid) = text.split_once(':')?;
        Some(Self::of_peer(uid.parse().ok()?, gid.parse().ok()?))
    }

    /// The user and his first group, as numbers.
    pub fn to_text(&self) -> String {
        format!("{}:{}", self.uid, self.gids.first().copied().unwrap_or(self.uid))
    }

    /// The user's name, or his number where he has none.
    pub fn name(&self) -> String {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let uid = self.uid.to_string();
        let found = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
        });
        found.or_else(|| self.ask_id("-un").into_iter().next()).unwrap_or(uid)
    }

    /// Whether he is one of the users, or in one of the groups. Names are only looked up when numbers do not tell.
    pub fn is_one_of(&self, who: &WhoMay) -> bool {
        if who.users.contains(&self.uid.to_string()) {
            return true;
        }
        if self.gids.iter().any(|gid| who.groups.contains(&gid.to_string())) {
            return true;
        }
        if !who.users.is_empty() && who.users.contains(&self.name()) {
            return true;
        }
        if who.groups.is_empty() {
            return false;
        }
        // What the kernel tells of another process is its first group; the others are those that it has by name.
        let numbers = if self.is_other { self.ask_id("-G") } else { Vec::new() };
        let names = self.ask_id("-Gn");
        numbers.iter().chain(&names).any(|group| who.groups.contains(group))
    }

    /// What `id` says; it asks the directories that the host uses.
    fn ask_id(&self, flags: &str) -> Vec<String> {
        let mut command = Command::new("id");
        command.arg(flags);
        if self.is_other {
            // With the sign it is a number, whatever users are called.
            command.arg(format!("+{}", self.uid));
        }
        let output = command.output().ok().filter(|output| output.status.success());
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }
}

/// The user whom the store belongs to; `None` for one that is not there, or cannot be seen.
pub fn owner_of(store: &Path) -> Option<u32> {
    fs::metadata(store).ok().map(|meta| meta.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_found_by_number_and_by_name() {
        let root = Caller::of_peer(0, 0);
        let may = |users: &[&str], groups: &[&str]| {
            let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            root.is_one_of(&WhoMay { users: own(users), groups: own(groups) })
        };
        assert_eq!(root.name(), "root");
        assert!(may(&["0"], &[]) && may(&["root"], &[]) && may(&[], &["0"]) && may(&["x"], &["root"]));
        assert!(!may(&[], &[]) && !may(&["00", "roo", "nobody"], &["nogroup", "1"]));
        assert_eq!(Caller::parse(&root.to_text()), Some(root));
        assert_eq!(Caller::parse("0"), None);
    }
}
