//! `cfs rsyncd-config`

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use cfs_fs::name::TreePath;
use cfs_indexer::refname::RefName;
use serde_json::json;

use crate::context::Context;
use crate::report::CommandError;

/// Write a configuration of the rsync daemon for a view, and systemd units for the mount, the HTTP server and the
/// daemon.
///
/// A connection stays in the snapshot that it found, since the module's path lies inside the directory that flips.
/// Nothing is installed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the store is or will be mounted.
    #[arg(long, value_name = "DIR", default_value = "/srv/cfs")]
    mount: PathBuf,

    /// The view.
    #[arg(long, value_name = "REF", default_value = "production")]
    view: RefName,

    /// A module and the directory of the view that it serves; may be given again [default: the view's name, all
    /// of it].
    #[arg(long, value_name = "NAME[=PATH]", value_parser = parse_module)]
    module: Vec<(String, TreePath)>,

    /// User that the daemon becomes.
    #[arg(long, value_name = "USER", default_value = "nobody")]
    uid: String,

    /// Group that the daemon becomes; one that may read an embargoed release shows it [default: the host's nogroup
    /// or nobody].
    #[arg(long, value_name = "GROUP")]
    gid: Option<String>,

    /// Connections at a time.
    #[arg(long, value_name = "N", default_value_t = 200)]
    connections: u32,

    /// Address that `cfs serve` listens on.
    #[arg(long, value_name = "ADDR", default_value = "[::]:80")]
    listen: String,

    /// Write the files into this directory, which is made, instead of printing them.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

fn parse_module(text: &str) -> Result<(String, TreePath), String> {
    let (name, path) = text.split_once('=').unwrap_or((text, ""));
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(format!("{name:?} is no name of a module"));
    }
    if name.eq_ignore_ascii_case("global") {
        return Err("the daemon keeps the name \"global\" to itself".into());
    }
    Ok((name.to_owned(), path.parse().map_err(|error| format!("{error}"))?))
}

/// Runs `cfs rsyncd-config`.
pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let mount = absolute(&args.mount)?;
    let store = absolute(&context.settings.store)?;
    if args.view.as_str().starts_with("compose/") {
        return Err(CommandError::usage(format!("{} is not shown as a view", args.view)));
    }
    let gid = args.gid.clone().unwrap_or_else(nobodys_group);
    for text in [&args.uid, &gid, &args.listen] {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(CommandError::usage(format!("{text:?} cannot stand in a configuration")));
        }
    }
    let files = [
        ("rsyncd.conf", daemon(args, &gid, &mount)),
        ("cfs-mount.service", mount_unit(&mount, &store)),
        ("cfs-serve.service", serve_unit(args, &store)),
        ("cfs-rsyncd.service", daemon_unit()),
    ];
    let Some(dir) = &args.output else {
        if context.output.is_json() {
            let files: serde_json::Map<_, _> =
                files.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
            return context.output.json(&files);
        }
        for (number, (name, text)) in files.iter().enumerate() {
            let space = if number == 0 { "" } else { "\n" };
            context.output.line(format_args!("{space}### {name}\n{}", text.trim_end()))?;
        }
        return Ok(());
    };
    fs::create_dir_all(dir).map_err(|error| CommandError::io("create", dir, error))?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|error| CommandError::io("write", &path, error))?;
        written.push(path.display().to_string());
    }
    context.output.result(format!("wrote {}", written.join(", ")), &json!({ "files": written }))
}

/// Debian calls the group of nobody nogroup.
fn nobodys_group() -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let has_nogroup = groups.lines().any(|line| line.starts_with("nogroup:"));
    if has_nogroup { "nogroup" } else { "nobody" }.to_owned()
}

/// A path as it can stand in a unit and in the daemon's configuration.
fn absolute(path: &Path) -> Result<String, CommandError> {
    let absolute = std::path::absolute(path).map_err(|error| CommandError::io("find", path, error))?;
    let text = absolute.to_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.+:@".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err(CommandError::usage(format!(
            "{}: a path with such characters cannot stand in a configuration",
            path.display()
        )));
    }
    Ok(text.to_owned())
}

fn daemon(args: &Args, gid: &str, mount: &str) -> String {
    let Args { view, uid, connections, .. } = args;
    let mut text = format!(
        "# The rsync daemon for the view {view}. Made by `cfs rsyncd-config`.
#
# The path of every module lies inside {mount}/views/{view}, the directory that flips: a connection
# enters it once and stays in the snapshot that it found. Above it, one pull could mix two.
use chroot = yes
uid = {uid}
gid = {gid}
read only = yes
list = yes
max connections = {connections}
lock file = /run/cfs-rsyncd.lock
timeout = 600
transfer logging = yes
# Packages and metadata are compressed already.
dont compress = *
# A mirror that asks for checksums makes the server read everything.
refuse options = checksum delete
exclude = .~tmp~
"
    );
    let whole = [(view.as_str().replace('/', "-"), TreePath::root())];
    let modules = if args.module.is_empty() { &whole[..] } else { &args.module[..] };
    for (name, path) in modules {
        let below = if path.is_root() { String::new() } else { format!("/{path}") };
        let shown = if path.is_root() { view.to_string() } else { format!("{view}:{path}") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n[{name}]\npath = {mount}/views/{view}{below}\ncomment = {shown}");
    }
    text
}

/// What all units that read the mount or the store keep from what they run.
const SEALED: &str = "NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
";

fn mount_unit(mount: &str, store: &str) -> String {
    format!(
        "[Unit]
Description=cfs: the store {store} as a file system
RequiresMountsFor={store}

[Service]
Type=forking
ExecStartPre=/usr/bin/mkdir -p {mount}
# Returns when the mount answers.
ExecStart=/usr/bin/cfs --store {store} mount --allow-other {mount}
ExecStop=/usr/bin/cfs --store {store} umount --lazy {mount}
Restart=on-failure
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
"
    )
}

fn serve_unit(args: &Args, store: &str) -> String {
    let Args { view, listen, .. } = args;
    format!(
        "[Unit]
Description=cfs: the view {view} over HTTP
RequiresMountsFor={store}
After=network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/bin/cfs --store {store} serve --listen {listen} --view {view}
Restart=on-failure
KillSignal=SIGTERM
TimeoutStopSec=60
LimitNOFILE=1048576
# The catalogue is a database, whose readers write beside it.
ReadWritePaths={store}
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_DAC_READ_SEARCH
AmbientCapabilities=CAP_NET_BIND_SERVICE
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
{SEALED}
[Install]
WantedBy=multi-user.target
"
    )
}

fn daemon_unit() -> String {
    format!(
        "[Unit]
Description=cfs: the rsync daemon on the mount
# When the mount goes the daemon goes, and comes again with it.
BindsTo=cfs-mount.service
After=cfs-mount.service network-online.target
Wants=network-online.target

[Service]
ExecStart=/usr/bin/rsync --daemon --no-detach --config=/etc/cfs/rsyncd.conf
Restart=on-failure
ReadWritePaths=/run
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_SETUID CAP_SETGID CAP_DAC_READ_SEARCH
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
{SEALED}
[Install]
WantedBy=multi-user.target
"
    )
}
