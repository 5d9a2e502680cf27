//! The file `CHECKSUM` beside images, which `sha256sum --check` reads.

use std::fmt::Write as _;

use crate::checksum::{Algorithm, Checksum};

/// What a line says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Its size in bytes.
    Size(u64),
    /// Its digest.
    Digest(Checksum),
}

/// What the file says of one image: its name, size and digest in hexadecimal; `algorithm` such as `sha256`.
pub fn entry(name: &str, size_bytes: u64, algorithm: &str, digest: &str) -> String {
    let mut text = String::new();
    let algorithm = algorithm.to_ascii_uppercase();
    // Writing to a string cannot fail.
    let _ = write!(text, "# {name}: {size_bytes} bytes\n{algorithm} ({name}) = {digest}\n");
    text
}

/// Reads one line; `None` when it is of neither form that [`entry`] writes.
pub fn parse(line: &str) -> Option<(&str, Said)> {
    if let Some(comment) = line.strip_prefix("# ") {
        let (name, size) = comment.strip_suffix(" bytes")?.rsplit_once(": ")?;
        let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        return Some((name, Said::Size(size.parse().ok().filter(|_| is_number)?)));
    }
    let (algorithm, rest) = line.split_once(" (")?;
    let (name, digest) = rest.rsplit_once(") = ")?;
    let algorithm =
        Algorithm::ALL.into_iter().find(|known| known.name().to_ascii_uppercase() == algorithm)?;
    Some((name, Said::Digest(Checksum::from_hex(algorithm, digest).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_size_and_digest() {
        let text = entry("Rocky-9.7-x86_64-boot.iso", 7, "sha256", "00ff");
        assert_eq!(text, "# Rocky-9.7-x86_64-boot.iso: 7 bytes\nSHA256 (Rocky-9.7-x86_64-boot.iso) = 00ff\n");
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        for algorithm in Algorithm::ALL {
            let digest = Checksum::new(algorithm, &vec![7; algorithm.digest_bytes()]).unwrap();
            let text = entry("a (b) = c: 1 bytes", 7, algorithm.name(), &digest.to_hex());
            let read: Vec<_> = text.lines().map(parse).collect();
            let name = "a (b) = c: 1 bytes";
            assert_eq!(read, [Some((name, Said::Size(7))), Some((name, Said::Digest(digest)))]);
        }
    }

    #[test]
    fn other_lines_are_not_read() {
        let long = "0".repeat(64);
        for line in [
            "<html>404</html>".to_owned(),
            "# a: many bytes".to_owned(),
            "# a: +7 bytes".to_owned(),
            "#a: 7 bytes".to_owned(),
            "SHA256 (a) = as the builder says".to_owned(),
            format!("SHA256 (a) = {}", &long[1..]),
            format!("SHA512 (a) = {long}"),
            format!("sha256 (a) = {long}"),
            format!("{long}  a"),
        ] {
            assert_eq!(parse(&line), None, "{line}");
        }
    }
}
