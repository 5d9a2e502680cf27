//! Where in a configuration file something stands.

use toml::de::{DeTable, DeValue};
use toml::{Spanned, map::Map};

type Table<'t> = Map<Spanned<std::borrow::Cow<'t, str>>, Spanned<DeValue<'t>>>;

/// The line, from 1, of what `path` leads to: through tables by key, through lists by the text or the number of
/// an element; of two equal texts it is the second. Where it leads nowhere, the last thing before that counts.
pub(super) fn line_of(text: &str, path: &[impl AsRef<str>]) -> usize {
    let Ok(root) = DeTable::parse(text) else { return 1 };
    let mut steps = path.iter().map(AsRef::as_ref);
    let Some((mut at, mut value)) = steps.next().and_then(|key| entry(root.get_ref(), key)) else { return 1 };
    for step in steps {
        let next = match value.get_ref() {
            DeValue::Table(table) => entry(table, step),
            DeValue::Array(list) => {
                let by_text = list.iter().rev().find(|element| element.get_ref().as_str() == Some(step));
                let by_number = || step.parse().ok().and_then(|number: usize| list.get(number));
                by_text.or_else(by_number).map(|element| (element.span().start, element))
            }
            _ => None,
        };
        let Some(next) = next else { break };
        (at, value) = next;
    }
    line_at(text, at)
}

fn entry<'a, 't>(table: &'a Table<'t>, key: &str) -> Option<(usize, &'a Spanned<DeValue<'t>>)> {
    let (key, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    Some((key.span().start, value))
}

/// The line, from 1, of a place in bytes.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_through_tables_and_lists() {
        let text = "a = 1\n[\"t\".u]\nx = [\n 'p',\n 'q',\n 'p',\n]\n[[l]]\nk = 1\n[[l]]\nk = { d.e = 2,\n f = 3 }\n";
        for (path, line) in [
            (&["a"][..], 1),
            (&["t"], 2),
            (&["t", "u", "x"], 3),
            (&["t", "u", "x", "q"], 5),
            (&["t", "u", "x", "p"], 6),
            (&["l", "1", "k", "f"], 12),
            (&["l", "0", "k"], 9),
            (&["l", "1", "k", "d", "e"], 11),
            (&["t", "nowhere", "x"], 2),
            (&["nowhere"], 1),
        ] {
            assert_eq!(line_of(text, path), line, "{path:?}");
        }
        assert_eq!(line_of("[", &["a"]), 1);
    }
}
