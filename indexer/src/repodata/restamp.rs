//! New times for a `repomd.xml` whose content is old.
//!
//! Always true: nothing changes but the text of `<timestamp>` and, where it is a time, of `<revision>`; the
//! result parses, and says what the old document said.

use super::RepodataError;
use super::repomd::{Repomd, parse};

/// A revision below this is a name and no time: Rocky's is the major version.
const TIME_MIN: i64 = 100_000_000;

/// The newest time that a document gives, in seconds since 1970.
pub fn newest(repomd: &Repomd) -> Option<i64> {
    let revision = repomd.revision_time().filter(|time| *time >= TIME_MIN);
    repomd.records.iter().filter_map(|record| record.timestamp).chain(revision).max()
}

/// Whether a document was made before another one, as far as both say when: by their revisions where both are
/// numbers and differ, otherwise by the newest times that they give.
pub fn is_older(document: &Repomd, than: &Repomd) -> bool {
    match (document.revision_time(), than.revision_time()) {
        (Some(one), Some(other)) if one != other => one < other,
        _ => matches!((newest(document), newest(than)), (Some(one), Some(other)) if one < other),
    }
}

/// What a document says of its age, for people.
pub fn age(document: &Repomd) -> String {
    let revision = document.revision.as_deref().unwrap_or("no");
    let revision: String = revision.chars().take(40).collect();
    match newest(document) {
        Some(time) => format!("revision {revision}, second {time}"),
        None => format!("revision {revision}"),
    }
}

/// The document with `time` (seconds since 1970) in the place of every time that it gives.
pub fn restamp(document: &[u8], time: i64) -> Result<Vec<u8>, RepodataError> {
    let old = parse(document)?;
    let is_time = old.revision_time().is_some_and(|revision| revision >= TIME_MIN);
    let mut text = String::from_utf8_lossy(document).into_owned();
    text = replace(&text, "timestamp", time);
    if is_time {
        text = replace(&text, "revision", time);
    }
    let new = parse(text.as_bytes())?;
    let mut expected = old;
    for record in &mut expected.records {
        record.timestamp = record.timestamp.map(|_| time);
    }
    if is_time {
        expected.revision = Some(time.to_string());
    }
    if new == expected {
        return Ok(text.into_bytes());
    }
    // Such as a comment that looks like an element.
    Err(RepodataError::Value {
        at_byte: 0,
        what: "the document with new times",
        value: "another one".to_owned(),
    })
}

/// The text with `time` between the tags of every element called `name` that holds text only.
fn replace(text: &str, name: &str, time: i64) -> String {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut result = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find(&open) {
        let (before, element) = rest.split_at(at);
        result.push_str(before);
        let whole = element.find('>').and_then(|tag_end| {
            let (tag, behind) = element.split_at(tag_end + 1);
            let is_this = tag[open.len()..].starts_with(['>', ' ', '\t', '\n', '\r']) && !tag.ends_with("/>");
            let end = behind.find(&close).filter(|end| is_this && !behind[..*end].contains('<'))?;
            Some((tag, &behind[end..]))
        });
        if let Some((tag, behind)) = whole {
            result.push_str(tag);
            result.push_str(&time.to_string());
            rest = behind;
        } else {
            result.push_str(&open);
            rest = &element[open.len()..];
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>1700000000</revision>
  <tags><distro cpeid="cpe:/o:rocky:rocky:9">Rocky Linux 9</distro></tags>
  <!-- <note> -->
  <data type="primary">
    <checksum type="sha256">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
    <location href="repodata/primary.xml.gz"/><timestamp>1700000001.25</timestamp><size>7</size>
  </data>
  <data type="group">
    <checksum type="sha256">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
    <location href="repodata/comps.xml"/><timestamp>
 1600000000 </timestamp>
  </data>
</repomd>
"#;

    #[test]
    fn only_times_change() {
        let old = parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(newest(&old), Some(1_700_000_001));
        let new = String::from_utf8(restamp(DOCUMENT.as_bytes(), 1_800_000_000).unwrap()).unwrap();
        let expected = DOCUMENT
            .replace("1700000001.25", "1800000000")
            .replace("\n 1600000000 ", "1800000000")
            .replace("1700000000", "1800000000");
        assert_eq!(new, expected);
    }

    #[test]
    fn of_two_documents_the_older_one_is_known() {
        let made = |revision: &str, time: &str| {
            let text = DOCUMENT
                .replace("<revision>1700000000<", &format!("<revision>{revision}<"))
                .replace("1700000001.25", time);
            parse(text.as_bytes()).unwrap()
        };
        let now = made("1700000000", "1700000001");
        assert!(is_older(&made("1699999999", "1800000000"), &now) && !is_older(&now, &now));
        assert!(!is_older(&made("1700000001", "1600000000"), &now));
        let named = made("9", "1700000001");
        assert!(is_older(&made("9", "1700000000"), &named) && is_older(&made("8", "1900000000"), &named));
        assert!(is_older(&made("beta", "1700000000"), &now) && !is_older(&made("beta", "1700000002"), &now));
        assert_eq!(age(&named), "revision 9, second 1700000001");
    }

    #[test]
    fn a_revision_that_is_a_name_stays() {
        let document = DOCUMENT.replace("<revision>1700000000<", "<revision>9<");
        let new = String::from_utf8(restamp(document.as_bytes(), 1_800_000_000).unwrap()).unwrap();
        assert!(new.contains("<revision>9</revision>") && new.contains("<timestamp>1800000000<"), "{new}");
    }

    #[test]
    fn what_looks_like_an_element_and_is_none_is_not_touched() {
        let document = DOCUMENT.replace("<!-- <note> -->", "<!-- <timestamp>5</timestamp> -->");
        // It is changed in the comment too, which changes nothing that is said.
        assert!(restamp(document.as_bytes(), 1_800_000_000).is_ok());
        let document = DOCUMENT.replace("<!-- <note> -->", "<!-- <timestamp> -->");
        let new = String::from_utf8(restamp(document.as_bytes(), 1_800_000_000).unwrap()).unwrap();
        assert!(new.contains("<!-- <timestamp> -->"), "{new}");
        assert!(restamp(b"no xml", 1).is_err());
    }
}
