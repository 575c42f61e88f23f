//! Directory indexes as nginx's autoindex and Apache's mod_autoindex write them.
//!
//! Differences to the models, on purpose: names that begin with a dot are listed, and Apache's table has no icons. Names are
//! raw bytes in the JSON and in the visible text of the HTML, percent-encoded in `href`.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::IndexStyle;
use super::path::encode_name;
use super::resource::{modified, size_bytes};

/// Where nginx cuts a name in the visible text (`NGX_HTTP_AUTOINDEX_NAME_LEN`).
const NGINX_NAME_CHARS: usize = 50;

#[derive(Debug)]
struct IndexEntry {
    name: Vec<u8>,
    kind: Kind,
    modified: SystemTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Directory,
    File { size_bytes: u64 },
    Other,
}

/// A document, and what kind.
#[derive(Debug)]
pub(super) struct Document {
    pub body: Vec<u8>,
    pub content_type: &'static str,
}

/// Writes the index of an open directory; `None` when the style is to have none. `title` is the decoded request path. Blocks as
/// long as the file system does.
pub(super) fn write(
    style: IndexStyle,
    directory: &OwnedFd,
    title: &[u8],
) -> Result<Option<Document>, Errno> {
    const HTML: &str = "text/html;charset=utf-8";
    let document = match style {
        IndexStyle::Disabled => return Ok(None),
        IndexStyle::NginxJson => Document {
            body: nginx_json(&read(directory)?),
            content_type: "application/json",
        },
        IndexStyle::NginxHtml => Document {
            body: nginx_html(&read(directory)?, title),
            content_type: HTML,
        },
        IndexStyle::ApacheHtml => Document {
            body: apache_html(&read(directory)?, title),
            content_type: HTML,
        },
    };
    Ok(Some(document))
}

/// All entries, directories first, each kind by name, as nginx sorts them.
fn read(directory: &OwnedFd) -> Result<Vec<IndexEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        // As nginx: what a link leads to; the link itself when it leads nowhere.
        let stat = match rustix::fs::statat(directory, name, AtFlags::empty()) {
            Err(Errno::NOENT | Errno::LOOP) => {
                rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            }
            other => other,
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue, // removed meanwhile
            Err(error) => return Err(error),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File {
                size_bytes: size_bytes(&stat),
            },
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        };
        entries.push(IndexEntry {
            name: name.to_vec(),
            kind,
            modified: modified(&stat),
        });
    }
    entries.sort_by(|a, b| {
        (a.kind != Kind::Directory, &a.name).cmp(&(b.kind != Kind::Directory, &b.name))
    });
    Ok(entries)
}

fn nginx_json(entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = b"[".to_vec();
    for (number, entry) in entries.iter().enumerate() {
        out.extend_from_slice(if number == 0 {
            b"\n{ \"name\":\""
        } else {
            b",\n{ \"name\":\""
        });
        push_json_escaped(&mut out, &entry.name);
        let (kind, size) = match entry.kind {
            Kind::Directory => ("directory", String::new()),
            Kind::File { size_bytes } => ("file", format!(", \"size\":{size_bytes}")),
            Kind::Other => ("other", String::new()),
        };
        let date = httpdate::fmt_http_date(entry.modified);
        out.extend_from_slice(
            format!("\", \"type\":\"{kind}\", \"mtime\":\"{date}\"{size} }}").as_bytes(),
        );
    }
    out.extend_from_slice(b"\n]\n");
    out
}

fn nginx_html(entries: &[IndexEntry], title: &[u8]) -> Vec<u8> {
    let mut out = b"<html>\r\n<head><title>Index of ".to_vec();
    push_html_escaped(&mut out, title);
    out.extend_from_slice(b"</title></head>\r\n<body>\r\n<h1>Index of ");
    push_html_escaped(&mut out, title);
    out.extend_from_slice(b"</h1><hr><pre><a href=\"../\">../</a>\r\n");
    for entry in entries {
        let slash = if entry.kind == Kind::Directory {
            "/"
        } else {
            ""
        };
        out.extend_from_slice(
            format!("<a href=\"{}{slash}\">", encode_name(&entry.name)).as_bytes(),
        );
        let mut shown = entry.name.clone();
        shown.extend_from_slice(slash.as_bytes());
        let chars = String::from_utf8_lossy(&shown).chars().count();
        if chars > NGINX_NAME_CHARS {
            shown = String::from_utf8_lossy(&shown)
                .chars()
                .take(NGINX_NAME_CHARS - 3)
                .collect::<String>()
                .into_bytes();
            push_html_escaped(&mut out, &shown);
            out.extend_from_slice(b"..&gt;</a>");
        } else {
            push_html_escaped(&mut out, &shown);
            out.extend_from_slice(b"</a>");
            out.resize(out.len() + NGINX_NAME_CHARS - chars, b' ');
        }
        let size = match entry.kind {
            Kind::File { size_bytes } => size_bytes.to_string(),
            Kind::Directory | Kind::Other => "-".to_owned(),
        };
        let Date {
            day,
            month,
            year,
            hour,
            minute,
        } = Date::of(entry.modified);
        out.extend_from_slice(
            format!(" {day}-{month}-{year} {hour}:{minute} {size:>19}\r\n").as_bytes(),
        );
    }
    out.extend_from_slice(b"</pre><hr></body>\r\n</html>\r\n");
    out
}

