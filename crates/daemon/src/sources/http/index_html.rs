//! HTML directory indexes as nginx, Apache and their like write them.
//!
//! Names are taken from the links, since the texts are cut and re-encoded. Sizes and times are left alone: Apache
//! rounds sizes, nginx does when told to, and times may be local ones; a rounded size would truncate silently (H13).
//! So every file is listed with its size unknown and the reader's lookup asks for the exact one.
//!
//! Invariants: a page that does not call itself an index is refused, not taken for an empty directory; a page without
//! its end is refused.

use std::cell::RefCell;
use std::collections::HashSet;

use holdfast_proto::key::check_name;
use holdfast_proto::listing::{Entry, EntryKind};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};
use percent_encoding::percent_decode_str;
use url::Url;

/// How indexes call themselves (nginx and Apache; Python and others).
const TITLES: [&str; 2] = ["index of", "directory listing for"];

/// What the page's tokens told so far.
#[derive(Debug, Default)]
struct Page {
    links: Vec<String>,
    title: String,
    in_title: bool,
    ended: bool,
}

#[derive(Debug, Default)]
struct Sink(RefCell<Page>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut page = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => page.tag(&tag),
            Token::CharacterTokens(text) if page.in_title => page.title.push_str(&text),
            Token::CharacterTokens(_)
            | Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::NullCharacterToken
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

impl Page {
    fn tag(&mut self, tag: &Tag) {
        match (tag.kind, &*tag.name) {
            (TagKind::StartTag, "title") => self.in_title = true,
            (TagKind::EndTag, "title") => self.in_title = false,
            (TagKind::EndTag, "html") => self.ended = true,
            (TagKind::StartTag, "a") => {
                let href = tag
                    .attrs
                    .iter()
                    .find(|attribute| &*attribute.name.local == "href");
                self.links
                    .extend(href.map(|attribute| attribute.value.to_string()));
            }
            (TagKind::StartTag | TagKind::EndTag, _) => {}
        }
    }
}

/// The entries of the index found at `base` (after redirects).
///
/// # Errors
/// What is wrong with the page, in words.
pub(super) fn parse(document: &[u8], base: &Url) -> Result<Vec<Entry>, String> {
    let page = tokenize(document);
    let title = page.title.trim_start().to_ascii_lowercase();
    if !TITLES.iter().any(|known| title.starts_with(known)) {
        return Err("an HTML page that is no directory index".into());
    }
    if !page.ended {
        return Err("the index has no end: it was cut off".into());
    }
    let mut seen = HashSet::new();
    let entries = page.links.iter().filter_map(|link| entry(link, base));
    Ok(entries
        .filter(|entry| seen.insert(entry.name.clone()))
        .collect())
}

fn tokenize(document: &[u8]) -> Page {
    let queue = BufferQueue::default();
    // Texts that are not UTF-8 do not matter; the links are ASCII.
    queue.push_back(StrTendril::from(String::from_utf8_lossy(document).as_ref()));
    let tokenizer = Tokenizer::new(Sink::default(), TokenizerOpts::default());
    // The sink never asks to pause for a script, so one call consumes all.
    let _ = tokenizer.feed(&queue);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

/// The entry that a link leads to: exactly one name below `base`.
fn entry(link: &str, base: &Url) -> Option<Entry> {
    let url = base.join(link).ok()?;
    if url.origin() != base.origin() || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    let (path, kind) = match url.path().strip_suffix('/') {
        Some(path) => (path, EntryKind::Directory),
        None => (url.path(), EntryKind::File),
    };
    let (directory, name) = path.rsplit_once('/')?;
    if !decoded(directory).eq(&decoded(base.path().strip_suffix('/')?)) {
        return None;
    }
    let name = decoded(name);
    check_name(&name).ok()?;
    Some(Entry {
        name,
        kind,
        size: None,
        mode: None,
        mtime: None,
        validator: Vec::new(),
    })
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(document: &str) -> Vec<(Vec<u8>, EntryKind)> {
        let base = Url::parse("http://h/a%20b/").unwrap();
        parse(document.as_bytes(), &base)
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.kind))
            .collect()
    }

    #[test]
    fn nginx() {
        let page = "<html>\n<head><title>Index of /a b/</title></head>\n<body>\n<h1>Index of /a b/</h1><hr><pre><a href=\"../\">../</a>\n\
            <a href=\"sub%3Ax/\">sub:x/</a>  06-Nov-1994 08:49  -\n<a href=\"%FF%0A&amp;\">..&gt;</a> 06-Nov-1994 08:49 12K\n</pre><hr></body>\n</html>\n";
        assert_eq!(
            names(page),
            [
                (b"sub:x".to_vec(), EntryKind::Directory),
                (b"\xff\n&".to_vec(), EntryKind::File)
            ]
        );
    }

    #[test]
    fn apache_with_sort_links_absolute_links_and_doubles() {
        let page = "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html><head><title>Index of /a b</title></head><body>\
            <table><tr><th><a href=\"?C=N;O=D\">Name</a></th></tr><tr><td><a href=\"/\">Parent Directory</a></td></tr>\
            <tr><td><a href=\"one.txt\"><img src=\"i.gif\"></a> <a href=\"one.txt\">one.txt</a></td><td>1.2K</td></tr>\
            <tr><td><a href=\"/a%20b/two/\">two/</a></td></tr><tr><td><a href=\"http://other/a%20b/x\">x</a></td></tr>\
            <tr><td><a href=\"sub/deep\">deep</a></td></tr></table></body></html>";
        assert_eq!(
            names(page),
            [
                (b"one.txt".to_vec(), EntryKind::File),
                (b"two".to_vec(), EntryKind::Directory)
            ]
        );
    }

    #[test]
    fn pages_that_are_no_whole_index_are_refused() {
        let base = Url::parse("http://h/").unwrap();
        assert!(parse(b"<html><title>Welcome</title><a href=x>x</a></html>", &base).is_err());
        assert!(parse(b"<html><title>Index of /</title><a href=x>x</a>", &base).is_err());
    }
}
