//! Conditional requests, in the order of RFC 9110, section 13.2.2.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};

/// The validators of the file that the request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// The whole header value: `"…"` or `W/"…"`.
    pub etag: Option<String>,
    /// To the second.
    pub last_modified: Option<SystemTime>,
}

/// What the conditions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on; honour `Range`.
    Proceed,
    /// Go on; ignore `Range`, because `If-Range` names another version.
    ProceedWhole,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions of a GET or HEAD.
pub(super) fn evaluate(headers: &HeaderMap, validators: &Validators) -> Verdict {
    if let Some(list) = text(headers, IF_MATCH) {
        if !matches_strongly(list, validators.etag.as_deref()) {
            return Verdict::PreconditionFailed;
        }
    } else if let (Some(limit), Some(modified)) =
        (time(headers, IF_UNMODIFIED_SINCE), validators.last_modified)
        && modified > limit
    {
        return Verdict::PreconditionFailed;
    }
    if let Some(list) = text(headers, IF_NONE_MATCH) {
        if matches_weakly(list, validators.etag.as_deref()) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) =
        (time(headers, IF_MODIFIED_SINCE), validators.last_modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    match text(headers, IF_RANGE) {
        Some(condition) if !range_still_valid(condition, validators) => Verdict::ProceedWhole,
        Some(_) | None => Verdict::Proceed,
    }
}

/// A time of a file cut to the second, as HTTP dates are.
pub(super) fn whole_seconds(time: SystemTime) -> SystemTime {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs())
}

fn range_still_valid(condition: &str, validators: &Validators) -> bool {
    let condition = condition.trim();
    if condition.starts_with('"') || condition.starts_with("W/") {
        matches_strongly(condition, validators.etag.as_deref())
    } else {
        httpdate::parse_http_date(condition)
            .ok()
            .is_some_and(|date| validators.last_modified == Some(date))
    }
}

fn matches_strongly(list: &str, etag: Option<&str>) -> bool {
    if list.trim() == "*" {
        return true;
    }
    etag.is_some_and(|etag| !etag.starts_with("W/") && tags(list).any(|tag| tag == etag))
}

fn matches_weakly(list: &str, etag: Option<&str>) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    etag.is_some_and(|etag| tags(list).any(|tag| opaque(tag) == opaque(etag)))
}

/// Our own entity tags hold no comma, so a list can be split at commas: a foreign tag cut by that matches nothing.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn time(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    text(headers, name).and_then(|value| httpdate::parse_http_date(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(etag: &str, sent: &[(HeaderName, &str)]) -> Verdict {
        let modified = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let headers = sent
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        evaluate(
            &headers,
            &Validators {
                etag: Some(etag.to_owned()),
                last_modified: Some(modified),
            },
        )
    }

    const EXACT: &str = "Sun, 09 Sep 2001 01:46:40 GMT";
    const EARLIER: &str = "Sun, 09 Sep 2001 01:46:39 GMT";

    #[test]
    fn if_match_is_strong() {
        assert_eq!(
            verdict("\"a\"", &[(IF_MATCH, "\"b\", \"a\"")]),
            Verdict::Proceed
        );
        assert_eq!(
            verdict("\"a\"", &[(IF_MATCH, "\"b\"")]),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            verdict("W/\"a\"", &[(IF_MATCH, "W/\"a\"")]),
            Verdict::PreconditionFailed
        );
        assert_eq!(verdict("\"a\"", &[(IF_MATCH, "*")]), Verdict::Proceed);
    }

    #[test]
    fn if_match_overrides_if_unmodified_since() {
        assert_eq!(
            verdict("\"a\"", &[(IF_UNMODIFIED_SINCE, EARLIER)]),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            verdict("\"a\"", &[(IF_UNMODIFIED_SINCE, EXACT)]),
            Verdict::Proceed
        );
        assert_eq!(
            verdict(
                "\"a\"",
                &[(IF_MATCH, "\"a\""), (IF_UNMODIFIED_SINCE, EARLIER)]
            ),
            Verdict::Proceed
        );
    }

    #[test]
    fn if_none_match_is_weak_and_overrides_if_modified_since() {
        assert_eq!(
            verdict("\"a\"", &[(IF_NONE_MATCH, "W/\"a\"")]),
            Verdict::NotModified
        );
        assert_eq!(
            verdict(
                "\"a\"",
                &[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, EXACT)]
            ),
            Verdict::Proceed
        );
        assert_eq!(
            verdict("\"a\"", &[(IF_MODIFIED_SINCE, EXACT)]),
            Verdict::NotModified
        );
        assert_eq!(
            verdict("\"a\"", &[(IF_MODIFIED_SINCE, EARLIER)]),
            Verdict::Proceed
        );
    }

    #[test]
    fn if_range_needs_the_same_version() {
        assert_eq!(verdict("\"a\"", &[(IF_RANGE, "\"a\"")]), Verdict::Proceed);
        assert_eq!(
            verdict("\"a\"", &[(IF_RANGE, "\"b\"")]),
            Verdict::ProceedWhole
        );
        assert_eq!(
            verdict("W/\"a\"", &[(IF_RANGE, "W/\"a\"")]),
            Verdict::ProceedWhole
        );
        assert_eq!(verdict("\"a\"", &[(IF_RANGE, EXACT)]), Verdict::Proceed);
        assert_eq!(
            verdict("\"a\"", &[(IF_RANGE, EARLIER)]),
            Verdict::ProceedWhole
        );
    }
}
