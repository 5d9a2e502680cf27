//! Text as XML holds it.

/// What XML cannot hold at all.
pub(super) fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

/// Appends `value` as the content of an element.
pub(in super::super) fn content(text: &mut String, value: &str) {
    escaped(text, value, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        // Parsers make a line feed of it otherwise.
        '\r' => Some("&#13;"),
        c if is_forbidden(c) => Some("\u{fffd}"),
        _ => None,
    });
}

/// Appends `value` as the value of an attribute in double quotes.
pub(in super::super) fn attribute(text: &mut String, value: &str) {
    escaped(text, value, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '"' => Some("&quot;"),
        // Parsers make a space of these otherwise.
        '\n' => Some("&#10;"),
        '\t' => Some("&#9;"),
        '\r' => Some("&#13;"),
        c if is_forbidden(c) => Some("\u{fffd}"),
        _ => None,
    });
}

fn escaped(text: &mut String, value: &str, replacement: impl Fn(char) -> Option<&'static str>) {
    // Most of what is written needs nothing, and is one piece.
    let mut rest = value;
    while let Some((at, c, with)) = rest.char_indices().find_map(|(at, c)| Some((at, c, replacement(c)?))) {
        text.push_str(&rest[..at]);
        text.push_str(with);
        rest = &rest[at + c.len_utf8()..];
    }
    text.push_str(rest);
}
