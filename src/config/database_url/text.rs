//! Cuts the text of a URL into its parts (pure).
//!
//! A password that is typed as it is makes the text ambiguous. The reading that is taken:
//!
//! 1. The parameters begin at the first `?` after which only parameters that PostgreSQL knows follow, provided that
//!    what stands before it is a URL. So `h/db?application_name=x@y` has a parameter with an `@`.
//! 2. Otherwise everything up to the **last** `@` is user and password, and the parameters begin at the first `?`
//!    after it. So `u:a:b/c?d#e@h` has the password `a:b/c?d#e`.
//! 3. The user ends at the first `:`.
//!
//! Percent-encoding is decoded; a `%` that begins no valid sequence stays as it is typed.

use std::net::Ipv6Addr;

use super::DatabaseUrlError;
use super::parameters::is_known;

/// The parts as the URL has them, decoded.
pub(super) struct Parts {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Names with their ports; empty where the URL leaves the host to `?host=`.
    pub(super) hosts: Vec<(String, Option<u16>)>,
    pub(super) dbname: Option<String>,
    pub(super) query: Vec<(String, String)>,
}

pub(super) fn cut(text: &str) -> Result<Parts, DatabaseUrlError> {
    let (scheme, rest) = text
        .trim()
        .split_once("://")
        .ok_or(DatabaseUrlError::Scheme)?;
    let base = scheme
        .split('+')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if base != "postgres" && base != "postgresql" {
        return Err(DatabaseUrlError::Scheme);
    }
    let by_parameters = rest
        .match_indices('?')
        .filter_map(|(at, _)| rest.split_at_checked(at))
        .map(|(main, query)| (main, query.trim_start_matches('?')))
        .filter(|(_, query)| all_known(query))
        .find_map(|(main, query)| cut_main(main, query).ok());
    if let Some(parts) = by_parameters {
        return Ok(parts);
    }
    let after_user = rest.rfind('@').map_or(0, |at| at + 1);
    let query_at = rest
        .get(after_user..)
        .and_then(|tail| tail.find('?'))
        .map_or(rest.len(), |at| after_user + at);
    let (main, query) = rest.split_at_checked(query_at).unwrap_or((rest, ""));
    cut_main(main, query.trim_start_matches('?'))
}

/// `[user[:password]@]hosts[/dbname]`, and the query beside it.
fn cut_main(main: &str, query: &str) -> Result<Parts, DatabaseUrlError> {
    let (userinfo, place) = match main.rsplit_once('@') {
        Some((userinfo, place)) => (Some(userinfo), place),
        None => (None, main),
    };
    let (user, password) = match userinfo.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        Some((user, password)) => (some_decoded(user), some_decoded(password)),
        None => (None, None),
    };
    let (hosts, dbname) = place.split_once('/').unwrap_or((place, ""));
    let hosts = match hosts {
        "" => Vec::new(),
        list => list
            .split(',')
            .map(host_and_port)
            .collect::<Result<_, _>>()?,
    };
    Ok(Parts {
        user,
        password,
        hosts,
        dbname: some_decoded(dbname),
        query: pairs(query),
    })
}

fn host_and_port(text: &str) -> Result<(String, Option<u16>), DatabaseUrlError> {
    // The `:` before the port is the one after the bracket of an IPv6 address.
    let name_ends = text.find(']').map_or(0, |at| at + 1);
    let colon = text
        .get(name_ends..)
        .and_then(|tail| tail.find(':'))
        .map(|at| name_ends + at);
    let (name, port) = match colon.and_then(|at| text.split_at_checked(at)) {
        Some((name, port)) => (name, Some(port.trim_start_matches(':'))),
        None => (text, None),
    };
    let name = decoded(name);
    let name = if name.starts_with('/') {
        Some(name)
    } else {
        host_name(&name)
    };
    let port = match port {
        None | Some("") => None,
        Some(port) => Some(parse_port(port).ok_or(DatabaseUrlError::BadPort)?),
    };
    Ok((name.ok_or(DatabaseUrlError::BadHost)?, port))
}

/// A host name, an IPv4 or an IPv6 address, the latter without its brackets. `None` where it cannot be one.
pub(super) fn host_name(text: &str) -> Option<String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some(bare.to_owned());
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!text.is_empty() && text.chars().all(is_name)).then(|| text.to_owned())
}

pub(super) fn parse_port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

fn all_known(query: &str) -> bool {
    !query.is_empty()
        && query
            .split('&')
            .all(|pair| pair.split_once('=').is_some_and(|(name, _)| is_known(name)))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn some_decoded(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| decoded(text))
}

/// Percent-decoded; as typed where that gives no UTF-8.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match tail {
            [high, low, after @ ..] if *first == b'%' => {
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) {
                    bytes.push(high * 16 + low);
                    rest = after;
                    continue;
                }
                bytes.push(*first);
            }
            _ => bytes.push(*first),
        }
        rest = tail;
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
