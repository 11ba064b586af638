//! Running something on one processor.

/// Does `work` with whatever it starts on one of the processors that this thread may use; elsewhere than on Linux, on
/// all of them.
pub fn on_one_cpu<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        let before = sched_getaffinity(None).ok();
        if let Some(cpu) = before.and_then(|set| (0..CpuSet::MAX_CPU).find(|&cpu| set.is_set(cpu))) {
            let mut one = CpuSet::new();
            one.set(cpu);
            // Where that is not allowed, the work takes longer and is the same.
            let _ = sched_setaffinity(None, &one);
        }
        let result = work();
        if let Some(before) = before {
            let _ = sched_setaffinity(None, &before);
        }
        result
    }
    #[cfg(not(target_os = "linux"))]
    work()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_has_one_processor_and_afterwards_all_are_back() {
        let n_cpus = || {
            let run = std::process::Command::new("nproc").output().unwrap();
            String::from_utf8(run.stdout).unwrap().trim().parse::<usize>().unwrap()
        };
        let before = n_cpus();
        assert_eq!(on_one_cpu(n_cpus), 1);
        assert_eq!(n_cpus(), before);
    }
}
