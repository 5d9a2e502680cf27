//! dnf and curl through nginx while the view flips: no client ever misses what it was told of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rpm::{BuildConfig, CompressionWithLevel, FileOptions, PackageBuilder};

use super::http::serve;
use super::{Done, Server, free_port, ok, wait_for};
use crate::harness::{Ran, Sandbox, installed, ran};
use crate::mount::{can_mount, mount};

/// States of the repository that follow each other.
const STATES: usize = 6;

/// How often dnf comes, unless the environment says otherwise: so few that a directory which is updated in place still
/// fails some of them.
const LOOPS: usize = 8;

/// The loops of dnf, and of curl, which is faster.
fn loops() -> (usize, usize) {
    #[expect(clippy::disallowed_methods, reason = "tests read the environment")]
    let asked = std::env::var("CFS_RACE_LOOPS").ok().and_then(|text| text.parse().ok());
    let slow = asked.unwrap_or(LOOPS);
    (slow, 3 * slow)
}

/// nginx that serves `root`, as the guide says, and its address.
fn nginx(sandbox: &Sandbox, root: &Path) -> (Server, String) {
    let port = free_port();
    let dir = sandbox.path(format!("nginx-{port}"));
    fs::create_dir(&dir).unwrap();
    let (dir, root) = (dir.display(), root.display());
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/log crit; user root; worker_processes 1;
         events {{}} http {{ access_log off; sendfile on; open_file_cache off;
         server {{ listen 127.0.0.1:{port}; root {root}; }}
         client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
         uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5; }}"
    );
    let config = sandbox.write(&format!("nginx-{port}/conf"), config);
    let mut command = Command::new("nginx");
    let child = command.args(["-e", "stderr", "-c"]).arg(config).stderr(Stdio::null()).spawn().unwrap();
    wait_for(port);
    (Server(child), format!("http://127.0.0.1:{port}/"))
}

