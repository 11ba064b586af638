//! The thread team: workers that spin for the next phase of a forward pass, and park when none comes.
//!
//! A decode step has some two hundred phases of 10 to 500 microseconds. Waking a parked thread costs more than the
//! shortest of them, so workers poll for a bounded while before they park (spin barrier 0.16 us, parking 15 us).
//!
//! A phase never waits for a worker that did not come: parts are claimed one by one, the caller claims them too, and a
//! phase whose parts are all claimed is closed. On a machine with fewer free processors than threads, the caller does
//! the work itself instead of waiting for a time slice of somebody else's.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Polls before a worker parks or the caller yields: some 50 microseconds.
const SPINS: usize = 20_000;

/// The most threads a team has.
pub const MAX_THREADS: usize = 64;

/// A fixed set of threads that run the parts of a task together; the calling thread is one of them.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
    /// Held while a task runs: one task at a time.
    turn: Mutex<()>,
}

/// A task as the workers see it.
#[derive(Clone, Copy)]
struct Task {
    /// The closure, its lifetime erased; valid while the task is open or a worker is inside.
    run: &'static (dyn Fn(usize) + Sync),
    n_parts: usize,
}

struct Shared {
    /// [`INSIDE`] bits: workers inside the task; [`OPEN`]: whether more may enter; above: the task's number.
    state: AtomicUsize,
    task: UnsafeCell<Option<Task>>,
    /// The next part nobody has claimed.
    next_part: AtomicUsize,
    /// One flag a worker: parked, or about to be.
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    /// The first panic of a part.
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

/// Counts the workers inside a task.
const INSIDE: usize = 0xffff;
/// Set while workers may enter the task.
const OPEN: usize = 0x1_0000;
/// Added for each task.
const NUMBER: usize = 0x2_0000;

// SAFETY: `task` is written only by the thread that holds `turn`, while the state is closed and no worker is inside;
// a worker reads it only after it entered an open state stored after it. The closure behind it is `Sync`.
unsafe impl Sync for Shared {}

impl Team {
    /// A team of `n_threads` (1 to 64, clamped), the caller included.
    pub fn new(n_threads: usize) -> Self {
        let n_workers = n_threads.clamp(1, MAX_THREADS) - 1;
        let shared = Arc::new(Shared {
            state: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            next_part: AtomicUsize::new(0),
            asleep: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let workers = (0..n_workers)
            .map_while(|worker| {
                let shared = Arc::clone(&shared);
                let handle = thread::Builder::new()
                    .name(format!("team-{}", worker + 1))
                    .spawn(move || shared.work(worker))
                    .ok()?;
                Some((handle.thread().clone(), handle))
            })
            .collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// Threads that run a task, the caller included.
    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `part(0)` to `part(n_parts - 1)`, each once, spread over the team; returns when all are done.
    ///
    /// # Panics
    /// When a part panics, after the others are done.
    pub fn run(&self, n_parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || n_parts < 2 {
            (0..n_parts).for_each(part);
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. This function does not return, nor unwind, before the task is closed and
        // no worker is inside, so no worker uses the closure after it is gone.
        let run =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(part) };
        // SAFETY: this thread holds `turn`, and the last task was closed and left: no worker reads `task`.
        unsafe { *shared.task.get() = Some(Task { run, n_parts }) };
        shared.next_part.store(0, Ordering::Relaxed);
        // SeqCst pairs with a worker that raises its flag and then looks at the state once more: one of the two sees
        // the other's store.
        let number = (shared.state.load(Ordering::Relaxed) & !(OPEN | INSIDE)).wrapping_add(NUMBER);
        shared.state.store(number | OPEN, Ordering::SeqCst);
        for ((thread, _), asleep) in self.workers.iter().zip(&shared.asleep) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                thread.unpark();
            }
        }
        shared.claim_parts(part, n_parts);
        let mut inside = shared.state.fetch_and(!OPEN, Ordering::AcqRel) & INSIDE;
        let mut n_spins = 0;
        while inside > 0 {
            n_spins += 1;
            if n_spins < SPINS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
            inside = shared.state.load(Ordering::Acquire) & INSIDE;
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (thread, handle) in self.workers.drain(..) {
            thread.unpark();
            // A worker catches the panics of its parts; it has none of its own to report.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// Claims parts until none is left. A panic is kept for the caller.
    fn claim_parts(&self, part: &(dyn Fn(usize) + Sync), n_parts: usize) {
        let claimed = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next_part.fetch_add(1, Ordering::Relaxed);
                if index >= n_parts {
                    break;
                }
                part(index);
            }
        }));
        if let Err(panic) = claimed {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// A worker's life.
    fn work(&self, worker: usize) {
        let mut number = 0;
        while let Some(next) = self.wait_for_task(worker, number) {
            number = next;
            if !self.enter(number) {
                continue;
            }
            // SAFETY: the worker is inside an open task, so its closure and `task` stay as they are until it leaves.
            if let Some(task) = unsafe { *self.task.get() } {
                self.claim_parts(task.run, task.n_parts);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Enters the task `number`, unless it was closed meanwhile.
    fn enter(&self, number: usize) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & !INSIDE == number | OPEN {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => state = found,
            }
        }
        false
    }

    /// Waits for a task other than `seen` and returns its number; `None` when the team is dismissed.
    fn wait_for_task(&self, worker: usize, seen: usize) -> Option<usize> {
        let number = |state: usize| state & !(OPEN | INSIDE);
        for _ in 0..SPINS {
            let state = self.state.load(Ordering::Acquire);
            if number(state) != seen {
                return Some(number(state));
            }
            std::hint::spin_loop();
        }
        loop {
            self.asleep[worker].store(true, Ordering::SeqCst);
            let state = self.state.load(Ordering::SeqCst);
            let is_new = number(state) != seen;
            if is_new || self.stop.load(Ordering::SeqCst) {
                self.asleep[worker].store(false, Ordering::SeqCst);
                return is_new.then(|| number(state));
            }
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once_for_any_number_of_threads() {
        for n_threads in [1, 2, 3, 8] {
            let team = Team::new(n_threads);
            for n_parts in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..n_parts).map(|_| AtomicUsize::new(0)).collect();
                team.run(n_parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn workers_that_parked_wake_for_the_next_task() {
        let team = Team::new(4);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            team.run(1000, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 499_500);
        }
    }

    #[test]
    fn a_panic_in_a_part_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(3);
        let caught =
            catch_unwind(AssertUnwindSafe(|| team.run(10, &|part| assert_ne!(part, 7, "part seven"))));
        assert!(caught.is_err());
        let sum = AtomicUsize::new(0);
        team.run(10, &|part| {
            sum.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn callers_on_several_threads_take_turns() {
        let team = Team::new(2);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let sum = AtomicUsize::new(0);
                        team.run(20, &|part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 190);
                    }
                });
            }
        });
    }
}
