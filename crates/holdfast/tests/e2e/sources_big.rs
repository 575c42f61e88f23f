//! Large directories.

use std::ffi::OsStr;
use std::fs::File;

use holdfast_demo::origin::IndexStyle;

use crate::origins::{serve, serve_plainly};
use crate::support::{Site, can_mount};

fn plant_many(site: &Site, count: usize) {
    let dir = site.source().join("big");
    std::fs::create_dir(&dir).expect("a directory");
    for number in 0..count {
        File::create(dir.join(format!("name {number:06}"))).expect("a file");
    }
}

#[test]
fn ten_thousand_entries_are_all_listed_once() {
    if !can_mount("ten_thousand_entries_are_all_listed_once") {
        return;
    }
    let site = Site::new();
    plant_many(&site, 10_000);
    for index in [IndexStyle::NginxJson, IndexStyle::ApacheHtml] {
        let origin = serve(&site, |config| config.index = index);
        site.mount(OsStr::new(&origin.url()), &[]);
        let mut names: Vec<_> = std::fs::read_dir(site.mount_point().join("big"))
            .expect("lists")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort_unstable();
        let expected: Vec<_> = (0..10_000)
            .map(|number| format!("name {number:06}"))
            .collect();
        assert!(names == expected, "{index:?}: {} names", names.len());
        site.umount();
    }
}

#[test]
fn h13_one_path_among_a_hundred_thousand_is_opened_without_listing_them() {
    let test = "h13_one_path_among_a_hundred_thousand_is_opened_without_listing_them";
    if !can_mount(test) {
        return;
    }
    let site = Site::new();
    plant_many(&site, 100_000);
    std::fs::write(site.source().join("big/name 077777"), b"this one").expect("a file");
    let origin = serve_plainly(&site);
    site.mount(OsStr::new(&origin.url()), &[]);
    let path = site.mount_point().join("big/name 077777");
    assert_eq!(std::fs::read(path).expect("reads"), b"this one");
    let stats = origin.stats();
    assert_eq!(stats.path(b"big/").body_bytes, 0, "listed");
    assert!(stats.requests() <= 10, "{:?}", stats.paths());
    assert!(stats.body_bytes() < 4096, "{:?}", stats.paths());
    site.umount();
}
