//! Real clients: a repository made by `createrepo_c` from real packages, served by nginx and by Python, synced,
//! mounted, and read by diff and dnf.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Sandbox, installed, ran, real_data};

/// A child that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for(port: u16) {
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("nothing listens on port {port}");
}

fn nginx(sandbox: &Sandbox, root: &Path) -> (Server, String) {
    let port = free_port();
    let dir = sandbox.path("");
    let (dir, root) = (dir.display(), root.display());
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; user root; worker_processes 1; events {{}}
         http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {root}; }}
         client_body_temp_path {dir}/n1; proxy_temp_path {dir}/n2; fastcgi_temp_path {dir}/n3;
         uwsgi_temp_path {dir}/n4; scgi_temp_path {dir}/n5; }}"
    );
    let config = sandbox.write("nginx.conf", config);
    let mut command = Command::new("nginx");
    let child = command.args(["-e", "stderr", "-c"]).arg(config).stderr(Stdio::null()).spawn().unwrap();
    wait_for(port);
    (Server(child), format!("http://127.0.0.1:{port}/"))
}

fn python(root: &Path) -> (Server, String) {
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(root);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(port);
    (Server(child), format!("http://127.0.0.1:{port}/"))
}

/// The real packages in a directory of their own, with metadata by `createrepo_c`.
fn real_repository(sandbox: &Sandbox) -> Option<PathBuf> {
    let data = real_data()?;
    let repo = sandbox.path("upstream");
    let mut dirs = vec![data.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rpm") {
                let copy = repo.join("Packages").join(path.strip_prefix(&data).unwrap());
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                ok(Command::new("cp").arg("-p").arg(&path).arg(copy));
            }
        }
    }
    // What createrepo_c cannot read it leaves out and reports with a non-zero status.
    let made = ran(Command::new("createrepo_c").arg("-q").arg(&repo).env("LC_ALL", "C"));
    assert!(repo.join("repodata/repomd.xml").exists(), "{made:?}");
    remove_unlisted(&repo);
    Some(repo)
}

/// A sync takes what the metadata lists, so packages that `createrepo_c` left out must not be compared.
fn remove_unlisted(repo: &Path) {
    let listed = ok(Command::new("bash")
        .args(["-c", "zcat -f repodata/*primary.xml* | grep -o 'location href=\"[^\"]*'"])
        .current_dir(repo));
    let listed: Vec<&str> = listed.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(listed.len() > 50, "{} packages", listed.len());
    let files = ok(Command::new("find").args(["Packages", "-type", "f"]).current_dir(repo));
    for file in files.lines().filter(|file| !listed.contains(file)) {
        fs::remove_file(repo.join(file)).unwrap();
    }
    ok(Command::new("find").args(["Packages", "-type", "d", "-empty", "-delete"]).current_dir(repo));
}

#[track_caller]
fn ok(command: &mut Command) -> String {
    let ran = ran(command);
    assert_eq!(ran.code, 0, "{command:?}: {ran:?}");
    ran.stdout
}

/// Paths, sizes and times (whole seconds) of all files.
fn files(dir: &Path) -> Vec<String> {
    let text = ok(Command::new("find").args([".", "-type", "f", "-printf", "%P %s %Ts\\n"]).current_dir(dir));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn dnf(sandbox: &Sandbox, repo: &Path, args: &[&str]) -> String {
    let mut command = Command::new("dnf");
    let path = |name: &str| sandbox.path(name).display().to_string();
    command.args(["-q", "--releasever", "40", "--disableplugin=local", "--nogpgcheck"]);
    command.arg(format!("--installroot={}", path("installroot")));
    command.arg(format!("--setopt=cachedir={}", path("cache"))).arg("--setopt=reposdir=/nonexistent");
    command
        .arg(format!("--repofrompath=r,file://{}", repo.display()))
        .arg("--setopt=r.skip_if_unavailable=0");
    ok(command.args(args).env("LC_ALL", "C.UTF-8"))
}

#[test]
fn a_real_repository_synced_and_mounted_is_what_it_was() {
    let needed = ["createrepo_c", "nginx", "python3", "dnf"];
    if !needed.into_iter().all(installed) || !Path::new("/dev/fuse").exists() {
        return eprintln!("skipped: needs {needed:?} and /dev/fuse");
    }
    let sandbox = Sandbox::with_store();
    let Some(repo) = real_repository(&sandbox) else { return };
    let (_nginx, url) = nginx(&sandbox, &repo);
    let first = &sandbox.json(["sync", &url, "compose/9/nginx"])[0];
    assert_eq!(first["changed"], true, "{first}");
    let (_python, url) = python(&repo);
    sandbox.json(["sync", &url, "compose/9/python"]);
    assert_eq!(sandbox.ok(["diff", "compose/9/nginx", "compose/9/python"]), "", "both servers gave the same");

    let mounted = sandbox.path("mnt");
    fs::create_dir(&mounted).unwrap();
    sandbox.ok(["mount", "mnt"]);
    let view = mounted.join("compose/9/nginx");
    let compared = ran(Command::new("diff").arg("-r").arg(&repo).arg(&view));
    let times = (files(&repo), files(&view));
    let makecache = dnf(&sandbox, &view, &["makecache"]);
    let names = dnf(&sandbox, &view, &["repoquery", "--qf", "%{location}"]);
    let downloads = sandbox.path("downloads").display().to_string();
    dnf(&sandbox, &view, &["download", "--destdir", &downloads, "epel-release"]);
    sandbox.ok(["umount", "mnt"]);

    assert_eq!((compared.code, compared.stdout.as_str()), (0, ""), "{}", compared.stderr);
    assert_eq!(times.0, times.1, "sizes and times of all files");
    assert!(names.lines().count() > 50, "{makecache}{names}");
    let downloaded: Vec<_> = fs::read_dir(downloads).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(downloaded, ["epel-release-7-5.noarch.rpm"]);
}
