//! The page that lists a directory: for people, and for programs that follow its links.
//!
//! Always true: every name is escaped, both as text and as address; lines are in byte order of the names; each
//! link is the name alone, relative, with a slash behind a directory's.

use std::fmt::Write as _;

use super::conditions::http_date;
use super::target::encode;

/// Names longer than this push the columns to the right.
const NAME_COLUMN: usize = 50;

/// One line of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) mtime: i64,
    /// The size of a file; none for a directory.
    pub(super) size_bytes: Option<u64>,
}

/// Writes the page of the directory at `path`, which ends with a slash.
pub(super) fn page(path: &str, lines: &[Line]) -> String {
    let mut html = String::with_capacity(256 + lines.len() * 160);
    html.push_str("<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>Index of ");
    escape(path, &mut html);
    html.push_str("</title></head>\n<body><h1>Index of ");
    escape(path, &mut html);
    html.push_str("</h1><hr><pre>");
    if path != "/" {
        html.push_str("<a href=\"../\">../</a>\n");
    }
    for line in lines {
        write_line(line, &mut html);
    }
    html.push_str("</pre><hr></body></html>\n");
    html
}

fn write_line(line: &Line, html: &mut String) {
    let slash = if line.size_bytes.is_none() { "/" } else { "" };
    html.push_str("<a href=\"");
    // A colon before the first slash would make what stands before it a scheme; it is encoded like quotes are.
    let mut address = String::new();
    encode(&line.name, &mut address);
    escape(&address, html);
    html.push_str(slash);
    html.push_str("\">");
    escape(&line.name, html);
    html.push_str(slash);
    html.push_str("</a>");
    let width = line.name.chars().count() + slash.len();
    let pad = NAME_COLUMN.saturating_sub(width).max(1);
    let size = line.size_bytes.map_or("-".to_owned(), |size| size.to_string());
    let _ = writeln!(html, "{:pad$}{} {size:>19}", "", short_date(line.mtime));
}

/// As web servers write it in such pages: `06-Nov-1994 08:49`.
fn short_date(second: i64) -> String {
    let date = http_date(second);
    // Sun, 06 Nov 1994 08:49:37 GMT
    let words: Vec<&str> = date.split([' ', ':']).collect();
    match words.as_slice() {
        [_, day, month, year, hour, minute, ..] => format!("{day}-{month}-{year} {hour}:{minute}"),
        _ => date,
    }
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, size_bytes: Option<u64>) -> Line {
        Line { name: name.to_owned(), mtime: 784_111_777, size_bytes }
    }

    #[test]
    fn a_page_has_a_line_for_every_name() {
        let html = page("/a/", &[line("dir", None), line("libstdc++-1~rc.rpm", Some(1234))]);
        let lines: Vec<&str> = html.lines().collect();
        assert_eq!(lines[1], "<html><head><meta charset=\"utf-8\"><title>Index of /a/</title></head>");
        assert_eq!(lines[2], "<body><h1>Index of /a/</h1><hr><pre><a href=\"../\">../</a>");
        let pad = |width: usize| " ".repeat(NAME_COLUMN - width);
        let dash = format!("{:>19}", "-");
        assert_eq!(lines[3], format!("<a href=\"dir/\">dir/</a>{}06-Nov-1994 08:49 {dash}", pad(4)));
        let name = "libstdc++-1~rc.rpm";
        let size = format!("{:>19}", 1234);
        assert_eq!(lines[4], format!("<a href=\"{name}\">{name}</a>{}06-Nov-1994 08:49 {size}", pad(18)));
        assert!(!page("/", &[]).contains("../"), "there is nothing above the top");
    }

    #[test]
    fn names_are_names_and_never_markup() {
        let hostile = "<script>alert('&\"x\"')</script>";
        let html = page(&format!("/{hostile}/"), &[line(hostile, Some(1)), line("javascript:x", Some(1))]);
        assert!(!html.contains("<script>") && !html.contains("alert('"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;&amp;&quot;x&quot;&#39;)&lt;/script&gt;"), "{html}");
        assert!(html.contains("href=\"javascript%3Ax\""), "{html}");
        let address = "%3Cscript%3Ealert(%27&amp;%22x%22%27)%3C/script%3E";
        assert!(html.contains(&format!("href=\"{address}\"")), "{html}");
    }
}
