//! Which calls fail with what: all, or a sample that leaves no kind of call out.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::table::Row;
use crate::exhaustive::made::Made;
use crate::exhaustive::point::{At, Moment, Strike};
use crate::exhaustive::role::Role;
use crate::exhaustive::scenario::Scenario;

/// Of each call of each program with each error, the sample tries the first and one in so many.
const STRIDE: usize = 8;

/// A call that can fail so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) scenario: &'static Scenario,
    role: Role,
    n: u32,
    row: &'static Row,
    error: Errno,
}

impl Candidate {
    pub(crate) fn strike(&self) -> Strike {
        let at = At::Nth { number: self.row.number, n: self.n };
        Strike { role: self.role, at, moment: Moment::Fails(self.error) }
    }

    /// What it is one of many of: a call of a program, made in one way, with one error.
    fn class(&self) -> (&'static str, &'static str, usize, i32) {
        let row = std::ptr::from_ref(self.row).addr();
        (self.role.kind(), self.row.name, row, self.error as i32)
    }
}

/// All of a role, after its calls were counted, in several runs.
pub(crate) fn candidates(scenario: &'static Scenario, role: Role, made: &[Made]) -> Vec<Candidate> {
    let mut seen = BTreeMap::new();
    for &Made { number, n, row } in made {
        let Some(row) = row else { continue };
        for &error in row.errors {
            let candidate = Candidate { scenario, role, n, row, error };
            seen.entry((number, n, error as i32)).or_insert(candidate);
        }
    }
    seen.into_values().collect()
}

/// Some of each class.
pub(crate) fn sample(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut classes: BTreeMap<_, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        classes.entry(candidate.class()).or_default().push(*candidate);
    }
    // Begins elsewhere in each class, so that together they see more.
    classes
        .values()
        .enumerate()
        .flat_map(|(i, class)| class.iter().skip(i % STRIDE.min(class.len())).step_by(STRIDE))
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use ::tests::ptrace::Call;
    use nix::libc;
    use nix::unistd::Pid;

    use super::*;
    use crate::exhaustive::scenario::SCENARIOS;

    fn made(number: i64, n: u32) -> Made {
        Made::of(Pid::from_raw(0), &Call { number, arguments: [0; 4] }, n)
    }

    #[test]
    fn each_call_fails_with_each_of_its_errors_once() {
        let twice = [made(libc::SYS_shmat, 1), made(libc::SYS_shmat, 2), made(libc::SYS_shmat, 1)];
        let candidates = candidates(&SCENARIOS[0], Role::Balancer, &twice);
        let names: Vec<_> = candidates.iter().map(|c| c.strike().to_string()).collect();
        assert_eq!(names.len(), 2 * 4);
        assert!(names.contains(&"balancer:shmat#2:EACCES".to_owned()));
    }

    #[test]
    fn the_sample_leaves_no_call_and_no_error_out() {
        let many: Vec<_> =
            (1..=100).flat_map(|n| [made(libc::SYS_shmat, n), made(libc::SYS_close, n)]).collect();
        let sample = sample(&candidates(&SCENARIOS[0], Role::Balancer, &many));
        let of = |error| sample.iter().filter(|c| c.error == error).count();
        for error in [Errno::EACCES, Errno::EIDRM, Errno::ENOMEM, Errno::EIO, Errno::EINTR] {
            assert!((12..=13).contains(&of(error)), "{error:?}: {}", of(error));
        }
    }
}
