//! Who belongs to a process group, or was started by it and moved away.

/// A process that is alive.
pub(super) struct Member {
    pub(super) id: u32,
    /// Its command line, as far as a message needs it.
    pub(super) command: String,
}

/// Bytes shown of a command line.
const SHOWN: usize = 120;

/// Every living process in the group `group`, or with `mark` in its environment. Empty where there is no `/proc`.
pub(super) fn members(group: u32, mark: &str) -> Vec<Member> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|&id| is_member(id, group, mark)).map(|id| Member { id, command: command_of(id) }).collect()
}

fn is_member(id: u32, group: u32, mark: &str) -> bool {
    // A process that ended meanwhile has no files.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    // `id (name) state parent group ...`; a name may hold anything, parentheses too.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next();
    // What has ended and was not waited for by whoever inherited it is not alive.
    if matches!(state, None | Some("Z" | "X")) {
        return false;
    }
    let is_in_group = fields.nth(1).and_then(|field| field.parse::<u32>().ok()) == Some(group);
    is_in_group
        || std::fs::read(format!("/proc/{id}/environ"))
            .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes()))
}

fn command_of(id: u32) -> String {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words = line.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    let text: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let text = text.join(" ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None if text.is_empty() => format!("process {id}"),
        None => text,
    }
}
