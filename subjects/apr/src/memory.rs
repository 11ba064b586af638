//! How much memory this process holds, as the operating system reports it.

/// Resident set size in bytes (`VmRSS`); `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = procfs::process::Process::myself().ok()?.status().ok()?;
    // The kernel's kB are 1024 bytes.
    Some(status.vmrss? * 1024)
}

/// Resident set size in bytes; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

/// The most that was ever resident, in bytes (`VmHWM`); `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    let status = procfs::process::Process::myself().ok()?.status().ok()?;
    Some(status.vmhwm? * 1024)
}

/// The most that was ever resident, in bytes; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peak_resident_bytes() -> Option<u64> {
    None
}

/// Memory that this process could still get, in bytes; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn available_bytes() -> Option<u64> {
    use procfs::Current as _;
    let free = procfs::Meminfo::current().ok()?.mem_available?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    let Some(limit) = limit else { return Some(free) };
    let used = procfs::process::Process::myself().ok()?.stat().ok()?.vsize;
    Some(free.min(limit.saturating_sub(used)))
}

/// Memory that this process could still get, in bytes; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn available_bytes() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn touched_memory_shows_up() {
        let before = resident_bytes().unwrap();
        let block = vec![1_u8; 64 << 20];
        let after = resident_bytes().unwrap();
        assert_eq!(block.iter().map(|&byte| usize::from(byte)).sum::<usize>(), 64 << 20);
        // Other tests run beside this one; half of the block is far above their noise.
        assert!(after > before + (32 << 20), "{before} bytes before, {after} after");
        drop(block);
        let peak = peak_resident_bytes().unwrap();
        // The system counts in steps of some pages for each thread.
        assert!(peak + (1 << 20) >= after, "a peak stays when memory is given back: {peak} after {after}");
    }
}
