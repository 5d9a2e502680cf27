//! Clients that are slow, greedy, many, or not what they seem.

use std::net::Shutdown;

use rustix::process::{Resource, getrlimit};

use super::*;
use crate::mirrors::put;

fn site(more: &[&str]) -> (Sandbox, Served) {
    let sandbox = Sandbox::with_store();
    import(&sandbox, "tree", "production", &[("a", "first"), ("b", "second"), ("c", "third")]);
    put(&sandbox.path("big/file"), vec![b'x'; 32 << 20], 1_700_000_000);
    sandbox.ok(["import", "big", "production:big"]);
    let served = serve(&sandbox, &[&["--view", "production"], more].concat());
    (sandbox, served)
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let (_sandbox, served) = site(&[]);
    says("Requests that are sent without waiting are answered one after the other, in order.");
    let mut wire = served.connect();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut all = String::new();
    for _ in 0..200 {
        all +=
            &(request("/a") + &request("/nothing") + &request("/b") + "HEAD /c HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let half = all.len() / 2;
    wire.say(&all.as_bytes()[..half]);
    wire.say(&all.as_bytes()[half..]);
    for round in 0..200 {
        assert_eq!(wire.hear(false).unwrap().text(), "first", "{round}");
        assert_eq!(wire.hear(false).unwrap().status, 404, "{round}");
        assert_eq!(wire.hear(false).unwrap().text(), "second", "{round}");
        assert_eq!(wire.hear(true).unwrap().field("Content-Length"), Some("5"), "{round}");
    }
    // A client that says it sends no more still gets its answer.
    wire.say(request("/c").as_bytes());
    wire.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.hear(false).unwrap().text(), "third");
    assert!(wire.has_ended());
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let (_sandbox, served) = site(&[]);
    let mut wire = served.connect();
    for byte in b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n" {
        wire.say(&[*byte]);
    }
    assert_eq!(wire.hear(false).unwrap().text(), "first");
}

