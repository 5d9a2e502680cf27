//! What tests stand on: a sandbox with a store of its own, and programs run in it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub mod packages;
pub mod repo;
pub mod upstream;

/// The configuration of a sandbox that has one.
const CONFIG: &str = "config.toml";

/// Names the environment variable with arguments that every `cfs mount` of a test is to have, so that the same
/// tests hold mounts that work in other ways.
pub const MOUNT_ARGS: &str = "CFS_TEST_MOUNT_ARGS";

/// A temporary directory with a path for a store, removed at the end.
pub struct Sandbox {
    dir: tempfile::TempDir,
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Sandbox {
    /// An empty sandbox.
    pub fn new() -> Self {
        Self { dir: tempfile::Builder::new().prefix("cfs-test-").tempdir().unwrap() }
    }

    /// A sandbox with an initialised store.
    pub fn with_store() -> Self {
        let sandbox = Self::new();
        sandbox.ok(["init"]);
        sandbox
    }

    /// A sandbox with an initialised store and this configuration, which every command reads.
    pub fn with_config(text: &str) -> Self {
        let sandbox = Self::with_store();
        sandbox.write(CONFIG, text);
        sandbox
    }

    /// A path in the sandbox.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file, making its directories.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A `cfs` command on this sandbox's store, run in the sandbox.
    pub fn cfs(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("CFS_STORE", self.store()).env_remove("CFS_CONFIG");
        if self.path(CONFIG).exists() {
            command.env("CFS_CONFIG", self.path(CONFIG));
        }
        command
    }

    /// Runs `cfs` with these arguments, whatever comes of it.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        if let Some(at) = args.iter().position(|arg| arg == "mount") {
            #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
            let more = std::env::var(MOUNT_ARGS).unwrap_or_default();
            // In front, so that what the test itself says counts last.
            let rest = args.split_off(at + 1);
            args.extend(more.split_whitespace().map(OsString::from));
            args.extend(rest);
        }
        ran(self.cfs().args(args))
    }

    /// Runs `cfs` and returns its standard output; it must succeed.
    #[track_caller]
    pub fn ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    }

    /// Runs `cfs` and returns its standard error; it must end with this exit status.
    #[track_caller]
    pub fn fails<A: AsRef<OsStr>>(&self, code: i32, args: impl IntoIterator<Item = A>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{ran:?}");
        ran.stderr
    }

    /// Runs `cfs --json` and returns the lines it printed.
    #[track_caller]
    pub fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Vec<serde_json::Value> {
        let text = self.ok(["--json"].into_iter().chain(args));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The snapshot a revision names.
    #[track_caller]
    pub fn snapshot(&self, revision: &str) -> String {
        self.json(["show", revision])[0]["snapshot"].as_str().unwrap().to_owned()
    }

    /// All paths of a tree, one a line, with kinds, sizes and times.
    #[track_caller]
    pub fn listing(&self, place: &str) -> String {
        self.ok(["ls", "-lR", place])
    }
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// Whether a program is installed; says so when a test is skipped for want of it.
pub fn installed(program: &str) -> bool {
    let found = ran(Command::new("sh").args(["-c", "command -v \"$0\"", program])).code == 0;
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// The directory of real packages and repositories, or `None` (and a word about it) where there is none.
pub fn real_data() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let named = std::env::var("CFS_TEST_DATA").ok().map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = named.unwrap_or(beside);
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("skipped: no real packages in CFS_TEST_DATA or ../shared/data");
    None
}
