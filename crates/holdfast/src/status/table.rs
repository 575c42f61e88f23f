//! The status for people.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;

use comfy_table::{ContentArrangement, Table, TableStyle};

use super::document::{Document, InstanceStatus, Mount, Process, State};

/// The whole document as text that ends with a line feed.
#[must_use]
pub fn render(document: &Document) -> String {
    if document.instances.is_empty() {
        return "No instance of Holdfast runs for this user.\n".to_owned();
    }
    document
        .instances
        .iter()
        .map(instance)
        .collect::<Vec<_>>()
        .join("\n")
}

fn instance(instance: &InstanceStatus) -> String {
    let mut text = String::new();
    let cache_dir = instance
        .cache_dir
        .as_deref()
        .map_or("(unknown)".to_owned(), printable);
    line(
        &mut text,
        &format!("Cache {cache_dir}: {}", state(instance.state)),
    );
    if !instance.processes.is_empty() {
        line(&mut text, &processes(&instance.processes));
    }
    match &instance.mounts {
        Some(mounts) if mounts.is_empty() => line(&mut text, "  No mounts."),
        Some(found) => line(&mut text, &mounts(found)),
        None => {}
    }
    for figure in figures(instance) {
        line(&mut text, &figure);
    }
    if let (Some(log), State::EngineDown | State::KeeperDown | State::Dead) =
        (&instance.log, instance.state)
    {
        line(&mut text, &format!("  Log: {}", printable(log)));
    }
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string never fails");
}

fn state(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::EngineDown => "ENGINE DOWN (readers wait; the keeper restarts it)",
        State::KeeperDown => {
            "KEEPER DOWN (mounts work, but nothing will restart what dies; unmount and mount again)"
        }
        State::Dead => "dead (leftovers; the next mount cleans them)",
    }
}

fn processes(processes: &[Process]) -> String {
    let mut table = table(&["ROLE", "PID", "STATE", "AGE", "RESTARTS"]);
    for process in processes {
        table.add_row([
            process.role.clone(),
            process.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            process.state.clone(),
            process.age_ms.map_or("-".to_owned(), age),
            restarts(process),
        ]);
    }
    trimmed(&table)
}

fn restarts(process: &Process) -> String {
    let causes: Vec<String> = process
        .restart_causes
        .iter()
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    if causes.is_empty() {
        process.restarts.to_string()
    } else {
        format!("{} ({})", process.restarts, causes.join(", "))
    }
}

fn mounts(mounts: &[Mount]) -> String {
    let mut table = table(&["MOUNT", "SOURCE", "RECOVERY", "NODES"]);
    for mount in mounts {
        table.add_row([
            printable(&mount.dir),
            printable(&mount.source),
            mount.recovery.clone(),
            mount.nodes.to_string(),
        ]);
    }
    trimmed(&table)
}

fn figures(instance: &InstanceStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(cached), Some(allocated)) = (instance.cached_bytes, instance.allocated_bytes) {
        lines.push(format!(
            "  Cached {}, on disk {}",
            ByteSize(cached),
            ByteSize(allocated)
        ));
    }
    if let Some(o) = &instance.objects {
        lines.push(format!(
            "  Objects: {} open, {} closed, {} reopening, {} dropping",
            o.open, o.close, o.reopening, o.dropping
        ));
    }
    if let Some(r) = &instance.requests {
        lines.push(format!(
            "  Requests: {} waiting, {} in flight, {} replayed",
            r.waiting, r.in_flight, r.replayed
        ));
    }
    if let Some(r) = &instance.readers {
        let oldest = if r.blocked > 0 {
            format!(", the oldest for {}", age(r.oldest_ms))
        } else {
            String::new()
        };
        lines.push(format!("  Readers blocked: {}{oldest}", r.blocked));
    }
    if let Some(failovers) = instance
        .failovers
        .as_ref()
        .filter(|failovers| !failovers.is_empty())
    {
        let causes: Vec<String> = failovers
            .iter()
            .map(|(cause, count)| format!("{cause} {count}"))
            .collect();
        lines.push(format!("  Fail-overs: {}", causes.join(", ")));
    }
    lines
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

fn trimmed(table: &Table) -> String {
    let lines = table.to_string();
    lines
        .lines()
        .map(|line| format!(" {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A span for people: below a minute with one decimal, above in whole seconds.
fn age(milliseconds: u64) -> String {
    if milliseconds < 60_000 {
        return format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100);
    }
    humantime::format_duration(Duration::from_secs(milliseconds / 1000)).to_string()
}

/// Control characters in a name (a line feed, an escape sequence) must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::document::{Objects, Readers, Requests};

    fn sample() -> InstanceStatus {
        InstanceStatus {
            id: "0123456789abcdef".into(),
            cache_dir: Some("/var/cache/holdfast".into()),
            cache_dir_bytes: None,
            run_dir: "/run/holdfast/0123456789abcdef".into(),
            log: Some("/run/holdfast/0123456789abcdef/log".into()),
            state: State::Running,
            processes: vec![Process {
                role: "daemon".into(),
                pid: Some(42),
                restarts: 3,
                age_ms: Some(1_250),
                state: "running".into(),
                restart_causes: [("signal 9".to_owned(), 3)].into(),
            }],
            mounts: Some(vec![Mount {
                id: 1,
                source: "http://h/t/".into(),
                dir: "/mnt/a\nb".into(),
                dir_bytes: None,
                recovery: "resend".into(),
                nodes: 7,
            }]),
            objects: Some(Objects {
                close: 1,
                open: 2,
                reopening: 3,
                dropping: 4,
            }),
            cached_bytes: Some(1 << 20),
            allocated_bytes: Some(1 << 21),
            requests: Some(Requests {
                waiting: 5,
                in_flight: 6,
                replayed: 7,
            }),
            readers: Some(Readers {
                blocked: 1,
                oldest_ms: 90_000,
            }),
            failovers: Some([("killed".to_owned(), 3)].into()),
            sessions: Some(Vec::new()),
            stored_descriptors: Vec::new(),
        }
    }

    #[test]
    fn the_table_names_what_people_look_for() {
        let text = render(&Document {
            instances: vec![sample()],
        });
        for wanted in [
            "/var/cache/holdfast: running",
            "42",
            "1.2 s",
            "3 (signal 9 3)",
            "/mnt/a\\nb",
            "1.0 MiB",
            "oldest for 1m 30s",
            "killed 3",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
    }

    #[test]
    fn an_engine_that_is_down_is_marked() {
        let mut down = sample();
        down.state = State::EngineDown;
        (down.mounts, down.objects, down.cached_bytes) = (None, None, None);
        let text = render(&Document {
            instances: vec![down],
        });
        assert!(
            text.contains("ENGINE DOWN") && text.contains("Log: /run"),
            "{text}"
        );
        assert!(!text.contains("Objects"), "{text}");
    }

    #[test]
    fn the_json_shape_is_the_documented_one() {
        let value = serde_json::to_value(Document {
            instances: vec![sample()],
        })
        .unwrap();
        let instance = &value["instances"][0];
        assert_eq!(instance["state"], "running");
        assert_eq!(instance["processes"][0]["pid"], 42);
        assert_eq!(instance["mounts"][0]["source"], "http://h/t/");
        assert_eq!(instance["objects"]["reopening"], 3);
        assert_eq!(instance["readers"]["oldest_ms"], 90_000);
        let documented = include_str!("../../../../docs/status.md");
        for name in instance.as_object().unwrap().keys() {
            assert!(
                documented.contains(&format!("`{name}`")),
                "docs/status.md does not mention {name}"
            );
        }
    }
}
