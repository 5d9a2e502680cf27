//! A changelog as a page of its own, without scripts or anything from elsewhere.

use std::fmt::Write;

use super::text::{day, size};
use super::{Build, Change, Changelog, Image};

/// The page.
pub fn html(log: &Changelog) -> String {
    let title = escape(&format!("{} to {}", log.old, log.new));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif}}td,th{{text-align:left;vertical-align:top;padding:0 1em 0 0}}</style>\n\
         </head><body>\n<h1>{title}</h1>\n"
    );
    for (title, images) in [("Added images", &log.added_images), ("Dropped images", &log.dropped_images)] {
        let row = |image: &Image| vec![image.path.clone(), size(image.size_bytes)];
        table(&mut out, title, &["Path", "Size"], images.iter().map(row));
    }
    for (title, builds) in [("Added packages", &log.added), ("Dropped packages", &log.dropped)] {
        let row = |build: &Build| {
            let names: Vec<&str> = build.names.iter().map(String::as_str).collect();
            vec![build.nvr(), build.summary.clone(), names.join(" "), size(build.size_bytes())]
        };
        table(&mut out, title, &["Package", "Summary", "RPMs", "Size"], builds.iter().map(row));
    }
    for (title, changes) in [("Upgraded packages", &log.upgraded), ("Downgraded packages", &log.downgraded)] {
        let row = |change: &Change| {
            let entry = |entry: &crate::repodata::other::Entry| {
                format!("* {} {}\n{}", day(entry.time), entry.author, entry.text)
            };
            let entries: Vec<String> = change.entries.iter().map(entry).collect();
            let (old, new) = change.titles();
            vec![new, old, size(change.new.size_bytes()), entries.join("\n")]
        };
        table(&mut out, title, &["Package", "Before", "Size", "Changelog"], changes.iter().map(row));
    }
    let moves = log.moved.iter().map(|one| {
        let list = |set: &std::collections::BTreeSet<String>| {
            set.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        vec![one.build.nvr(), list(&one.from), list(&one.build.repositories)]
    });
    table(&mut out, "Moved packages", &["Package", "From", "To"], moves);
    out + "</body></html>\n"
}

fn table(out: &mut String, title: &str, heads: &[&str], rows: impl ExactSizeIterator<Item = Vec<String>>) {
    let _ = writeln!(out, "<h2>{title}: {}</h2>", rows.len());
    if rows.len() == 0 {
        return;
    }
    out.push_str("<table><tr>");
    heads.iter().for_each(|head| out.extend(["<th>", head, "</th>"]));
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in &row {
            out.extend(["<td>", &escape(cell).replace('\n', "<br>"), "</td>"]);
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
