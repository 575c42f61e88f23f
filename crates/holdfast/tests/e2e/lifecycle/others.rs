//! Surroundings that are not the plain ones: other users, odd names, a cache that is swept away.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::{cat, nothing_is_left, one_file};
use crate::support::{can_mount, has_program, noise};

#[test]
fn directories_of_any_name_are_mounted() {
    if !can_mount("directories_of_any_name_are_mounted") {
        return;
    }
    for name in [
        &b"with space"[..],
        b"new\nline",
        b"not utf-8 \xff",
        b"back\\slash\t",
        b"-l",
        b"comma,equals=",
    ] {
        let site = one_file();
        let dir = site
            .path("run")
            .parent()
            .expect("a parent")
            .join(OsStr::from_bytes(name));
        std::fs::create_dir(&dir).expect("a directory");
        let output = site
            .holdfast()
            .args(["mount", "--idle-exit", "1s", "--cache-dir"])
            .arg(site.cache())
            .arg(format!("dir:{}", site.source().display()))
            .arg(&dir)
            .output()
            .expect("holdfast runs");
        assert!(output.status.success(), "{output:?}");
        let read = std::fs::read(dir.join("file"));
        let mounts = site.instances()[0]["mounts"][0].clone();
        let output = site.holdfast().arg("umount").arg("--").arg(&dir).output();
        assert!(output.expect("holdfast runs").status.success(), "{dir:?}");
        assert_eq!(read.expect("reads"), b"content", "{dir:?}");
        match dir.to_str() {
            Some(text) => assert_eq!(mounts["dir"], text),
            None => assert_eq!(
                mounts["dir_bytes"],
                serde_json::json!(dir.as_os_str().as_bytes())
            ),
        }
        nothing_is_left(&site);
    }
}

#[test]
fn the_kernel_reads_ahead_further_than_by_default() {
    let test = "the_kernel_reads_ahead_further_than_by_default";
    if !can_mount(test) {
        return;
    }
    let site = one_file();
    site.mount_dir(&[]);
    let device = rustix::fs::stat(site.mount_point())
        .expect("the root")
        .st_dev;
    let path = format!(
        "/sys/class/bdi/0:{}/read_ahead_kb",
        rustix::fs::minor(device)
    );
    let read_ahead_kb = std::fs::read_to_string(path);
    site.umount();
    assert_eq!(read_ahead_kb.expect("sysfs").trim(), "1024");
}

#[test]
fn a_cache_swept_away_under_an_instance_is_built_again() {
    if !can_mount("a_cache_swept_away_under_an_instance_is_built_again") {
        return;
    }
    let site = one_file();
    for number in 0..5 {
        std::fs::write(
            site.source().join(format!("{number}")),
            noise(number, 200_000),
        )
        .expect("a file");
    }
    site.mount_dir(&[]);
    assert_eq!(
        std::fs::read(site.mount_point().join("0")).expect("reads"),
        noise(0, 200_000)
    );
    for entry in std::fs::read_dir(site.cache()).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).expect("removes");
        } else {
            std::fs::remove_file(path).expect("removes");
        }
    }
    for number in 0..5 {
        let read = std::fs::read(site.mount_point().join(format!("{number}")));
        assert!(
            read.as_ref()
                .is_ok_and(|bytes| *bytes == noise(number, 200_000)),
            "{number}: {:?}\n{}",
            read.err(),
            site.log()
        );
    }
    site.umount();
    site.mount_dir(&[]);
    assert_eq!(
        std::fs::read(site.mount_point().join("4")).expect("reads"),
        noise(4, 200_000)
    );
    site.umount();
    nothing_is_left(&site);
}

/// A user without privileges, in a mount namespace whose `/dev/fuse` is open to all.
#[test]
fn a_user_without_privileges_mounts_through_fusermount3() {
    let test = "a_user_without_privileges_mounts_through_fusermount3";
    if !can_mount(test)
        || !["fusermount3", "setpriv", "unshare", "mknod"]
            .iter()
            .all(|program| has_program(test, program))
    {
        return;
    }
    let site = one_file();
    let script = r#"
        mkdir -p "$SITE/user" && chmod 755 "$SITE" "$SITE/source"
        mount --make-rprivate /
        mount -t tmpfs tmpfs "$SITE/user" && mknod -m 666 "$SITE/user/fuse" c 10 229 || exit 42
        cp "$HOLDFAST" "$SITE/user/holdfast" && mount --bind "$SITE/user/fuse" /dev/fuse || exit 42
        for dir in run cache mount; do mkdir -m 700 "$SITE/user/$dir" && chown 65534:65534 "$SITE/user/$dir"; done
        cat > "$SITE/user/script" <<'END'
            cd "$SITE/user"
            export HOLDFAST_RUN_DIR=$PWD/run HOME=$PWD
            ./holdfast mount --idle-exit 1s --cache-dir cache --log run/log "dir:$SITE/source" mount || { cat run/log; exit 1; }
            cat mount/file && stat -c '%u:%g' mount/file && ./holdfast umount mount || exit 1
            for i in $(seq 600); do [ "$(./holdfast status --json | tr -d ' \n')" = '{"instances":[]}' ] && exit 0; sleep 0.1; done
            exit 1
END
        setpriv --reuid 65534 --regid 65534 --clear-groups bash "$SITE/user/script"
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "bash", "-c", script])
        .env("SITE", site.path("source").parent().expect("a parent"))
        .env("HOLDFAST", env!("CARGO_BIN_EXE_holdfast"))
        .output()
        .expect("unshare runs");
    if output.status.code() == Some(42) {
        use std::io::Write;
        let _ = writeln!(
            std::io::stderr(),
            "skipped: {test}: no /dev/fuse for users can be made"
        );
        return;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(output.stdout, b"content65534:65534\n", "{said}");
    assert_eq!(
        cat(&site).status.code(),
        Some(1),
        "nothing is mounted outside"
    );
}
