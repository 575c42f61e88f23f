//! Programs that read: each on the mount and on the source, compared.

use super::{SPARSE_BYTES, in_mount, same_in_both, sample};
use crate::support::{Site, can_mount, has_program};

/// A mounted sample, or none when `programs` or mounts are not to be had.
fn mounted(test: &str, programs: &[&str]) -> Option<Site> {
    if !can_mount(test) || !programs.iter().all(|program| has_program(test, program)) {
        return None;
    }
    let site = Site::new();
    sample(&site.source());
    site.mount_dir(&[]);
    Some(site)
}

#[test]
fn find_sees_the_same_types_sizes_modes_and_times() {
    let Some(site) = mounted("find_sees_the_same_types_sizes_modes_and_times", &["find"]) else {
        return;
    };
    // A directory's own size is its file system's affair.
    same_in_both(
        &site,
        r"find . -mindepth 1 -printf '%P %y %m %T@ %l ' \( -type d -printf '\0' -o -printf '%s\0' \) | sort -z",
    );
    same_in_both(
        &site,
        "find . -type f -size +4096c -newermt 2000-01-01 -print0 | sort -z",
    );
    same_in_both(&site, "find . -xtype l -print0 | sort -z");
    site.umount();
}

#[test]
fn ls_du_and_diff_agree() {
    let Some(site) = mounted("ls_du_and_diff_agree", &["ls", "du", "diff"]) else {
        return;
    };
    // Without the numbers that belong to the file system: blocks, links and sizes of directories.
    same_in_both(
        &site,
        "ls -lR --time-style=full-iso | grep -v ^total | sed -E 's/^(d[^ ]+) +[0-9]+ ([^ ]+) +([^ ]+) +[0-9]+/\\1 \\2 \\3/; s/^([-l][^ ]+) +[0-9]+ +([^ ]+) +([^ ]+) +/\\1 \\2 \\3 /'",
    );
    same_in_both(
        &site,
        "find . -type f -print0 | sort -z | du --apparent-size -b --files0-from=- ",
    );
    in_mount(&site, "diff -r --no-dereference \"$SOURCE\" .");
    site.umount();
}

#[test]
fn the_comparison_by_diff_would_notice() {
    let Some(site) = mounted("the_comparison_by_diff_would_notice", &["diff"]) else {
        return;
    };
    in_mount(&site, "diff -r --no-dereference \"$SOURCE\" .");
    std::fs::write(site.source().join("sub/deeper/text"), "one needlf\nhay\n").expect("a file");
    in_mount(&site, "! diff -r --no-dereference \"$SOURCE\" .");
    site.umount();
}

#[test]
fn archives_of_both_are_the_same() {
    let Some(site) = mounted("archives_of_both_are_the_same", &["tar"]) else {
        return;
    };
    same_in_both(&site, "tar --sort=name -cf - * | sha256sum");
    same_in_both(
        &site,
        "tar --sort=name --format=posix --pax-option=delete=atime,delete=ctime -cf - * | sha256sum",
    );
    in_mount(
        &site,
        "tar -C \"$SOURCE\" -cf - sub modes empty sparse dangling | tar -df -",
    );
    site.umount();
}

#[test]
fn rsync_finds_nothing_to_copy() {
    let Some(site) = mounted("rsync_finds_nothing_to_copy", &["rsync"]) else {
        return;
    };
    let changes = "rsync -a --dry-run --checksum --delete --itemize-changes ./ \"$SOURCE\"/";
    let root_only: Vec<String> = in_mount(&site, changes)
        .lines()
        .map(str::to_owned)
        .collect();
    // The root answers for itself and does not know its origin's mode and time.
    assert!(
        root_only
            .iter()
            .all(|line| line.ends_with(" ./") && line.starts_with(".d..t")),
        "{root_only:?}"
    );
    assert_eq!(
        in_mount(
            &site,
            "rsync -a --dry-run --checksum --delete --itemize-changes sub modes empty sparse dangling \"$SOURCE\"/"
        ),
        ""
    );
    std::fs::write(site.source().join("modes/644"), "645").expect("a file");
    assert!(
        in_mount(&site, changes).contains("modes/644"),
        "the check sees nothing"
    );
    site.umount();
}

