//! A repository of 3,000 packages over loopback HTTP: a first `cfs sync` against `dnf reposync`, and one that finds
//! nothing new. The server is nginx; each is run three times in turn; the medians count.
//!
//! `cargo bench -p cfs-cli --bench sync [-- PACKAGES]`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, works where it is told to, and stops when it cannot go on"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cfs_indexer::checksum::{Algorithm, Hasher};

const RUNS: usize = 3;
/// What a package weighs: most of a distribution's are smaller than 100 kB.
const BYTES: usize = 40_000;

fn main() {
    let number = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let packages: usize = number.unwrap_or(3_000);
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    let dir = temp.path();
    repository(&dir.join("www/repo"), packages);
    let Some(server) = Server::start(dir) else { return };
    let url = server.url.clone();
    println!("{packages} packages of {BYTES} bytes over {url}");
    let has_dnf =
        Command::new("dnf").args(["reposync", "--help"]).output().is_ok_and(|out| out.status.success());
    if !has_dnf {
        println!("dnf has no reposync here");
    }
    let mut times: [Vec<Duration>; 4] = Default::default();
    for run in 0..RUNS {
        // Nothing is removed before the end: ext4 is slow to give out the inodes of files that were just deleted.
        let (store, copy) = (dir.join(format!("store-{run}")), dir.join(format!("copy-{run}")));
        cfs(&store, &["init"]);
        times[0].push(cfs(&store, &["sync", &url, "release:os"]));
        times[1].push(cfs(&store, &["sync", &url, "release:os"]));
        if has_dnf {
            let cache = dir.join(format!("cache-{run}"));
            times[2].push(reposync(&url, &copy, &cache));
            times[3].push(reposync(&url, &copy, &cache));
            assert_eq!(fs::read_dir(copy.join("Packages")).unwrap().count(), packages);
        }
    }
    let [first, again, their_first, their_again] = times.map(median);
    println!(
        "first: cfs {first:.2} s, dnf reposync {their_first:.2} s: {:.1} times (aim 2)",
        their_first / first
    );
    println!(
        "nothing new: cfs {again:.3} s, dnf {their_again:.2} s: {:.1} times (aim 5)",
        their_again / again
    );
}

/// The middle one, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

fn cfs(store: &Path, args: &[&str]) -> Duration {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
    run(command.env("CFS_STORE", store).env_remove("CFS_CONFIG").args(args))
}

fn reposync(url: &str, copy: &Path, cache: &Path) -> Duration {
    let mut command = Command::new("dnf");
    command.args(["-q", "-y", "--releasever=9", "--disableplugin=*", "--enableplugin=reposync"]);
    command.arg(format!("--setopt=cachedir={}", cache.display()));
    command.arg(format!("--setopt=reposdir={}", cache.display()));
    command.args([
        "--setopt=max_parallel_downloads=20",
        "--setopt=keepcache=1",
        "--setopt=metadata_expire=0",
    ]);
    command.args([&format!("--repofrompath=bench,{url}"), "--repoid=bench", "reposync", "-p"]).arg(copy);
    run(command.args(["--norepopath", "--download-metadata", "--remote-time"]))
}

fn run(command: &mut Command) -> Duration {
    let began = Instant::now();
    let out = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let took = began.elapsed();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    took
}

/// nginx on a free port, ended with the value.
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
    fn start(dir: &Path) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = dir.display();
        let config = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/nginx.log; user root;\n\
             events {{}}\nhttp {{ access_log off; sendfile on; client_body_temp_path {at}/t1; proxy_temp_path {at}/t2;\n\
             fastcgi_temp_path {at}/t3; uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5; keepalive_requests 100000;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/www; }} }}\n"
        );
        fs::write(dir.join("nginx.conf"), config).unwrap();
        let mut command = Command::new("nginx");
        let Ok(child) = command.arg("-c").arg(dir.join("nginx.conf")).stderr(Stdio::null()).spawn() else {
            println!("nginx is not installed");
            return None;
        };
        let server = Self { child, url: format!("http://127.0.0.1:{port}/repo") };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }
}

/// A repository of packages of arbitrary bytes: nobody looks into them here.
fn repository(dir: &Path, count: usize) {
    fs::create_dir_all(dir.join("Packages")).unwrap();
    fs::create_dir_all(dir.join("repodata")).unwrap();
    let mut packages = String::new();
    for number in 0..count {
        let bytes = content(number);
        let (name, sum, size) = (format!("p{number:05}"), sha256(&bytes), bytes.len());
        let href = format!("Packages/{name}-1-1.x86_64.rpm");
        fs::write(dir.join(&href), bytes).unwrap();
        writeln!(
            packages,
            "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch><version epoch=\"0\" ver=\"1\" rel=\"1\"/>\
             <checksum type=\"sha256\" pkgid=\"YES\">{sum}</checksum><summary>a</summary><description>a</description>\
             <packager/><url/><time file=\"1700000000\" build=\"1700000000\"/>\
             <size package=\"{size}\" installed=\"1\" archive=\"1\"/><location href=\"{href}\"/><format>\
             <rpm:license>MIT</rpm:license><rpm:group/><rpm:buildhost/><rpm:sourcerpm>{name}-1-1.src.rpm</rpm:sourcerpm>\
             <rpm:header-range start=\"0\" end=\"1\"/></format></package>"
        )
        .unwrap();
    }
    let primary = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\" packages=\"{count}\">\n{packages}</metadata>\n"
    );
    let filelists = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                     <filelists xmlns=\"http://linux.duke.edu/metadata/filelists\" packages=\"0\"/>\n";
    let mut records = String::new();
    for (kind, text) in [("primary", primary.as_str()), ("filelists", filelists)] {
        let name = format!("repodata/{kind}.xml");
        let (sum, size) = (sha256(text.as_bytes()), text.len());
        fs::write(dir.join(&name), text).unwrap();
        writeln!(
            records,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{sum}</checksum><location href=\"{name}\"/>\
             <timestamp>1700000000</timestamp><size>{size}</size></data>"
        )
        .unwrap();
    }
    let repomd = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\
         <revision>1</revision>\n{records}</repomd>\n"
    );
    fs::write(dir.join("repodata/repomd.xml"), repomd).unwrap();
}

fn content(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (0..BYTES).map(|_| step(&mut state)).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().checksum.to_hex()
}
