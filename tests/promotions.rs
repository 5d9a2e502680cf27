//! Promotions as release engineers need them: gates, shapes, several views in one flip.

mod gates;
mod hooks;
mod policies;
mod repositories;
mod rollbacks;
mod shapes;
mod trouble;

use crate::harness::Sandbox;

/// A sandbox whose configuration is `config`, with these files imported as `compose/9/one`.
fn store_with(config: &str, files: &[(&str, &str)]) -> Sandbox {
    let sandbox = Sandbox::with_config(config);
    import(&sandbox, "compose/9/one", files);
    sandbox
}

/// Imports these files, and nothing else, as `name`.
fn import(sandbox: &Sandbox, name: &str, files: &[(&str, &str)]) {
    let dir = name.replace('/', "-");
    let _ = std::fs::remove_dir_all(sandbox.path(&dir));
    for (path, content) in files {
        sandbox.write(&format!("{dir}/{path}"), content);
    }
    sandbox.ok(["import", &dir, name]);
}

/// Ends the processes of the group that a process is in.
fn end_group_of(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let group = rustix::process::getpgid(Some(pid)).unwrap();
    assert_ne!(group, rustix::process::getpgid(None).unwrap(), "the hook is in a group of its own");
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
}
