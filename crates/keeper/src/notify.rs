//! The text of a notification, sd_notify(3): one `VARIABLE=VALUE` per line.
//!
//! Parsed once, into [`Notification`]; what is not understood is skipped, as the protocol wants it.

/// Longest name of a stored descriptor, bytes (systemd's `FDNAME_MAX`).
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// The name of a descriptor stored without `FDNAME=` (sd_pid_notify_with_fds(3)).
pub(crate) const NAME_DEFAULT: &str = "stored";
/// Longest `STATUS=` that is kept, bytes.
const STATUS_BYTES_MAX: usize = 1024;

/// What a message asks to be done with the descriptor store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreRequest {
    /// Nothing; descriptors that came along are closed.
    None,
    /// `FDSTORE=1`: keep the descriptors that came along under this name.
    Keep(String),
    /// `FDSTOREREMOVE=1`: forget all descriptors of this name.
    Remove(String),
    /// The request names a descriptor in a way that the protocol does not allow; nothing is stored or removed.
    Malformed,
}

/// One thing that a process says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Report {
    /// `READY=1`.
    Ready,
    /// `STOPPING=1`.
    Stopping,
    /// `WATCHDOG=1`.
    Alive,
    /// `WATCHDOG=trigger`: the process asks to be treated as hung.
    Hung,
    /// `STATUS=…`, cut to 1 KiB.
    Status(String),
}

/// A parsed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    /// In the order of the message.
    pub(crate) reports: Vec<Report>,
    pub(crate) store: StoreRequest,
}

impl Notification {
    /// Parses a datagram. `None` if it is not UTF-8 or contains a NUL (as systemd refuses it).
    pub(crate) fn parse(datagram: &[u8]) -> Option<Notification> {
        let text = std::str::from_utf8(datagram)
            .ok()
            .filter(|text| !text.contains('\0'))?;
        let mut reports = Vec::new();
        let mut name = None;
        let mut keep = false;
        let mut remove = false;
        for (variable, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match (variable, value) {
                ("READY", "1") => reports.push(Report::Ready),
                ("STOPPING", "1") => reports.push(Report::Stopping),
                ("WATCHDOG", "1") => reports.push(Report::Alive),
                ("WATCHDOG", "trigger") => reports.push(Report::Hung),
                ("STATUS", status) => reports.push(Report::Status(cut(status))),
                ("FDSTORE", "1") => keep = true,
                ("FDSTOREREMOVE", "1") => remove = true,
                ("FDNAME", value) => name = Some(value),
                // BARRIER=1 needs nothing: the pipe end that came along is closed like every descriptor not stored, and
                // messages are handled in order. FDPOLL= has no meaning here: the keeper never looks into descriptors.
                _ => {}
            }
        }
        Some(Notification {
            reports,
            store: store_request(keep, remove, name),
        })
    }
}

fn store_request(keep: bool, remove: bool, name: Option<&str>) -> StoreRequest {
    match (keep, remove, name) {
        (false, false, _) => StoreRequest::None,
        (true, false, None) => StoreRequest::Keep(NAME_DEFAULT.to_owned()),
        (true, false, Some(name)) if is_valid_name(name) => StoreRequest::Keep(name.to_owned()),
        (false, true, Some(name)) if is_valid_name(name) => StoreRequest::Remove(name.to_owned()),
        (true, false, Some(_)) | (false, true, Some(_) | None) | (true, true, _) => {
            StoreRequest::Malformed
        }
    }
}

/// systemd's `fdname_is_valid`: printable ASCII without `:` (the separator of `$LISTEN_FDNAMES`). The empty name, which
/// systemd allows, is refused: a list of one empty name cannot be told from an empty list.
fn is_valid_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b':')
}

fn cut(status: &str) -> String {
    let mut end = status.len().min(STATUS_BYTES_MAX);
    while !status.is_char_boundary(end) {
        end -= 1;
    }
    status.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_of(text: &str) -> StoreRequest {
        Notification::parse(text.as_bytes())
            .expect("valid text")
            .store
    }

    #[test]
    fn reports_keep_their_order_and_the_unknown_is_skipped() {
        let parsed = Notification::parse(
            b"STATUS=half way\nX_OWN=1\nREADY=1\nREADY=0\nWATCHDOG=1\nSTOPPING=1\njunk",
        );
        let expected = vec![
            Report::Status("half way".into()),
            Report::Ready,
            Report::Alive,
            Report::Stopping,
        ];
        assert_eq!(
            parsed,
            Some(Notification {
                reports: expected,
                store: StoreRequest::None
            })
        );
    }

    #[test]
    fn store_requests() {
        assert_eq!(store_of("FDSTORE=1"), StoreRequest::Keep("stored".into()));
        assert_eq!(
            store_of("FDSTORE=1\nFDNAME=fuse 7\n"),
            StoreRequest::Keep("fuse 7".into())
        );
        assert_eq!(
            store_of("FDNAME=a\nFDSTOREREMOVE=1"),
            StoreRequest::Remove("a".into())
        );
        assert_eq!(store_of("FDNAME=a"), StoreRequest::None);
        for malformed in [
            "FDSTOREREMOVE=1",
            "FDSTORE=1\nFDNAME=a:b",
            "FDSTORE=1\nFDNAME=",
            "FDSTORE=1\nFDNAME=\u{e4}",
        ] {
            assert_eq!(store_of(malformed), StoreRequest::Malformed, "{malformed}");
        }
        assert_eq!(
            store_of(&format!("FDSTORE=1\nFDNAME={}", "n".repeat(256))),
            StoreRequest::Malformed
        );
    }

    #[test]
    fn what_is_no_text_is_refused_and_long_status_is_cut_at_a_character() {
        assert_eq!(Notification::parse(b"READY=1\0"), None);
        assert_eq!(Notification::parse(b"STATUS=\xff"), None);
        let long = format!("STATUS={}", "\u{20ac}".repeat(600));
        let Some(Notification { reports, .. }) = Notification::parse(long.as_bytes()) else {
            panic!("valid text")
        };
        assert_eq!(reports, [Report::Status("\u{20ac}".repeat(341))]);
    }
}