#[test]
fn copies_are_equal_and_sparse_ones_are_sparse() {
    let Some(site) = mounted(
        "copies_are_equal_and_sparse_ones_are_sparse",
        &["cp", "diff"],
    ) else {
        return;
    };
    in_mount(
        &site,
        "cp -a . \"$OUT\" && diff -r --no-dereference \"$SOURCE\" \"$OUT\" \
         && cp --sparse=always sparse \"$OUT/again\" && cmp \"$SOURCE/sparse\" \"$OUT/again\"",
    );
    use std::os::unix::fs::MetadataExt;
    let copy = site.path("out/again").metadata().expect("the copy");
    assert_eq!(copy.len(), SPARSE_BYTES);
    assert!(
        copy.blocks() * 512 < SPARSE_BYTES / 2,
        "{} blocks",
        copy.blocks()
    );
    same_in_both(&site, "cd modes && stat -c '%n %a %s %Y' *");
    site.umount();
}

#[test]
fn grep_finds_the_needle() {
    let Some(site) = mounted("grep_finds_the_needle", &["grep"]) else {
        return;
    };
    same_in_both(&site, "grep -r needle . | sort");
    same_in_both(&site, "grep -rlZ . . | sort -z");
    site.umount();
}

#[test]
fn git_works_on_a_mounted_checkout() {
    let test = "git_works_on_a_mounted_checkout";
    if !can_mount(test) || !has_program(test, "git") {
        return;
    }
    let site = Site::new();
    sample(&site.source());
    let git = "export GIT_OPTIONAL_LOCKS=0 GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null; \
               git() { command git -c safe.directory='*' -c user.name=n -c user.email=e@e \"$@\"; }";
    let made = super::shell(
        &site,
        &site.source(),
        &format!(
            "{git}; git init -q . && git add sub modes && git commit -q -m one && echo more >> sub/deeper/text && git commit -qam two && echo changed >> modes/600"
        ),
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    site.mount_dir(&[]);
    same_in_both(
        &site,
        &format!("{git}; git log --stat; git show HEAD~1:modes/755"),
    );
    same_in_both(&site, &format!("{git}; git status --porcelain; git diff"));
    same_in_both(
        &site,
        &format!("{git}; git fsck --strict; echo $?; git rev-parse HEAD"),
    );
    in_mount(
        &site,
        &format!(
            "{git}; git clone -q --no-hardlinks . \"$OUT\" && diff -r --exclude=.git --exclude=600 --exclude=empty --exclude=deepest --exclude=sparse --exclude=dangling . \"$OUT\""
        ),
    );
    site.umount();
}

#[test]
fn sqlite_reads_a_mounted_database() {
    let test = "sqlite_reads_a_mounted_database";
    if !can_mount(test) || !has_program(test, "sqlite3") {
        return;
    }
    let site = Site::new();
    let made = super::shell(
        &site,
        &site.source(),
        "sqlite3 db \"create table t(a integer primary key, b text); \
         with recursive n(i) as (select 1 union all select i+1 from n where i<20000) \
         insert into t select i, hex(i*i) from n; create index i on t(b);\"",
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    site.mount_dir(&[]);
    let query = "pragma integrity_check; select count(*), sum(a), min(b) from t; select a from t where b=hex(1234*1234);";
    same_in_both(&site, &format!("sqlite3 -readonly db '{query}'"));
    same_in_both(&site, &format!("sqlite3 'file:db?immutable=1' '{query}'"));
    in_mount(&site, "! sqlite3 db 'delete from t' 2>/dev/null");
    site.umount();
}

#[test]
fn executables_scripts_and_libraries_run_from_the_mount() {
    let test = "executables_scripts_and_libraries_run_from_the_mount";
    if !can_mount(test) || !has_program(test, "gcc") {
        return;
    }
    let site = Site::new();
    let made = super::shell(
        &site,
        &site.source(),
        "mkdir lib && echo 'int answer(void) { return 42; }' | gcc -shared -fPIC -x c -o lib/libanswer.so - \
         && printf '#include <stdio.h>\\nint answer(void); int main(void) { printf(\"%%d\\\\n\", answer()); }\\n' > m.c \
         && gcc -o program m.c -Llib -lanswer -Wl,-rpath,'$ORIGIN/lib' \
         && printf '#!/bin/sh\\nexec ./program\\n' > script && chmod +x script",
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    site.mount_dir(&[]);
    assert_eq!(in_mount(&site, "./program && ./script"), "42\n42\n");
    assert_eq!(
        in_mount(&site, "for i in $(seq 20); do ./program & done; wait")
            .lines()
            .count(),
        20
    );
    site.umount();
}
