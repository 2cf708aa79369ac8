//! What a request's target says: whom it is for, and its path. Users, passwords and values in either are secrets.
//!
//! Separators that are escaped (`%3F`) count like others: what they are part of may be a target itself.

use std::ops::Range;

/// Characters of a path that are kept.
pub(crate) const MOST_PATH: usize = 1024;

/// What stands in place of a secret.
const HIDDEN: &str = "…";

/// An authority without the user and password in front of it: all up to the last `@` (RFC 3986, section 3.2.1).
pub(crate) fn host(authority: &[u8]) -> &[u8] {
    authority.rsplit(|octet| *octet == b'@').next().unwrap_or(authority)
}

/// A host without the port that may stand behind it.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// The host of an absolute target (RFC 9112, section 3.2.2), and the path.
pub(crate) fn split(target: &str) -> (Option<&str>, &str) {
    let Some((scheme, rest)) = target.split_once("://") else { return (None, target) };
    if scheme.contains(['/', '?', '#']) {
        return (None, target);
    }
    let (_, rest) = rest.split_at_checked(userinfo(rest, false)).unwrap_or((rest, ""));
    let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, "/"), |at| rest.split_at(at));
    (Some(authority), path)
}

/// A path as it is told: without user and password behind any `//`, and with names and no values in its query, its fragment
/// and the parameters of its segments.
pub(crate) fn redacted(path: &str) -> String {
    let path = without_userinfo(path, path.chars().count() >= MOST_PATH);
    let behind = signs(&path, b"?#").next().unwrap_or(path.len()..path.len());
    let (path, sign, values) = around(&path, &behind);
    let segments: Vec<_> = path.split('/').map(without_parameters).collect();
    let values: Vec<_> = values.split('&').map(without_value).collect();
    format!("{}{sign}{}", segments.join("/"), values.join("&"))
}

/// A segment of a path whose parameters (RFC 3986, section 3.3) have no values.
fn without_parameters(segment: &str) -> String {
    let mut shown = String::new();
    let mut rest = segment;
    let mut is_parameter = false;
    loop {
        let end = signs(rest, b";").next();
        let (part, sign, others) = around(rest, end.as_ref().unwrap_or(&(rest.len()..rest.len())));
        shown.push_str(&if is_parameter { without_value(part) } else { part.to_string() });
        shown.push_str(sign);
        if end.is_none() {
            return shown;
        }
        (rest, is_parameter) = (others, true);
    }
}

/// A pair without its value. What has no name is a value itself.
fn without_value(pair: &str) -> String {
    let Some((name, value)) = pair.split_once('=') else {
        return if pair.is_empty() { String::new() } else { HIDDEN.to_string() };
    };
    let value = if value.is_empty() { "" } else { HIDDEN };
    match signs(name, b";?#").last() {
        // What comes before another separator is a value, as far as anybody knows.
        Some(sign) => {
            let (_, sign, name) = around(name, &sign);
            format!("{HIDDEN}{sign}{name}={value}")
        }
        None => format!("{name}={value}"),
    }
}

/// A path without the users and passwords of authorities in it: behind `//`, and at the front of what begins with no `/`.
fn without_userinfo(path: &str, is_cut: bool) -> String {
    let mut shown = String::new();
    let mut rest = path;
    if !path.starts_with('/') {
        rest = hide_userinfo(path, is_cut, &mut shown);
    }
    while let Some(slashes) = slashes_end(rest) {
        let (before, authority, _) = around(rest, &(slashes..rest.len()));
        shown.push_str(before);
        rest = hide_userinfo(authority, is_cut, &mut shown);
    }
    shown + rest
}

/// Adds what stands for user and password at the front of `text`, and gives the rest of it.
fn hide_userinfo<'t>(text: &'t str, is_cut: bool, shown: &mut String) -> &'t str {
    let (hidden, rest) = text.split_at_checked(userinfo(text, is_cut)).unwrap_or((text, ""));
    if !hidden.is_empty() {
        shown.push_str(HIDDEN);
        shown.push_str(hidden.get(hidden.len() - 1..).filter(|last| *last == "@").unwrap_or_default());
    }
    rest
}

/// Where two slashes or more end.
fn slashes_end(text: &str) -> Option<usize> {
    let (mut end, mut count) = (0, 0);
    for slash in signs(text, b"/") {
        match (slash.start == end, count) {
            (true, 1..) => count += 1,
            (false, 2..) => break,
            _ => count = 1,
        }
        end = slash.end;
    }
    (count > 1).then_some(end)
}

