use super::*;

/// What the server answers to a request, byte for byte.
fn ask(server: &Server, request: &str) -> String {
    let mut client = TcpStream::connect(server.address).unwrap();
    client.write_all(format!("{request} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn files_are_served_with_their_length_and_time_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("a dir")).unwrap();
    std::fs::write(root.join("a dir/file+1"), "content").unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let file = File::options().append(true).open(root.join("a dir/file+1")).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(784_111_777)).unwrap();
    let server = Server::start(&root).unwrap();

    let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\
                Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(&server, "GET /a%20dir/file%2b1"), format!("{head}content"));
    assert_eq!(ask(&server, "HEAD /a%20dir/file+1?query"), head);
    for target in
        ["/", "/a%20dir", "/../secret", "/%2e%2e/secret", "//etc/passwd", "/none", "/%zz", "x", "/%00"]
    {
        assert!(ask(&server, &format!("GET {target}")).starts_with("HTTP/1.1 404 "), "{target}");
    }
    assert!(ask(&server, "POST /a%20dir/file+1").starts_with("HTTP/1.1 405 "));
    let address = server.address;
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}
