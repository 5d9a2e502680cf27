//! Programs that are run about promotions: before, after, and to sign.
//!
//! Always true: a program gets its own process group, is killed with everything it started when its time is
//! over, and only so much of its output is kept. A `post-promote` hook is told of every move of its views in
//! order, and of a move again until it has succeeded once with it; what it has been told of stands in the
//! catalogue, so a crash loses no move, and a program that is told twice can see so by the number.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cfs_fs::store::StoreError;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::catalogue::{CatalogueError, HookRun, LogEntry, Signer, Target};
use crate::config::{Config, Hook, When};
use crate::depot::Depot;
use crate::refname::RefName;

mod talk;

use talk::Talk;

/// Bytes of a hook's output that are kept.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// What moves views that people see; other moves are nobody's business.
const REASONS: [&str; 5] = ["promote ", "rollback ", "policy ", "move links", "repodata "];

/// Why a hook did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It cannot be run.
    #[error("hook {name}: {program} cannot be run")]
    Start {
        /// The hook.
        name: String,
        /// Its program.
        program: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("hook {name}: took more than {} s{}", timeout.as_secs(), said(output))]
    Timeout {
        /// The hook.
        name: String,
        /// How long it may take.
        timeout: Duration,
        /// What it said until then.
        output: String,
    },
    /// It said no.
    #[error("hook {name}: {status}{}", said(output))]
    Failed {
        /// The hook.
        name: String,
        /// How it ended.
        status: String,
        /// What it said.
        output: String,
    },
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {}", output.trim_end()) }
}

/// What a program said: on standard output and on standard error.
struct Said {
    stdout: Vec<u8>,
    stderr: String,
}

/// Asks the `pre-promote` hooks about a flip into `views`; the first that says no ends it. Returns what they
/// said, each with its hook's name.
pub fn pre_promote(
    config: &Config,
    views: &[RefName],
    description: &Value,
) -> Result<Vec<(String, String)>, HookError> {
    let mut all = Vec::new();
    for (name, hook) in &config.hooks {
        if hook.when == When::PrePromote && views.iter().any(|view| hook.is_about(view)) {
            let said = run(name, hook, description.to_string().as_bytes(), &[])?;
            let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), said.stderr);
            all.push((name.clone(), text));
        }
    }
    Ok(all)
}

/// Lets the `sign` hook of a view sign a repomd.xml, which it gets on standard input; its standard output is the
/// signature. `None` when the view has no such hook.
pub fn sign(
    config: &Config,
    view: &RefName,
    path: &str,
    document: &[u8],
) -> Result<Option<Vec<u8>>, HookError> {
    let is_it = |hook: &&Hook| hook.when == When::Sign && hook.is_about(view);
    let Some((name, hook)) = config.hooks.iter().find(|(_, hook)| is_it(hook)) else { return Ok(None) };
    let said = run(name, hook, document, &[("CFS_VIEW", view.as_str()), ("CFS_PATH", path)])?;
    if said.stdout.is_empty() {
        let (name, output) = (name.clone(), said.stderr);
        return Err(HookError::Failed { name, status: "gave no signature".to_owned(), output });
    }
    Ok(Some(said.stdout))
}

/// Remembers from which move on the `post-promote` hooks are to be told, for those that are new. To be called
/// before a move that they should hear of.
pub fn begin(depot: &Depot, config: &Config) -> Result<(), CatalogueError> {
    for (name, _) in config.hooks.iter().filter(|(_, hook)| hook.when == When::PostPromote) {
        depot.catalogue.begin_hook(name)?;
    }
    Ok(())
}

/// What came of telling a hook of a move.
#[derive(Debug)]
pub struct Told {
    /// The hook.
    pub hook: String,
    /// The view that moved.
    pub view: RefName,
    /// To which generation.
    pub generation: u64,
    /// What it said.
    pub result: Result<String, HookError>,
}