/// How many octets at the front of `text` are user and password, `@` included. An authority ends with the first separator;
/// where that leaves none that could be, the separator is a password's own, which goes up to the next `@`. Of a text that
/// `is_cut`, the `@` may be in what is not there.
fn userinfo(text: &str, is_cut: bool) -> usize {
    let end = signs(text, b"/?#").next().map_or(text.len(), |sign| sign.start);
    let (authority, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    if let Some(at) = signs(authority, b"@").last() {
        return at.end;
    }
    if is_authority(authority) && !(is_cut && rest.is_empty()) {
        return 0;
    }
    let none = if is_cut { text.len() } else { 0 };
    signs(rest, b"@").next().map_or(none, |at| end + at.end)
}

/// Whether this can be a host and a port.
fn is_authority(text: &str) -> bool {
    let behind = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((_, behind)) => behind,
        None => signs(text, b":").next().and_then(|colon| text.get(colon.start..)).unwrap_or_default(),
    };
    signs(behind, b":")
        .next()
        .map_or(behind.is_empty(), |colon| colon.start == 0 && behind.get(colon.end..).is_some_and(is_port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Where these signs stand in a text, as they are or escaped.
fn signs<'t>(text: &'t str, wanted: &'static [u8]) -> impl Iterator<Item = Range<usize>> + 't {
    let octets = text.as_bytes();
    octets.iter().enumerate().filter_map(move |(at, octet)| match octet {
        b'%' => {
            let digits = text.get(at + 1..at + 3)?;
            let escaped = u8::from_str_radix(digits, 16).ok()?;
            wanted.contains(&escaped).then_some(at..at + 3)
        }
        octet => wanted.contains(octet).then_some(at..at + 1),
    })
}

/// A text before, in and behind a range of it.
fn around<'t>(text: &'t str, range: &Range<usize>) -> (&'t str, &'t str, &'t str) {
    let part = |from, to| text.get(from..to).unwrap_or_default();
    (part(0, range.start), part(range.start, range.end), part(range.end, text.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_and_what_is_told_of_them() {
        for (target, host, path) in [
            ("http://host.lab/a", Some("host.lab"), "/a"),
            ("http://user:SECRET@host.lab:80", Some("host.lab:80"), "/"),
            ("http://user:SEC@RET@host.lab/a", Some("host.lab"), "/a"),
            ("http://user:SEC?RET@host.lab/a@b", Some("host.lab"), "/a@b"),
            ("http://user:SEC/RET@host.lab?x=1", Some("host.lab"), "?x=…"),
            ("http://SECRET@[2001:db8::1]:80#SECRET", Some("[2001:db8::1]:80"), "#…"),
            ("http://[2001:db8::1]/mail@a", Some("[2001:db8::1]"), "/mail@a"),
            ("/a?u=SECRET&b=&SECRET", None, "/a?u=…&b=&…"),
            ("/a?u=http://x/?t=SECRET", None, "/a?u=…"),
            ("/a?SECRET;t=SECRET", None, "/a?…;t=…"),
            ("/a#t=SECRET&SECRET", None, "/a#t=…&…"),
            ("/a?b=SECRET#t=SECRET", None, "/a?b=…"),
            ("/a;id=SECRET/b;SECRET;c=;;d=SECRET/e", None, "/a;id=…/b;…;c=;;d=…/e"),
            ("/a%3Bid=SECRET?x=SECRET", None, "/a%3Bid=…?x=…"),
            ("/a%3Ft=SECRET", None, "/a%3Ft=…"),
            ("/a%3ft%3DSECRET", None, "/a%3f…"),
            ("/a%3FSECRET?t=SECRET", None, "/a%3F…?t=…"),
            ("//user:SECRET@host.lab/x", None, "//…@host.lab/x"),
            ("///user:SECRET@host.lab/x", None, "///…@host.lab/x"),
            ("/p/http://user:SEC/RET@host.lab/x//SECRET@b", None, "/p/http://…@host.lab/x//…@b"),
            ("/p/http%3A%2F%2Fuser%3ASECRET%40host.lab%2Fx", None, "/p/http%3A%2F%2F…host.lab%2Fx"),
            ("user:SECRET@host.lab", None, "…@host.lab"),
            ("*", None, "*"),
            ("/p/http://host.lab:80/a@b", None, "/p/http://host.lab:80/a@b"),
            ("/npm//pack:age/1@2/ü", None, "/npm//…@2/ü"),
            ("//", None, "//"),
            ("", None, ""),
        ] {
            let (told, rest) = split(target);
            assert_eq!((told, redacted(rest).as_str()), (host, path), "{target}");
        }
        for (authority, name) in
            [("user:SECRET@host.lab:443", "host.lab"), ("SEC@RET@[::1]:80", "[::1]"), ("host.lab", "host.lab")]
        {
            let host = std::str::from_utf8(host(authority.as_bytes())).expect("it is text");
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn a_password_that_is_cut_off_is_hidden() {
        let path = format!("/{}//", "a".repeat(MOST_PATH - 10));
        for end in ["user:SE", "SECRETS", "us:SE/C"] {
            assert_eq!(redacted(&format!("{path}{end}")), format!("{path}…"));
        }
    }

    proptest! {
        /// Whatever is around them, a password and a value are not told.
        #[test]
        fn secrets_are_hidden(before in "/[a-z%/;?#=&é]{0,12}", name in "[a-z]{1,3}", behind in "[a-z%/;?#=&@:é]{0,12}") {
            for secret in [format!("//{name}:SECRET@host{behind}"), format!("?{name}=SECRET&{behind}")] {
                let shown = redacted(&format!("{before}{secret}"));
                prop_assert!(!shown.contains("SECRET"), "{}", shown);
            }
        }
    }
}
