//! A `repomd.xml` from values to text.

use std::fmt::Write;

use super::{Record, Repomd};
use crate::checksum::Checksum;
use crate::repodata::fragment::{attribute, content};

impl Repomd {
    /// The document; what is said of it by [`super::parse`] is `self`.
    pub fn to_xml(&self) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
             xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n",
        );
        if let Some(revision) = &self.revision {
            element(&mut text, 2, "revision", revision);
        }
        self.write_tags(&mut text);
        self.records.iter().for_each(|record| write_record(&mut text, record));
        text.push_str("</repomd>\n");
        text
    }

    fn write_tags(&self, text: &mut String) {
        let tags = &self.tags;
        if tags.is_empty() {
            return;
        }
        text.push_str("  <tags>\n");
        tags.content.iter().for_each(|tag| element(text, 4, "content", tag));
        tags.repo.iter().for_each(|tag| element(text, 4, "repo", tag));
        for (cpe, name) in &tags.distro {
            text.push_str("    <distro");
            if let Some(cpe) = cpe {
                text.push_str(" cpeid=\"");
                attribute(text, cpe);
                text.push('"');
            }
            text.push('>');
            content(text, name);
            text.push_str("</distro>\n");
        }
        text.push_str("  </tags>\n");
    }
}

fn write_record(text: &mut String, record: &Record) {
    text.push_str("  <data type=\"");
    attribute(text, &record.kind);
    text.push_str("\">\n");
    checksum(text, "checksum", &record.checksum);
    if let Some(open) = &record.open_checksum {
        checksum(text, "open-checksum", open);
    }
    if let Some(header) = &record.header_checksum {
        checksum(text, "header-checksum", header);
    }
    text.push_str("    <location href=\"");
    attribute(text, record.location.as_str());
    text.push_str("\"/>\n");
    let times = [("timestamp", record.timestamp)];
    let sizes = [
        ("size", record.size_bytes),
        ("open-size", record.open_size_bytes),
        ("header-size", record.header_size_bytes),
        ("database_version", record.database_version),
    ];
    let texts = times.into_iter().filter_map(|(tag, time)| Some((tag, time?.to_string())));
    for (tag, value) in
        texts.chain(sizes.into_iter().filter_map(|(tag, size)| Some((tag, size?.to_string()))))
    {
        element(text, 4, tag, &value);
    }
    text.push_str("  </data>\n");
}

fn checksum(text: &mut String, tag: &str, checksum: &Checksum) {
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "    <{tag} type=\"{}\">{}</{tag}>", checksum.algorithm(), checksum.to_hex());
}

fn element(text: &mut String, indent: usize, tag: &str, value: &str) {
    let _ = write!(text, "{:indent$}<{tag}>", "");
    content(text, value);
    let _ = writeln!(text, "</{tag}>");
}
