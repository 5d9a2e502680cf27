//! Who may promote into a view: users and groups of its policy, and the process that asks.

use std::process::Command;

use cfs_indexer::config::WhoMay;

/// Whether this process belongs to one of the users or groups. Names are only looked up when numbers do not
/// tell.
pub fn is_one_of(who: &WhoMay) -> bool {
    let user = rustix::process::getuid().as_raw().to_string();
    if who.users.contains(&user) {
        return true;
    }
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getgid());
    if groups.iter().any(|group| who.groups.contains(&group.as_raw().to_string())) {
        return true;
    }
    names("-un").iter().any(|name| who.users.contains(name))
        || names("-Gn").iter().any(|name| who.groups.contains(name))
}

/// What `id` says; it asks the directories that the host uses.
fn names(flags: &str) -> Vec<String> {
    let output = Command::new("id").arg(flags).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}
