//! Where PostgreSQL's programs are. Distributions keep them out of PATH, each in its own place.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::config::process_variable;

/// The programs that a cluster needs, in one directory.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Folders that hold one folder per version, and what follows the version.
const VERSIONED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // Red Hat, from postgresql.org
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
];

/// The directory of the programs: `given` if there is one, else the first of PATH, the usual places (the newest
/// version first) and what `pg_config` says. The error is where it was looked.
pub(super) fn find(given: Option<&Path>) -> Result<PathBuf, Vec<PathBuf>> {
    let candidates = match given {
        Some(directory) => vec![directory.to_owned()],
        None => candidates(),
    };
    candidates
        .iter()
        .find_map(|directory| complete(directory))
        .ok_or(candidates)
}

/// The directory itself, or the one that its symbolic links lead to: the programs look for each other beside them.
fn complete(directory: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(directory.join("initdb")).ok()?;
    let directory = real.parent()?;
    PROGRAMS
        .iter()
        .all(|program| directory.join(program).is_file())
        .then(|| directory.to_owned())
}

fn candidates() -> Vec<PathBuf> {
    let path = process_variable("PATH").unwrap_or_default();
    let mut found: Vec<PathBuf> = env::split_paths(&path).collect();
    for (parent, prefix, below) in VERSIONED {
        found.extend(
            versions(Path::new(parent), prefix)
                .into_iter()
                .map(|directory| directory.join(below)),
        );
    }
    found.extend(pg_config());
    found
}

/// The folders of `parent` that are named `prefix` and a version, the newest first.
fn versions(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name
                .to_str()?
                .strip_prefix(prefix)?
                .split('.')
                .next()?
                .parse()
                .ok()?;
            Some((version, entry.path()))
        })
        .collect();
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().map(|(_, directory)| directory).collect()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim())).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_are_found_without_being_told_where() {
        let directory = find(None).expect("PostgreSQL is installed where the tests run");
        assert!(
            PROGRAMS
                .iter()
                .all(|program| directory.join(program).is_file()),
            "{}",
            directory.display()
        );
    }

    #[test]
    fn a_given_directory_is_not_silently_replaced_by_another() {
        assert_eq!(
            find(Some(Path::new("/nowhere"))),
            Err(vec![PathBuf::from("/nowhere")])
        );
    }
}
