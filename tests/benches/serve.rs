//! `cargo bench --bench serve [-- --quick]`: `cfs serve` against nginx with sendfile on the same files.
//!
//! `wrk` asks both in turn, 64 connections from two threads; each row tells the medians of one run and their
//! ratio, which is what counts, since machines differ. `--quick` asks for one second instead of three.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and stops when it cannot go on"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Rounds, of which the median is told.
const ROUNDS: usize = 5;
/// Files among which the row with many chooses.
const MANY: usize = 1000;

/// A child that is ended with the benchmark.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's own children end with it only when it is asked to end.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a benchmark works where it is told to")]
    let base = std::env::var("CFS_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
    let quick = std::env::args().any(|arg| arg == "--quick");
    let temp = tempfile::Builder::new().prefix("cfs-bench-").tempdir_in(base).unwrap();
    let dir = temp.path();
    println!("in {}", dir.display());
    make_files(&dir.join("tree"));
    let store = dir.join("store");
    let cfs = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cfs"));
        command.args(args).env("CFS_STORE", &store).current_dir(dir);
        command
    };
    for args in [&["-q", "init"][..], &["-q", "import", "tree", "production"]] {
        assert!(cfs(args).stdout(Stdio::null()).status().unwrap().success(), "{args:?}");
    }
    let mut serve = cfs(&["--json", "serve", "--listen", "127.0.0.1:0", "--view", "production"]);
    let mut child = serve.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _serve = Server(child);
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let cfs_url = said["listen"][0].as_str().unwrap().to_owned();
    let (_nginx, nginx_url) = nginx(dir);
    let script = many_script(dir);
    println!("{:24}{:>16}{:>16}{:>8}", "", "nginx", "cfs serve", "ratio");
    for (row, path, script) in [
        ("4 KiB", "small", None),
        ("4 KiB, 1000 files", "many/0", Some(script.as_path())),
        ("1 MiB", "medium", None),
        ("100 MiB", "large", None),
    ] {
        let (mut peer, mut own) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            peer.push(ask(&nginx_url, path, script, quick));
            own.push(ask(&cfs_url, path, script, quick));
        }
        let (peer, own) = (median(peer), median(own));
        println!("{row:24}{:>16}{:>16}{:>8.2}", shown(peer), shown(own), ratio(own, peer));
    }
}

fn make_files(dir: &Path) {
    fs::create_dir_all(dir.join("many")).unwrap();
    let noise = |bytes: usize, seed: u64| {
        let mut content = vec![0; bytes];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut content);
        content
    };
    for (name, bytes) in [("small", 4 << 10), ("medium", 1 << 20), ("large", 100 << 20)] {
        fs::write(dir.join(name), noise(bytes, bytes as u64)).unwrap();
    }
    for n in 0..MANY {
        fs::write(dir.join(format!("many/{n}")), noise(4 << 10, n as u64)).unwrap();
    }
}

/// nginx as it is set up for static files, on the same tree.
fn nginx(dir: &Path) -> (Server, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shown = dir.display();
    let mut config = format!(
        "daemon off; pid {shown}/nginx.pid; error_log {shown}/nginx.log; worker_processes auto;
         events {{ worker_connections 1024; }}
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
         server {{ listen 127.0.0.1:{port}; root {shown}/tree; }}\n"
    );
    if rustix::process::geteuid().is_root() {
        config.insert_str(0, "user root; ");
    }
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(config, "{kind}_temp_path {shown}/{kind};").unwrap();
    }
    config.push('}');
    fs::write(dir.join("nginx.conf"), config).unwrap();
    let mut command = Command::new("nginx");
    let child = command.args(["-e", "stderr", "-c"]).arg(dir.join("nginx.conf")).spawn().unwrap();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    (Server(child), format!("http://127.0.0.1:{port}/"))
}

/// A script for wrk that asks for one of many files each time.
fn many_script(dir: &Path) -> PathBuf {
    let script = dir.join("many.lua");
    let text = format!(
        "request = function() return wrk.format('GET', '/many/' .. math.random(0, {})) end\n",
        MANY - 1
    );
    fs::write(&script, text).unwrap();
    script
}

/// What one round of wrk has measured.
#[derive(Debug, Clone, Copy)]
struct Rate {
    requests: f64,
    /// Bytes a second.
    bytes: f64,
}

fn ask(url: &str, path: &str, script: Option<&Path>, quick: bool) -> Rate {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c64", "--timeout", "30s", if quick { "-d1" } else { "-d3" }]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let ran = command.arg(format!("{url}{path}")).output().expect("wrk is installed");
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(!text.contains("Non-2xx"), "{text}");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
    };
    let transfer = value("Transfer/sec:");
    let (number, unit) = transfer.split_at(transfer.find(|c: char| c.is_alphabetic()).unwrap());
    let scale = match unit {
        "GB" => 1024.0 * 1024.0 * 1024.0,
        "MB" => 1024.0 * 1024.0,
        "KB" => 1024.0,
        _ => 1.0,
    };
    Rate { requests: value("Requests/sec:").parse().unwrap(), bytes: number.parse::<f64>().unwrap() * scale }
}

fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
    rates[rates.len() / 2]
}

/// Of requests where they are many, whose heads are not of one length; of bytes where they are few.
fn ratio(own: Rate, peer: Rate) -> f64 {
    if peer.requests > 10_000.0 { own.requests / peer.requests } else { own.bytes / peer.bytes }
}

fn shown(rate: Rate) -> String {
    if rate.requests > 10_000.0 {
        format!("{:.0}/s", rate.requests)
    } else {
        format!("{:.0} MiB/s", rate.bytes / 1024.0 / 1024.0)
    }
}
