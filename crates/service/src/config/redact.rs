//! Values as they may be shown: without what looks like a password.

/// Masks the password of a URL, also of one that is not well-formed, and the values of `password=` parameters.
///
/// It rather masks too much: an error message about a URL goes to a log that more people read than may know the password.
///
/// ```
/// use service::config::redacted;
/// assert_eq!(redacted("postgres://ann:secret@db/blog"), "postgres://ann:***@db/blog");
/// assert_eq!(redacted("redis//:p@ss@cache:6379"), "redis//:***@cache:6379");
/// assert_eq!(redacted("127.0.0.1:8080"), "127.0.0.1:8080");
/// ```
#[must_use]
pub fn redacted(value: &str) -> String {
    masked_parameters(&masked_authority(value))
}

/// `scheme://user:password@host`: what stands between the first colon behind the scheme and the last `@`.
fn masked_authority(value: &str) -> String {
    let start = value.find("//").map_or(0, |slashes| slashes + 2);
    let (scheme, rest) = value.split_at(start);
    match rest.rfind('@') {
        Some(at) => {
            let (user, host) = rest.split_at(at);
            match user.find(':') {
                Some(colon) => format!("{scheme}{}:***{host}", &user[..colon]),
                None => value.to_owned(),
            }
        }
        // "scheme://user:password" whose "@host" was forgotten: what follows a colon there may only be a port.
        None if start > 0 => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            match authority.rsplit_once(':') {
                Some((host, port)) if !port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains('[') => {
                    let host = host.split(':').next().unwrap_or_default();
                    format!("{scheme}{host}:***{path}")
                }
                _ => value.to_owned(),
            }
        }
        None => value.to_owned(),
    }
}

/// `…?password=secret&…`, and libpq's `password=secret host=…`.
fn masked_parameters(value: &str) -> String {
    let mut shown = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(found) = rest.to_ascii_lowercase().find("password=") {
        let (before, from) = rest.split_at(found + "password=".len());
        let end = from.find(['&', ' ', '#']).unwrap_or(from.len());
        shown.push_str(before);
        shown.push_str("***");
        rest = &from[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_url_shows_its_password() {
        for (given, expected) in [
            ("postgres://u:secret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:se@cr:et/x@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres:/u:secret@h", "postgres:***@h"),
            ("u:secret@h", "u:***@h"),
            ("redis://:secret@h", "redis://:***@h"),
            ("postgres://u:secret/d", "postgres://u:***/d"),
            ("postgres://u:secret", "postgres://u:***"),
            ("postgres://h/d?user=u&password=secret&x=1", "postgres://h/d?user=u&password=***&x=1"),
            ("host=h Password=secret user=u", "host=h Password=*** user=u"),
            ("postgres://u@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://h:5432/d", "postgres://h:5432/d"),
            ("postgres://[::1]:5432/d", "postgres://[::1]:5432/d"),
            ("", ""),
        ] {
            assert_eq!(redacted(given), expected, "{given}");
            assert!(!redacted(given).contains("secret"));
        }
    }
}