#[test]
fn connections_stay_as_the_version_says() {
    let (_sandbox, served) = site(&[]);
    says("HTTP/1.0 is understood; connections stay open as each version has it.");
    let mut wire = served.connect();
    wire.say(b"GET /a HTTP/1.0\r\n\r\n");
    assert_eq!(wire.hear(false).unwrap().text(), "first");
    assert!(wire.has_ended());
    let mut wire = served.connect();
    for _ in 0..2 {
        wire.say(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = wire.hear(false).unwrap();
        assert_eq!(answer.field("Connection"), Some("keep-alive"));
    }
    wire.say(b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_eq!(wire.hear(false).unwrap().field("Connection"), Some("close"));
    assert!(wire.has_ended());
}

#[test]
fn what_is_not_served_is_refused() {
    let (_sandbox, served) = site(&[]);
    says(
        "Methods other than `GET` and `HEAD` are 405 and requests with a body 413; heads of more than 16 KiB are 431, \
         or 414 when it is the address, other versions 505, and what could be understood in two ways 400. A connection \
         on which something was not understood, or a body follows, ends with that answer.",
    );
    let long = "x".repeat(20_000);
    for (request, expected) in [
        ("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nx=y".to_owned(), 405),
        ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nx=y".to_owned(), 413),
        ("GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 413),
        (format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        ("GET /a HTTP/2.0\r\nHost: h\r\n\r\n".to_owned(), 505),
        ("GET /a HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n".to_owned(), 400),
        ("GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n".to_owned(), 400),
        ("\x16\x03\x01 a handshake of TLS\r\n\r\n".to_owned(), 400),
    ] {
        let mut wire = served.connect();
        // What follows is part of the body, and not another request.
        wire.say((request.clone() + "GET /b HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        let shown = request.get(..80).unwrap_or(&request);
        assert_eq!(wire.hear(false).unwrap().status, expected, "{shown}");
        assert!(wire.hear(false).is_none(), "{shown}");
    }
    let mut wire = served.connect();
    wire.say(b"DELETE /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    let refused = wire.hear(false).unwrap();
    assert_eq!((refused.status, refused.field("Allow")), (405, Some("GET, HEAD")));
    assert_eq!(wire.hear(false).unwrap().text(), "second", "without a body the connection stays");
}

#[test]
fn slow_clients_are_cut_off() {
    let limits = ["--head-timeout", "1", "--idle-timeout", "1", "--stall-timeout", "1"];
    let (_sandbox, served) = site(&limits);
    says(
        "A client that takes too long for a head, for its next request, or to take an answer is cut off, after the \
         times that the options say.",
    );
    let mut nothing = served.connect();
    let mut half = served.connect();
    half.say(b"GET /a HTTP/1.1\r\nHo");
    let mut idle = served.connect();
    idle.say(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(idle.hear(false).unwrap().text(), "first");
    // One that dribbles has no more time than one that does not.
    let mut dribbling = served.connect();
    let mut stalled = served.connect();
    stalled.say(b"GET /big/file HTTP/1.1\r\nHost: h\r\n\r\n");
    dribbling.say(b"GET /a HTTP/1.1\r\nX: ");
    while served.count("cfs_http_cut_total{reason=\"slow_head\"}") < 3 {
        dribbling.say(b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(nothing.has_ended() && half.has_ended() && idle.has_ended() && dribbling.has_ended());
    while served.count("cfs_http_cut_total{reason=\"slow_reader\"}") < 1 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut answer = Vec::new();
    let _ = stalled.stream.read_to_end(&mut answer);
    assert!(answer.len() < 32 << 20, "it was cut off before the end");
    assert_eq!(served.count("cfs_http_cut_total{reason=\"idle\"}"), 1);
    assert_eq!(served.get("/a").text(), "first");
}

#[test]
fn one_address_gets_no_more_than_its_share() {
    let (_sandbox, served) = site(&["--connections-per-address", "4"]);
    says("An address that has as many connections as it may gets 503 for a new one.");
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut wires: Vec<Wire> = (0..4).map(|_| served.connect()).collect();
    for wire in &mut wires {
        wire.say(request);
        assert_eq!(wire.hear(false).unwrap().text(), "first");
    }
    let mut fifth = served.connect();
    assert_eq!(fifth.hear(false).unwrap().status, 503);
    assert!(fifth.has_ended());
    drop(wires.pop());
    while served.count("cfs_http_connections") > 3 {
        std::thread::yield_now();
    }
    assert_eq!(served.get("/a").text(), "first");
}

#[test]
fn idle_connections_make_room() {
    let (_sandbox, served) = site(&["--connections", "16"]);
    says("When there is no room for another connection, those that have been idle for longest make it.");
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut idle: Vec<Wire> = (0..16).map(|_| served.connect()).collect();
    for wire in &mut idle {
        wire.say(request);
        assert_eq!(wire.hear(false).unwrap().text(), "first");
    }
    let mut refused = 0;
    loop {
        let mut wire = served.connect();
        wire.say(request);
        match wire.hear(false) {
            Some(answer) if answer.status == 200 => break,
            // The connection that made the others go is sent away itself.
            _ => refused += 1,
        }
        assert!(refused < 1000, "idle connections stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(served.count("cfs_http_cut_total{reason=\"shed\"}") > 0);
    assert!(idle[0].has_ended() || idle[1].has_ended(), "the first ones were idle for longest");
}

#[test]
fn ten_thousand_idle_connections_do_not_stop_service() {
    const COUNT: usize = 10_000;
    // This process holds one end of each; the server the other, with room for what it sends.
    let limit = getrlimit(Resource::Nofile);
    let needed = u64::try_from(COUNT).unwrap() + 500;
    if limit.maximum.is_some_and(|maximum| maximum < 2 * needed - 2000) {
        return eprintln!("skipped: only {:?} files may be open", limit.maximum);
    }
    raise_open_files();
    let (_sandbox, served) = site(&["--connections-per-address", "0", "--idle-timeout", "600"]);
    says("10,000 idle connections do not keep anyone from being served.");
    let request = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut idle = Vec::with_capacity(COUNT);
    for n in 0..COUNT {
        let mut wire = served.connect();
        if n % 10 == 0 {
            wire.say(request);
            assert_eq!(wire.hear(false).unwrap().text(), "first");
        }
        // The buffer is of no use to an idle one.
        idle.push(wire.stream.into_inner());
    }
    for _ in 0..200 {
        assert_eq!(served.get("/b").text(), "second");
    }
    assert!(served.count("cfs_http_connections") >= COUNT as u64);
    // Those that were idle can go on.
    let mut wire = Wire { stream: BufReader::new(idle.pop().unwrap()) };
    wire.say(request);
    assert_eq!(wire.hear(false).unwrap().text(), "first");
}

fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).unwrap();
}