fn apache_html(entries: &[IndexEntry], title: &[u8]) -> Vec<u8> {
    let mut out = b"<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n <head>\n  <title>Index of ".to_vec();
    push_html_escaped(&mut out, title);
    out.extend_from_slice(b"</title>\n </head>\n <body>\n<h1>Index of ");
    push_html_escaped(&mut out, title);
    out.extend_from_slice(
        b"</h1>\n  <table>\n   <tr><th><a href=\"?C=N;O=D\">Name</a></th><th><a href=\"?C=M;O=A\">Last modified</a></th>\
          <th><a href=\"?C=S;O=A\">Size</a></th><th><a href=\"?C=D;O=A\">Description</a></th></tr>\n\
          <tr><td><a href=\"../\">Parent Directory</a></td><td>&nbsp;</td><td align=\"right\">  - </td><td>&nbsp;</td></tr>\n",
    );
    for entry in entries {
        let slash = if entry.kind == Kind::Directory {
            "/"
        } else {
            ""
        };
        out.extend_from_slice(
            format!("<tr><td><a href=\"{}{slash}\">", encode_name(&entry.name)).as_bytes(),
        );
        push_html_escaped(&mut out, &entry.name);
        let size = match entry.kind {
            Kind::File { size_bytes } => apache_size(size_bytes),
            Kind::Directory | Kind::Other => "  - ".to_owned(),
        };
        let Date {
            day,
            month,
            year,
            hour,
            minute,
        } = Date::of(entry.modified);
        let month = MONTHS.iter().position(|name| *name == month).unwrap_or(0) + 1;
        let columns = format!(
            "{slash}</a></td><td align=\"right\">{year}-{month:02}-{day} {hour}:{minute}  </td>\
             <td align=\"right\">{size}</td><td>&nbsp;</td></tr>\n"
        );
        out.extend_from_slice(columns.as_bytes());
    }
    out.extend_from_slice(b"</table>\n</body></html>\n");
    out
}

/// A size as Apache shows it: at most three characters and a unit, so that most sizes are rounded.
fn apache_size(size_bytes: u64) -> String {
    if size_bytes < 973 {
        return format!("{size_bytes:>3} ");
    }
    let mut tenths = u128::from(size_bytes) * 10;
    for unit in ["K", "M", "G", "T", "P", "E"] {
        let rounded_tenths = (tenths + 512) / 1024;
        if rounded_tenths < 100 {
            return format!("{}.{}{unit}", rounded_tenths / 10, rounded_tenths % 10);
        }
        if rounded_tenths < 9730 {
            return format!("{:>3}{unit}", (rounded_tenths + 5) / 10);
        }
        tenths /= 1024;
    }
    unreachable!("2^64 bytes are 16E, which the last unit holds")
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The parts of an HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`).
struct Date {
    day: String,
    month: String,
    year: String,
    hour: String,
    minute: String,
}

impl Date {
    fn of(time: SystemTime) -> Self {
        let text = httpdate::fmt_http_date(time.max(UNIX_EPOCH));
        let part = |range: std::ops::Range<usize>| text[range].to_owned();
        Self {
            day: part(5..7),
            month: part(8..11),
            year: part(12..16),
            hour: part(17..19),
            minute: part(20..22),
        }
    }
}

fn push_json_escaped(out: &mut Vec<u8>, name: &[u8]) {
    for &byte in name {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                let mut escaped = String::new();
                write!(escaped, "\\u{byte:04x}").expect("writing to a String cannot fail");
                out.extend_from_slice(escaped.as_bytes());
            }
            _ => out.push(byte),
        }
    }
}

fn push_html_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h13_apache_rounds_sizes() {
        let cases = [
            (0, "  0 "),
            (972, "972 "),
            (1024, "1.0K"),
            (1075, "1.0K"),
            (1076, "1.1K"),
            (10 * 1024, " 10K"),
            (100_000, " 98K"),
            (64 << 20, " 64M"),
            (5 << 30, "5.0G"),
            (u64::MAX, " 16E"),
        ];
        for (size_bytes, shown) in cases {
            assert_eq!(apache_size(size_bytes), shown, "{size_bytes}");
        }
    }

    #[test]
    fn json_escapes_what_must_be() {
        let mut out = Vec::new();
        push_json_escaped(&mut out, b"a\"b\\c\nd\xff");
        assert_eq!(out, b"a\\\"b\\\\c\\u000ad\xff");
    }
}
