//! Which keys of the data an expression can read, found without parsing it.
//!
//! Whoever runs an expression elsewhere sends these keys and no others. The answer may name too many, never too few:
//! `input`, `data` or `variables` used in any way but `input.key` or `input['key']` means all of them.

use std::collections::HashSet;

/// The names of the scope that stand for many keys.
const ROOTS: [&str; 3] = ["input", "data", "variables"];

/// What an expression mentions.
#[derive(Debug)]
pub struct Mentions<'s> {
    source: &'s str,
    all: bool,
    words: HashSet<&'s str>,
}

impl<'s> Mentions<'s> {
    /// Looks through a source text.
    pub fn new(source: &'s str) -> Self {
        let words = words(source).map(|(_, word)| word).collect();
        // Python reads some letters as others: fullwidth ones as ASCII, for one.
        let all =
            !source.chars().all(is_itself) || behind_roots(source).any(|rest| !picks_one_key(rest));
        Self { source, all, words }
    }

    /// Whether the expression can read this key.
    pub fn includes(&self, key: &str) -> bool {
        self.all
            || self.words.contains(key)
            || (!key.chars().all(is_word) && self.source.contains(key))
    }
}

fn is_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// Whether Python reads a letter in a name as itself, with certainty: ASCII, and the accented letters of Latin-1.
fn is_itself(letter: char) -> bool {
    letter.is_ascii() || ('À'..='ÿ').contains(&letter)
}

/// The words of a text and where they end.
fn words(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .split(|letter| !is_word(letter))
        .filter(|word| !word.is_empty())
        .scan(0, move |from, word| {
            let at = source.get(*from..)?.find(word)? + *from;
            *from = at + word.len();
            Some((*from, word))
        })
}

/// What stands behind each mention of a root.
fn behind_roots(source: &str) -> impl Iterator<Item = &str> {
    words(source)
        .filter(|(_, word)| ROOTS.contains(word))
        .filter_map(|(end, _)| source.get(end..))
}

/// Whether a text goes on with `.key` that is not called, or `['key']`.
fn picks_one_key(rest: &str) -> bool {
    if let Some(key) = rest.strip_prefix('.') {
        let behind = key.trim_start_matches(is_word);
        return behind.len() < key.len() && !behind.trim_start().starts_with('(');
    }
    let Some(key) = rest.strip_prefix('[').map(str::trim_start) else {
        return false;
    };
    ['\'', '"'].iter().any(|quote| {
        key.strip_prefix(*quote)
            .and_then(|key| key.split_once(*quote))
            .is_some_and(|(key, behind)| {
                !key.is_empty()
                    && !key.contains(['$', '\\'])
                    && behind.trim_start().starts_with(']')
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mentioned_is_needed() {
        for (source, key, needed) in [
            ("value > 1", "value", true),
            ("value > 1", "val", false),
            ("input.value > 1", "value", true),
            ("input.value > 1", "other", false),
            ("input['http-1_output'].status", "http-1_output", true),
            ("input[ \"a\" ] + data.b", "other", false),
            ("${http-1_output.status}", "http-1_output", true),
            ("${data.name} == 'x'", "name", true),
            ("${data.name} == 'x'", "other", false),
            ("len(input)", "other", true),
            ("input.get('a')", "other", true),
            ("input.items ()", "other", true),
            ("input[key]", "other", true),
            ("input['a' + 'b']", "other", true),
            ("input['a' 'b']", "other", true),
            ("input['\\x61']", "a", true),
            ("input['${name}']", "other", true),
            ("[k for k in data]", "other", true),
            ("variables", "other", true),
            ("variables.a", "other", false),
            ("${input}", "other", true),
            ("ｖalue", "value", true),
            ("größe > 1", "größe", true),
            ("größe > 1", "other", false),
            ("'\\'' + input.a", "other", false),
        ] {
            assert_eq!(
                Mentions::new(source).includes(key),
                needed,
                "{source} {key}"
            );
        }
    }
}
