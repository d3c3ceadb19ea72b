//! Who runs PostgreSQL: it refuses to run as root, so root hands it to an account without rights.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// An account of this machine that a child process shall run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name in `/etc/passwd`.
    pub name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account for a child that must not be root: `postgres`, else `nobody`; `None` where this process is not
    /// root itself, so that its children are not either.
    ///
    /// # Errors
    /// What could not be found out, as a sentence.
    pub fn instead_of_root() -> Result<Option<Self>, String> {
        let output = Command::new("id")
            .arg("-u")
            .output()
            .map_err(|error| format!("`id -u` could not be run: {error}"))?;
        if output.stdout.trim_ascii() != b"0" {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd")
            .map_err(|error| format!("/etc/passwd could not be read: {error}"))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find(&passwd, name))
            .map(Some)
            .ok_or_else(|| {
                "PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody"
                    .to_owned()
            })
    }

    /// Makes `command` run as this account.
    pub fn apply(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// The owner and the group, for `std::os::unix::fs::chown`.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

/// `name:password:uid:gid:…`
fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd =
            "postgres2:x:1:2::/:/bin/sh\nbroken\npostgres:x:101:104:admin:/var/lib:/bin/bash\n";
        let account = find(passwd, "postgres").expect("an account");
        assert_eq!(account.ids(), (101, 104));
        assert_eq!(find(passwd, "nobody"), None);
    }
}
