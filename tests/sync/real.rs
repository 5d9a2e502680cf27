//! Real packages, real metadata tools, real servers.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stats;
use crate::harness::repo::Repo;
use crate::harness::{Sandbox, installed, ran, real_data};

/// A server process, ended with the test.
struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(port: u16, command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, url: format!("http://127.0.0.1:{port}/") }
    }

    fn python(dir: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(dir);
        Self::start(port, &mut command)
    }

    fn nginx(sandbox: &Sandbox, dir: &Path) -> Self {
        Self::nginx_with(sandbox, dir, "", "")
    }

    /// nginx with more for its `listen` line and its server.
    fn nginx_with(sandbox: &Sandbox, dir: &Path, listen: &str, more: &str) -> Self {
        let port = free_port();
        let root = sandbox.path("nginx");
        fs::create_dir_all(&root).unwrap();
        let (root, dir) = (root.display(), dir.display());
        let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "daemon off; master_process off; {user} pid {root}/pid; error_log {root}/error.log;
             events {{}}
             http {{ access_log off; gzip on; gzip_types *; gzip_min_length 1; client_body_temp_path {root}/a;
               proxy_temp_path {root}/b; fastcgi_temp_path {root}/c; uwsgi_temp_path {root}/d;
               scgi_temp_path {root}/e;
               server {{ listen 127.0.0.1:{port} {listen}; root {dir}; {more} }} }}"
        );
        let file = sandbox.write("nginx.conf", text);
        Self::start(port, Command::new("nginx").arg("-c").arg(file))
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Copies real packages, with their times, to `dir/Packages`; returns how many.
fn copy_packages(data: &Path, dir: &Path) -> usize {
    let mut found = Vec::new();
    for folder in ["createrepo_c", "rpm-rs", "rpmlint", "centos-release"] {
        find_packages(&data.join(folder), &mut found);
    }
    found.sort_unstable();
    fs::create_dir_all(dir.join("Packages")).unwrap();
    let mut names = std::collections::HashSet::new();
    found.retain(|path| names.insert(path.file_name().unwrap().to_owned()));
    for path in &found {
        let target = dir.join("Packages").join(path.file_name().unwrap());
        fs::copy(path, &target).unwrap();
        let time = fs::metadata(path).unwrap().modified().unwrap();
        // A copy of a read-only file is read-only.
        let mut permissions = fs::metadata(&target).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&target, permissions).unwrap();
        fs::File::options().write(true).open(&target).unwrap().set_modified(time).unwrap();
    }
    found.len()
}

fn find_packages(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_packages(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rpm") {
            found.push(path);
        }
    }
}

#[track_caller]
fn createrepo(dir: &Path, args: &[&str]) {
    let done = ran(Command::new("createrepo_c").env("LC_ALL", "C").arg("-q").args(args).arg(dir));
    // Some of the packages are broken on purpose; it says so and leaves them out.
    assert!(dir.join("repodata/repomd.xml").exists(), "{done:?}");
}

#[track_caller]
fn assert_same(sandbox: &Sandbox, place: &str, upstream: &Path) {
    let out = sandbox.path("out");
    let _ = fs::remove_dir_all(&out);
    sandbox.ok(["checkout", place, out.to_str().unwrap()]);
    assert_eq!(ran(Command::new("diff").arg("-r").arg(upstream).arg(&out)).stdout, "");
    assert_eq!(stats(&out), stats(upstream));
}

