//! What is done about a worker, by what is seen of it and for how long.

use std::time::Duration;

const REPORT_STOPPED_AFTER: Duration = Duration::from_secs(1);
/// How long a worker may make no progress before that is acted on.
pub(super) const STILL_MAX: Duration = Duration::from_secs(3);
/// So many deaths in a row, each at once and without progress, are no accident.
const FAST_DEATHS_MAX: u32 = 5;
/// After the first of them.
const PAUSE: Duration = Duration::from_millis(100);

/// What a look at a worker shows that is here, whoever has started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It goes on; or it has nothing to do; or a COMMAND, which may take as long as it wants.
    Fine,
    /// A child of ours that was stopped.
    Stopped,
    /// It executes nothing of what there is for it: it is traced, frozen, or stopped by hand.
    Still(Queue),
}

/// What is in its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// There is none that the ledger knows.
    Missing,
    Empty,
    Filled,
}

/// How long it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    AMoment,
    OneSecond,
    ThreeSeconds,
}

/// What is done then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deed {
    pub(super) reports_stop: bool,
    pub(super) reports_stillness: bool,
    /// What was sent to it and is not executed is sent again.
    pub(super) sends_again: bool,
    pub(super) kills: bool,
}

/// What is done about a worker that is here.
pub(super) fn on_sight(sight: Sight, lasts: For) -> Deed {
    use For::{AMoment, OneSecond, ThreeSeconds};
    use Queue::{Empty, Filled, Missing};
    use Sight::{Fine, Still, Stopped};

    let nothing = Deed::default();
    let reports_stop = Deed { reports_stop: true, ..nothing };
    let reports_stillness = Deed { reports_stillness: true, ..nothing };
    let sends_again = Deed { sends_again: true, ..nothing };
    match (sight, lasts) {
        (_, AMoment) | (Fine, _) | (Still(_), OneSecond) => nothing,
        (Stopped, OneSecond) => reports_stop,
        (Stopped, ThreeSeconds) => Deed { kills: true, ..reports_stop },
        (Still(Filled), ThreeSeconds) => reports_stillness,
        (Still(Empty), ThreeSeconds) => sends_again,
        (Still(Missing), ThreeSeconds) => Deed { sends_again: true, ..reports_stillness },
    }
}

/// What a worker is that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent<S> {
    /// It need not come again: only totals are missing.
    CountAsDone,
    /// It ended at once, and is started after a pause.
    Pauses,
    /// Something that a dead worker has started is alive.
    HasOrphans,
    /// It is started now, in this way.
    IsDue(S),
    /// Whoever starts it by hand is asked for it.
    IsMissing,
}

/// What is done about a worker that is not here. `start`: how it is started, unless that is done by hand.
pub(super) fn on_absence<S>(
    finishing: bool,
    pauses: bool,
    orphans: bool,
    start: Option<S>,
) -> Absent<S> {
    match (finishing, pauses, orphans, start) {
        (true, _, _, _) => Absent::CountAsDone,
        (_, true, _, _) => Absent::Pauses,
        (_, _, true, _) => Absent::HasOrphans,
        (_, _, _, Some(start)) => Absent::IsDue(start),
        (_, _, _, None) => Absent::IsMissing,
    }
}

/// What is done about a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// As it should be.
    IsFine,
    /// After a pause.
    StartAgain(Duration),
    /// The balancer ends with an error.
    GiveUp,
}

/// What is done about a child that has ended, by how often in a row it did so at once and without progress.
pub(super) fn on_death(finishing: bool, fast_deaths: u32) -> Death {
    match (finishing, fast_deaths) {
        (true, _) => Death::IsFine,
        (false, 0) => Death::StartAgain(Duration::ZERO),
        (false, n @ 1..FAST_DEATHS_MAX) => Death::StartAgain(PAUSE * (1 << (n - 1))),
        (false, _) => Death::GiveUp,
    }
}

impl From<Duration> for For {
    fn from(lasts: Duration) -> Self {
        match lasts {
            _ if lasts >= STILL_MAX => Self::ThreeSeconds,
            _ if lasts >= REPORT_STOPPED_AFTER => Self::OneSecond,
            _ => Self::AMoment,
        }
    }
}

impl From<Option<u64>> for Queue {
    fn from(queued: Option<u64>) -> Self {
        match queued {
            None => Self::Missing,
            Some(0) => Self::Empty,
            Some(_) => Self::Filled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is done about a worker that only seems not to go on, it is never killed: whoever holds it goes on.
    #[test]
    fn nobody_is_killed_but_a_stopped_child() {
        for sight in [
            Sight::Fine,
            Sight::Still(Queue::Missing),
            Sight::Still(Queue::Empty),
            Sight::Still(Queue::Filled),
        ] {
            for lasts in [For::AMoment, For::OneSecond, For::ThreeSeconds] {
                assert!(!on_sight(sight, lasts).kills, "{sight:?}");
            }
        }
        assert!(on_sight(Sight::Stopped, For::ThreeSeconds).kills);
        assert!(!on_sight(Sight::Stopped, For::OneSecond).kills);
    }

    #[test]
    fn pauses_double_until_it_is_no_accident() {
        let ms = |ms| Death::StartAgain(Duration::from_millis(ms));
        let deaths: Vec<_> = (0..=5).map(|n| on_death(false, n)).collect();
        assert_eq!(deaths, [ms(0), ms(100), ms(200), ms(400), ms(800), Death::GiveUp]);
        assert_eq!(on_death(true, 5), Death::IsFine);
    }

    #[test]
    fn nobody_is_started_beside_orphans_or_when_all_is_done() {
        for (finishing, pauses, orphans) in
            [(true, false, false), (false, true, false), (false, false, true)]
        {
            assert_ne!(on_absence(finishing, pauses, orphans, Some(())), Absent::IsDue(()));
        }
        assert_eq!(on_absence(false, false, false, Some(())), Absent::IsDue(()));
        assert_eq!(on_absence(false, false, false, None::<()>), Absent::IsMissing);
    }
}