/// Tells the `post-promote` hooks of all moves that they have not heard of. One that fails hears no more until
/// the next time. While another process tells them, nothing is done: that one tells them all.
pub fn post_promote(depot: &Depot, config: &Config, signer: &Signer) -> Result<Vec<Told>, CatalogueError> {
    let hooks: Vec<_> = config.hooks.iter().filter(|(_, hook)| hook.when == When::PostPromote).collect();
    if hooks.is_empty() {
        return Ok(Vec::new());
    }
    let path = depot.store.run_dir().join("hooks.lock");
    let fail = |verb| {
        let path = path.clone();
        move |source| CatalogueError::Store(StoreError::Io { verb, path, source })
    };
    let lock = std::fs::File::create(&path).map_err(fail("write"))?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| fail("lock")(error.into()))?;
    let mut told = Vec::new();
    for (name, hook) in hooks {
        let mut heard = depot.catalogue.begin_hook(name)?;
        while let Some(entry) = depot.catalogue.log_after(heard)? {
            let is_move = REASONS.iter().any(|reason| entry.reason.starts_with(reason));
            if hook.is_about(&entry.name) && is_move {
                let result = tell(depot, name, hook, &entry, signer)?;
                let failed = result.is_err();
                let (view, generation) = (entry.name.clone(), entry.generation);
                told.push(Told { hook: name.clone(), view, generation, result });
                if failed {
                    break;
                }
            }
            heard = entry.number;
            depot.catalogue.hook_heard(name, heard)?;
        }
    }
    Ok(told)
}

fn tell(
    depot: &Depot,
    name: &str,
    hook: &Hook,
    entry: &LogEntry,
    signer: &Signer,
) -> Result<Result<String, HookError>, CatalogueError> {
    let new = entry.new.as_ref().map(|new| match new {
        Target::Snapshot(id) => id.to_string(),
        Target::Symbolic(name) => name.to_string(),
    });
    let description = json!({
        "event": hook.when.name(), "number": entry.number, "view": entry.name.as_str(),
        "generation": entry.generation, "old": entry.old.map(|id| id.to_string()), "new": new,
        "at": entry.at, "actor": entry.actor, "reason": entry.reason, "store": depot.store.root(),
    });
    let result = run(name, hook, description.to_string().as_bytes(), &[])
        .map(|said| format!("{}{}", String::from_utf8_lossy(&said.stdout), said.stderr));
    let output = match &result {
        Ok(output) => output.clone(),
        Err(error) => error.to_string(),
    };
    depot.catalogue.record_hook_run(&HookRun {
        hook: name.to_owned(),
        entry: entry.number,
        at: signer.now,
        succeeded: result.is_ok(),
        output,
    })?;
    Ok(result)
}

/// Runs a hook's program with `input` on its standard input. It is over when the program has ended: what it has
/// left running may go on, and is heard no more.
fn run(name: &str, hook: &Hook, input: &[u8], environment: &[(&str, &str)]) -> Result<Said, HookError> {
    let start = |source| HookError::Start {
        name: name.to_owned(),
        program: hook.command.first().cloned().unwrap_or_default(),
        source,
    };
    let Some((program, arguments)) = hook.command.split_first() else {
        return Err(start(std::io::ErrorKind::InvalidInput.into()));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied()).process_group(0);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(start)?;
    let talk = talk::talk(&mut child, input, hook.timeout(), OUTPUT_BYTES_MAX);
    if !matches!(talk, Ok(Talk { in_time: true, .. })) {
        kill(&mut child);
    }
    let Talk { in_time, stdout, stderr } = talk.map_err(start)?;
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    let (name, output) = (name.to_owned(), || format!("{}{stderr}", String::from_utf8_lossy(&stdout)));
    if !in_time {
        return Err(HookError::Timeout { name, timeout: hook.timeout(), output: output() });
    }
    let status = child.wait().map_err(start)?;
    if !status.success() {
        return Err(HookError::Failed { name, status: status.to_string(), output: output() });
    }
    Ok(Said { stdout, stderr })
}

/// Ends a program and whatever it has started in its process group.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended just now.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}
