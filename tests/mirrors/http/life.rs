//! How a server begins, tells of itself, and ends.

use std::fs;

use super::*;
use crate::mirrors::put;

#[test]
fn the_end_waits_for_answers_on_their_way() {
    let sandbox = Sandbox::with_store();
    let content = vec![b'x'; 24 << 20];
    put(&sandbox.path("tree/file"), &content, 1_700_000_000);
    sandbox.ok(["import", "tree", "production"]);
    let served = serve(&sandbox, &["--view", "production"]);
    says(
        "At SIGTERM and SIGINT nobody is accepted any more, idle connections end, and answers on their way come to \
         their end, for 30 seconds or as long as `--drain` says; a second signal ends at once.",
    );
    let mut idle = served.connect();
    idle.say(b"HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.hear(true).unwrap().status, 200);
    let mut busy = served.connect();
    busy.say(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut begun = [0; 16];
    busy.stream.read_exact(&mut begun).unwrap();
    served.signal(Signal::TERM);
    assert!(idle.has_ended());
    assert!(TcpStream::connect(served.authority()).is_err(), "nobody is accepted any more");
    let mut rest = Vec::new();
    busy.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&content), "{} bytes came", rest.len());
    assert_eq!(served.ended(), Some(0));

    let served = serve(&sandbox, &["--view", "production", "--drain", "600", "--stall-timeout", "600"]);
    let mut busy = served.connect();
    busy.say(b"GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
    busy.stream.read_exact(&mut begun).unwrap();
    served.signal(Signal::TERM);
    while TcpStream::connect(served.authority()).is_ok() {
        std::thread::yield_now();
    }
    served.signal(Signal::INT);
    assert_eq!(served.ended(), Some(0));
}

#[test]
fn the_access_log_has_a_line_for_every_answer() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "production", &[("file", "content")]);
    let log = sandbox.path("access.log");
    let served = serve(&sandbox, &["--view", "production", "--access-log", log.to_str().unwrap()]);
    says(
        "`--access-log` writes a line in the combined format for every answer; SIGHUP makes it go on in a new file \
         of the same name.",
    );
    served.ask("GET", "/file?x", "User-Agent: a \"test\"\r\nReferer: http://r/\r\n");
    served.ask("HEAD", "/nothing", "");
    let lines = |path: &std::path::Path, count: usize| -> Vec<String> {
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.lines().count() >= count {
                return text.lines().map(str::to_owned).collect();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut found = lines(&log, 2);
    // Threads write what they have sent, each for itself.
    found.sort_by_key(|line| line.contains("HEAD"));
    let (first, rest) = found[0].split_once(" - - [").unwrap();
    let (date, rest) = rest.split_once("] ").unwrap();
    assert_eq!(first, "127.0.0.1");
    assert!(date.ends_with(" +0000") && date.len() == 26, "{date}");
    assert_eq!(rest, "\"GET /file?x HTTP/1.1\" 200 7 \"http://r/\" \"a \\x22test\\x22\"");
    assert!(found[1].ends_with("\"HEAD /nothing HTTP/1.1\" 404 0 \"-\" \"-\""), "{}", found[1]);
    let old = sandbox.path("access.log.1");
    fs::rename(&log, &old).unwrap();
    served.signal(Signal::HUP);
    while !log.exists() {
        std::thread::yield_now();
    }
    served.get("/file");
    assert!(lines(&log, 1)[0].contains("\"GET /file HTTP/1.1\" 200 7"));
    assert_eq!(lines(&old, 2).len(), 2);
}

#[test]
fn a_server_tells_how_it_is() {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "production", &[("file", "content")]);
    let served = serve(&sandbox, &["--view", "production"]);
    says(
        "The address of `--metrics` answers /metrics in the text format of Prometheus and /healthz with 200 while \
         there is something to serve; /healthz is answered at the public address, too, and /metrics is not.",
    );
    served.get("/file");
    served.get("/nothing");
    assert_eq!(served.count("cfs_http_requests_total{status=\"200\"}"), 1);
    assert_eq!(served.count("cfs_http_requests_total{status=\"404\"}"), 1);
    let id = sandbox.snapshot("production");
    assert_eq!(served.count(&format!("cfs_http_snapshot{{snapshot=\"{id}\"}}")), 1);
    assert_eq!((served.told("/healthz").status, served.get("/healthz").text().as_str()), (200, "ok\n"));
    assert_eq!((served.told("/file").status, served.get("/metrics").status), (404, 404));
}

#[test]
fn what_cannot_be_served_is_said_at_once() {
    let sandbox = Sandbox::with_store();
    let missing = sandbox.fails(3, ["serve", "--listen", "127.0.0.1:0", "--view", "production"]);
    assert!(missing.contains("no ref is called production"), "{missing}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = sandbox.fails(3, ["serve", "--listen", &address]);
    assert!(refused.contains(&format!("{address}: cannot listen")), "{refused}");
    sandbox.fails(2, ["serve"]);
}
