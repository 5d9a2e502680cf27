//! The file `CHECKSUM` beside images, which `sha256sum --check` reads.

use std::fmt::Write as _;

/// What the file says of one image: its name, size and digest in hexadecimal; `algorithm` such as `sha256`.
pub fn entry(name: &str, size_bytes: u64, algorithm: &str, digest: &str) -> String {
    let mut text = String::new();
    let algorithm = algorithm.to_ascii_uppercase();
    // Writing to a string cannot fail.
    let _ = write!(text, "# {name}: {size_bytes} bytes\n{algorithm} ({name}) = {digest}\n");
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_says_size_and_digest() {
        let text = super::entry("Rocky-9.7-x86_64-boot.iso", 7, "sha256", "00ff");
        assert_eq!(text, "# Rocky-9.7-x86_64-boot.iso: 7 bytes\nSHA256 (Rocky-9.7-x86_64-boot.iso) = 00ff\n");
    }
}