#[test]
fn real_repositories_come_through_real_servers_unchanged() {
    let Some(data) = real_data() else { return };
    if !["createrepo_c", "python3", "nginx"].iter().all(|program| installed(program)) {
        return;
    }
    let sandbox = Sandbox::with_store();
    let dir = sandbox.path("upstream");
    let packages = copy_packages(&data, &dir);
    assert!(packages > 50, "{packages} packages found");
    // What createrepo_c leaves out stays out of the comparison.
    createrepo(&dir, &[]);
    let listed =
        ran(Command::new("sh").current_dir(&dir).args(["-c", "zcat repodata/*primary.xml.gz"])).stdout;
    for entry in fs::read_dir(dir.join("Packages")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !listed.contains(&name.replace('&', "&amp;")) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let (python, nginx) = (Server::python(&dir), Server::nginx(&sandbox, &dir));
    for (number, args) in [
        &["--general-compress-type=gz"][..],
        &["--general-compress-type=xz", "--no-database"],
        &["--general-compress-type=bz2"],
        &["--no-database", "--checksum=sha512", "--unique-md-filenames"],
        &["--simple-md-filenames"],
    ]
    .into_iter()
    .enumerate()
    {
        fs::remove_dir_all(dir.join("repodata")).unwrap();
        createrepo(&dir, args);
        for (server, url) in [("python", &python.url), ("nginx", &nginx.url)] {
            let target = format!("{server}/{number}:BaseOS/os");
            let report = sandbox.json(["sync", url, &target]).remove(0);
            assert_eq!(report["changed"], true, "{args:?}");
            assert_same(&sandbox, &target, &dir);
            let again = sandbox.json(["sync", url, &target]).remove(0);
            assert_eq!(again["changed"], false, "{args:?}");
        }
    }
}

#[test]
fn tls_is_spoken_with_trusted_servers_only() {
    if !["openssl", "nginx"].iter().all(|program| installed(program)) {
        return;
    }
    let sandbox = Sandbox::with_store();
    let repo = Repo::with_packages(&sandbox.path("upstream"), 5);
    repo.write();
    let made = ran(Command::new("openssl")
        .current_dir(sandbox.path(""))
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"]));
    assert_eq!(made.code, 0, "{made:?}");
    let (cert, key) = (sandbox.path("cert.pem"), sandbox.path("key.pem"));
    let down = "location /down/ { return 302 http://localhost:1/; }";
    let tls = format!("ssl_certificate {}; ssl_certificate_key {}; {down}", cert.display(), key.display());
    let server = Server::nginx_with(&sandbox, &repo.dir, "ssl", &tls);
    let url = server.url.replace("http://127.0.0.1", "https://localhost");
    let sync = |url: &str, trusted: &Path| {
        ran(sandbox.cfs().env("SSL_CERT_FILE", trusted).args(["sync", "--attempts=1", url, "test:os"]))
    };
    let empty = sandbox.write("empty.pem", "");
    for untrusted in [Path::new("/nonexistent"), &empty] {
        let done = sync(&url, untrusted);
        assert_eq!(done.code, 3, "{done:?}");
        assert!(
            done.stderr.contains("repodata/repomd.xml") && done.stderr.contains("certificate"),
            "{done:?}"
        );
    }
    let done = sync(&format!("{url}down"), &cert);
    assert!(done.code == 3 && done.stderr.contains("from https to http"), "{done:?}");
    let done = sync(&url, &cert);
    assert_eq!(done.code, 0, "{done:?}");
    assert_same(&sandbox, "test:os", &repo.dir);
    // Without any authority, plain HTTP works as before.
    let plain = Server::nginx(&sandbox, &repo.dir);
    let done = sync(&plain.url, &empty);
    assert!(done.code == 0 && done.stdout.contains("nothing changed"), "{done:?}");
}

#[test]
fn dnf_takes_a_synced_repository_for_the_original() {
    let Some(data) = real_data() else { return };
    if !["createrepo_c", "dnf"].iter().all(|program| installed(program)) {
        return;
    }
    let sandbox = Sandbox::with_store();
    let dir = sandbox.path("upstream");
    copy_packages(&data, &dir);
    createrepo(&dir, &[]);
    sandbox.ok(["sync", dir.to_str().unwrap(), "compose"]);
    let out = sandbox.path("synced");
    sandbox.ok(["checkout", "compose", out.to_str().unwrap()]);
    let query = |dir: &Path, name: &str| {
        let root = sandbox.path(name);
        let done = ran(Command::new("dnf")
            .env("LC_ALL", "C")
            .args(["-q", "--releasever=9", "--setopt=reposdir=/nonexistent", "--disableplugin=local"])
            .args(["--nogpgcheck", "--setopt=r.skip_if_unavailable=0"])
            .arg(format!("--installroot={}", root.display()))
            .arg(format!("--setopt=cachedir={}/cache", root.display()))
            .arg(format!("--repofrompath=r,file://{}", dir.display()))
            .args(["repoquery", "--qf", "%{name} %{evr} %{arch} %{location} %{buildtime}"]));
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    };
    let (original, synced) = (query(&dir, "a"), query(&out, "b"));
    assert!(original.lines().count() > 20, "{original}");
    assert_eq!(original, synced);
}
