//! `other.xml`: the changelogs of packages, read as a stream.

use std::io::BufRead;

use super::RepodataError;
use super::filelists::package_id;
use super::repomd::number;
use super::xml::{Event, Xml};

/// One entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When, in seconds since 1970.
    pub time: i64,
    /// Who, by custom with the version that it is about: `A Name <a@b> - 1.0-1`.
    pub author: String,
    /// What.
    pub text: String,
}

/// Calls `visit` with the checksum of a package and its changelog in the document's order, for the packages that
/// `wants` asks for.
pub fn read(
    input: impl BufRead,
    wants: &dyn Fn(&str) -> bool,
    visit: &mut dyn FnMut(&str, Vec<Entry>),
) -> Result<(), RepodataError> {
    let mut xml = Xml::new(input);
    let (mut depth, mut open, mut wanted) = (0, false, false);
    let (mut package, mut entries): (String, Vec<Entry>) = (String::new(), Vec::new());
    loop {
        match xml.next()? {
            Event::Open(element) => {
                depth += 1;
                match (depth, element.name()) {
                    (1, "otherdata") => {}
                    (1, found) => {
                        let found = found.chars().take(80).collect();
                        return Err(RepodataError::WrongDocument { expected: "otherdata", found });
                    }
                    (2, "package") => {
                        package_id(&element, &mut package)?;
                        wanted = wants(&package);
                    }
                    (3, "changelog") if wanted => {
                        let mut entry = Entry { time: 0, author: String::new(), text: String::new() };
                        element.attributes(&mut |name, value| {
                            match name {
                                "author" => entry.author = value.into_owned(),
                                "date" => entry.time = number(&value, "a date", element.at_byte())?,
                                _ => {}
                            }
                            Ok(())
                        })?;
                        entries.push(entry);
                        open = true;
                    }
                    _ => {}
                }
            }
            Event::Text(piece) => {
                if let (3, true, Some(entry)) = (depth, open, entries.last_mut()) {
                    entry.text.push_str(&piece);
                }
            }
            Event::Close => {
                match depth {
                    3 => open = false,
                    2 if wanted => visit(&package, std::mem::take(&mut entries)),
                    _ => {}
                }
                depth -= 1;
            }
            Event::Other => {}
            Event::End => return Ok(()),
        }
    }
}
