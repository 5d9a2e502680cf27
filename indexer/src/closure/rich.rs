//! Rich dependencies: `(a and (b if c else d))`, from text to a tree.
//!
//! One pair of parentheses holds operands with one operator; `and`, `or` and `with` may be repeated, `else` may
//! follow `if` and `unless`. Names may hold balanced parentheses themselves: `libc.so.6()(64bit)`.

use crate::repodata::relation::Comparison;

/// Pairs of parentheses inside each other.
const DEPTH_MAX: usize = 32;

/// A name, perhaps with a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    /// The name or path.
    pub name: String,
    /// Which versions.
    pub comparison: Comparison,
    /// The version as written.
    pub evr: String,
}

/// A rich dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formula {
    /// Somebody provides it.
    Atom(Atom),
    /// All hold.
    And(Vec<Formula>),
    /// One holds.
    Or(Vec<Formula>),
    /// One package provides both.
    With(Box<Formula>, Box<Formula>),
    /// A package provides the first and not the second.
    Without(Box<Formula>, Box<Formula>),
    /// The first holds if the second does; else the third, where there is one.
    If(Box<Formula>, Box<Formula>, Option<Box<Formula>>),
    /// The first holds and the second does not; or, where there is a third, it and the second do.
    Unless(Box<Formula>, Box<Formula>, Option<Box<Formula>>),
}

/// Reads a rich dependency; `None` when it is none.
pub fn parse(text: &str) -> Option<Formula> {
    let mut rest = text;
    let formula = group(&mut rest, 0)?;
    rest.is_empty().then_some(formula)
}

fn group(rest: &mut &str, depth: usize) -> Option<Formula> {
    if depth == DEPTH_MAX {
        return None;
    }
    *rest = rest.strip_prefix('(')?;
    let first = operand(rest, depth)?;
    let Some(operator) = word(rest) else { return close(rest, first) };
    let second = operand(rest, depth)?;
    match operator {
        "and" | "or" | "with" => {
            let mut operands = vec![first, second];
            while let Some(again) = word(rest) {
                if again != operator {
                    return None;
                }
                operands.push(operand(rest, depth)?);
            }
            let all = match operator {
                "and" => Formula::And(operands),
                "or" => Formula::Or(operands),
                _ => {
                    let both = |a, b| Formula::With(Box::new(a), Box::new(b));
                    operands.into_iter().reduce(both)?
                }
            };
            close(rest, all)
        }
        "without" => close(rest, Formula::Without(Box::new(first), Box::new(second))),
        "if" | "unless" => {
            let third = match word(rest) {
                None => None,
                Some("else") => Some(Box::new(operand(rest, depth)?)),
                Some(_) => return None,
            };
            let (first, second) = (Box::new(first), Box::new(second));
            let formula = match operator {
                "if" => Formula::If(first, second, third),
                _ => Formula::Unless(first, second, third),
            };
            close(rest, formula)
        }
        _ => None,
    }
}

fn close(rest: &mut &str, formula: Formula) -> Option<Formula> {
    *rest = rest.trim_start_matches(' ').strip_prefix(')')?;
    Some(formula)
}

/// The operator that follows, if any.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches(' ');
    let end = text.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    *rest = &text[end..];
    Some(&text[..end])
}

fn operand(rest: &mut &str, depth: usize) -> Option<Formula> {
    *rest = rest.trim_start_matches(' ');
    if rest.starts_with('(') {
        return group(rest, depth + 1);
    }
    let name = token(rest)?.to_owned();
    let text = rest.trim_start_matches(' ');
    let end = text.find(|c: char| !"<>=".contains(c)).unwrap_or(text.len());
    if end == 0 {
        return Some(Formula::Atom(Atom { name, comparison: Comparison::ANY, evr: String::new() }));
    }
    let comparison = Comparison::of_sign(&text[..end])?;
    *rest = text[end..].trim_start_matches(' ');
    let evr = token(rest)?.to_owned();
    Some(Formula::Atom(Atom { name, comparison, evr }))
}

/// Up to a space, or to a parenthesis that was not opened in it.
fn token<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let mut open = 0_usize;
    let end = rest.find(|c: char| {
        match c {
            '(' => open += 1,
            ')' if open == 0 => return true,
            ')' => open -= 1,
            _ => {}
        }
        c == ' '
    });
    let (token, behind) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = behind;
    (!token.is_empty()).then_some(token)
}

impl Formula {
    /// Calls `visit` with every name in it.
    pub fn atoms<'a>(&'a self, visit: &mut dyn FnMut(&'a Atom)) {
        match self {
            Self::Atom(atom) => visit(atom),
            Self::And(all) | Self::Or(all) => all.iter().for_each(|one| one.atoms(visit)),
            Self::With(a, b) | Self::Without(a, b) => [a, b].into_iter().for_each(|one| one.atoms(visit)),
            Self::If(a, b, c) | Self::Unless(a, b, c) => {
                [Some(a), Some(b), c.as_ref()].into_iter().flatten().for_each(|one| one.atoms(visit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(formula: &Formula) -> String {
        let list = |all: &[Formula]| all.iter().map(shape).collect::<Vec<_>>().join(" ");
        let third = |c: &Option<Box<Formula>>| c.as_ref().map_or(String::new(), |c| format!(" {}", shape(c)));
        match formula {
            Formula::Atom(atom) => format!("{}{}{}", atom.name, atom.comparison, atom.evr),
            Formula::And(all) => format!("and[{}]", list(all)),
            Formula::Or(all) => format!("or[{}]", list(all)),
            Formula::With(a, b) => format!("with[{} {}]", shape(a), shape(b)),
            Formula::Without(a, b) => format!("without[{} {}]", shape(a), shape(b)),
            Formula::If(a, b, c) => format!("if[{} {}{}]", shape(a), shape(b), third(c)),
            Formula::Unless(a, b, c) => format!("unless[{} {}{}]", shape(a), shape(b), third(c)),
        }
    }

    #[test]
    fn rich_dependencies_are_read_and_what_is_none_is_refused() {
        let good = [
            ("(a and b and c)", "and[a b c]"),
            ("(a >= 1:2-3 or libc.so.6()(64bit))", "or[a>=1:2-3 libc.so.6()(64bit)]"),
            ("(a>=1 with a<2 with x)", "with[with[a>=1 a<2] x]"),
            ("((a without b) if c else (d unless /bin/sh))", "if[without[a b] c unless[d /bin/sh]]"),
            ("( a  or  b )", "or[a b]"),
            ("(a)", "a"),
            ("(config(x) = 1-1 or perl(A::B))", "or[config(x)=1-1 perl(A::B)]"),
        ];
        for (text, expected) in good {
            assert_eq!(parse(text).as_ref().map(shape).as_deref(), Some(expected), "{text}");
        }
        let deep = format!("{}a{}", "(".repeat(40), ")".repeat(40));
        for text in
            ["", "a", "()", "(a", "(a and)", "(a and b or c)", "(a b)", "(a if b if c)", "(a and b))", &deep]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