/// The repository in its states, as directories `s0`, `s1` … and refs `compose/s0` …: each has another version of one
/// package, and so other metadata under other names.
fn states(sandbox: &Sandbox) -> Vec<PathBuf> {
    let state = |number: usize| {
        let dir = sandbox.path(format!("s{number}"));
        for (name, minor) in [("moving", number), ("staying", 0)] {
            let version = format!("1.{minor}");
            // What is called the same is the same: no name of a package is ever used twice.
            let built = 1_700_000_000 + u32::try_from(minor).unwrap();
            let config = BuildConfig::v4().compression(CompressionWithLevel::None).source_date(built);
            let mut builder = PackageBuilder::new(name, &version, "MIT", "noarch", "For a test");
            builder.using_config(config).release("1");
            let content = format!("{name} {version}").repeat(500);
            builder.with_file_contents(content, FileOptions::new(format!("/usr/share/{name}"))).unwrap();
            let path = dir.join(format!("Packages/{name}-{version}-1.noarch.rpm"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            builder.build().unwrap().write_file(&path).unwrap();
        }
        ok(Command::new("createrepo_c").args(["-q", "--no-database"]).arg(&dir));
        sandbox.ok(["import", &format!("s{number}"), &format!("compose/s{number}")]);
        dir
    };
    (0..STATES).map(state).collect()
}

fn dnf(sandbox: &Sandbox, repository: &str, args: &[&str]) -> Ran {
    let mut command = Command::new("dnf");
    let path = |name: &str| sandbox.path(name).display().to_string();
    command.args(["-y", "--releasever", "40", "--disableplugin=local", "--nogpgcheck"]);
    command.arg(format!("--installroot={}", path("installroot")));
    command.arg(format!("--setopt=cachedir={}", path("cache")));
    command.arg(format!("--setopt=reposdir={}", path("repos"))).arg(repository);
    command.args(["--setopt=r.skip_if_unavailable=0", "--setopt=r.timeout=5"]);
    ran(command.args(args).env("LC_ALL", "C.UTF-8").env_remove("http_proxy"))
}

/// What `dnf --refresh download` does, once, into an empty directory.
fn dnf_download(sandbox: &Sandbox, url: &str) -> Ran {
    let to = sandbox.path("downloads");
    let _ = fs::remove_dir_all(&to);
    let to = to.display().to_string();
    dnf(
        sandbox,
        &format!("--repofrompath=r,{url}"),
        &["--refresh", "download", "--destdir", &to, "moving", "staying"],
    )
}

/// What a client does that is faster: repomd.xml, the primary metadata that it names, the packages that this names.
fn fetch(sandbox: &Sandbox, url: &str) -> Ran {
    let script = "get() { curl -sS --fail --noproxy '*' -o \"$2\" \"$1$3\"; }
        get \"$1\" repomd repodata/repomd.xml
        primary=$(grep -o 'repodata/[^\"]*-primary.xml.gz' repomd)
        get \"$1\" primary \"$primary\"
        echo \"${primary#repodata/}\" | sed 's/-.*/  primary/' | sha256sum --quiet -c -
        zcat primary | grep -o 'Packages/[^\"]*' > packages
        while read -r package; do get \"$1\" package \"$package\"; done < packages
        test \"$(wc -l < packages)\" = 2";
    let dir = sandbox.path("fetched");
    fs::create_dir_all(&dir).unwrap();
    ran(Command::new("bash").args(["-eu", "-o", "pipefail", "-c", script, "bash", url]).current_dir(dir))
}

/// Calls `flip` with 0, 1, 2 … every 50 ms while `work` runs.
fn while_moving<T: Send>(mut flip: impl FnMut(usize), work: impl FnOnce() -> T + Send) -> (T, usize) {
    let (done, flips) = (AtomicBool::new(false), AtomicUsize::new(0));
    let result = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let _done = Done(&done);
            work()
        });
        while !done.load(Ordering::Relaxed) {
            flip(flips.fetch_add(1, Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(50));
        }
        worker.join()
    });
    match result {
        Ok(result) => (result, flips.into_inner()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn has_clients() -> bool {
    ["nginx", "dnf", "curl", "createrepo_c", "rsync"].into_iter().all(installed)
}

/// Lets dnf and curl come to `url` while `flip` is called every 50 ms; how often they failed, with what the first
/// said.
fn race(sandbox: &Sandbox, title: &str, url: &str, flip: impl FnMut(usize)) -> [(usize, Option<Ran>); 2] {
    let (slow, fast) = loops();
    let failures = |loops: usize, client: &dyn Fn() -> Ran| {
        let mut failed = (0..loops).map(|_| client()).filter(|ran| ran.code != 0);
        let first = failed.next();
        (usize::from(first.is_some()) + failed.count(), first)
    };
    let _ = fs::remove_dir_all(sandbox.path("cache"));
    let (found, flips) = while_moving(flip, || {
        [failures(slow, &|| dnf_download(sandbox, url)), failures(fast, &|| fetch(sandbox, url))]
    });
    let [(of_dnf, _), (of_curl, _)] = &found;
    eprintln!(
        "{title}: of {slow} loops of dnf {of_dnf} failed, of {fast} of curl {of_curl}; {flips} changes"
    );
    assert!(flips > slow, "{flips} changes");
    found
}

#[test]
fn no_client_fails_while_the_view_flips_and_some_do_where_a_directory_is_updated_in_place() {
    if !can_mount() || !has_clients() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let states = states(&sandbox);
    let promote = |flip: usize| {
        sandbox.ok(["promote", &format!("compose/s{}", (flip + 1) % STATES), "production:pub"]);
    };
    promote(STATES - 1);
    let live = mount(&sandbox, "mnt", &["--allow-other"]);
    let (_nginx, on_mount) = nginx(&sandbox, &live.path("views/production"));
    let served = serve(&sandbox, &["--view", "production"]);
    for (title, url) in
        [("nginx on a mount", format!("{on_mount}pub/")), ("cfs serve", format!("{}/pub/", served.url))]
    {
        for (count, first) in race(&sandbox, title, &url, promote) {
            assert_eq!(count, 0, "{title}: {first:?}");
        }
    }

    let plain = sandbox.path("plain");
    let update = |flip: usize| {
        let from = states[(flip + 1) % STATES].join("");
        ok(Command::new("rsync").args(["-a", "--delete"]).arg(from).arg(plain.join("")));
    };
    update(STATES - 1);
    let (_nginx, url) = nginx(&sandbox, &plain);
    for (count, _) in race(&sandbox, "a directory", &url, update) {
        assert!(count > 0, "the same loops never fail with a plain directory: they prove nothing");
    }
}

#[test]
fn a_metalink_makes_dnf_take_what_was_published_and_nothing_else() {
    if !has_clients() {
        return;
    }
    let sandbox = Sandbox::with_store();
    let states = states(&sandbox);
    for number in 0..3 {
        sandbox.ok(["promote", &format!("compose/s{number}"), "production:pub/os"]);
    }
    let (_nginx, url) = nginx(&sandbox, &sandbox.path(""));
    // A mirror that is a step behind, and its neighbour, which has what was never published.
    let mirrors = |name: &str, state: &Path| {
        let os = sandbox.path(format!("{name}/os"));
        ok(Command::new("mkdir").arg("-p").arg(os.parent().unwrap()));
        ok(Command::new("cp").arg("-a").arg(state).arg(os));
        sandbox.write(&format!("{name}.mirrors"), format!("{url}{name} DE 100\n"));
        format!("{name}.mirrors")
    };
    let (current, stale) = (mirrors("current", &states[2]), mirrors("stale", &states[1]));
    let foreign = mirrors("foreign", &states[3]);
    let metalink = |mirrors: &str, more: &[&str]| {
        let place = "production:pub/os/repodata/repomd.xml";
        let mut args = vec!["metalink", place, "--mirrors", mirrors, "--base", "pub"];
        args.extend(more);
        let text = sandbox.ok(args);
        sandbox.write("metalink.xml", &text);
        sandbox.write("repos/r.repo", format!("[r]\nname=r\nmetalink={url}metalink.xml\n"));
        let _ = fs::remove_dir_all(sandbox.path("cache"));
        (text, dnf(&sandbox, "--setopt=r.retries=1", &["repoquery", "moving"]))
    };
    let (text, taken) = metalink(&current, &[]);
    assert_eq!((taken.code, taken.stdout.as_str()), (0, "moving-0:1.2-1.noarch\n"), "{taken:?}");
    let sums = ok(Command::new("sha512sum").arg(states[2].join("repodata/repomd.xml")));
    assert!(text.contains(sums.split_whitespace().next().unwrap()), "{text}");
    assert_eq!(text.matches("<mm0:alternate>").count(), 2, "{text}");

    let (_, taken) = metalink(&stale, &[]);
    assert_eq!((taken.code, taken.stdout.as_str()), (0, "moving-0:1.1-1.noarch\n"), "{taken:?}");
    let (text, refused) = metalink(&stale, &["--alternates", "0"]);
    assert!(!text.contains("alternate"), "{text}");
    assert_ne!(refused.code, 0, "{refused:?}");
    let (_, refused) = metalink(&foreign, &[]);
    assert_ne!(refused.code, 0, "{refused:?}");

    // After a rollback the tree before is what is published.
    sandbox.ok(["promote", "compose/s1", "production:pub/os"]);
    let (text, taken) = metalink(&stale, &[]);
    assert_eq!((taken.code, taken.stdout.as_str()), (0, "moving-0:1.1-1.noarch\n"), "{taken:?}");
    assert_eq!(text.matches("<mm0:alternate>").count(), 2, "each content once: {text}");

    sandbox.fails(3, ["metalink", "production:pub/os/Packages", "--mirrors", &current]);
    sandbox.fails(2, ["metalink", "production:pub/os/repodata/repomd.xml", "--mirrors", "metalink.xml"]);
    let said = sandbox.fails(2, ["metalink", "production:x", "--mirrors", &current, "--base", "pub"]);
    assert!(said.contains("x is not below pub"), "{said}");
}
