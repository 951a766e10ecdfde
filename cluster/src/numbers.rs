//! Lists of worker numbers, as people write them: `1,4-6`.

use std::collections::BTreeSet;
use std::str::FromStr;

use common::grammar::rotation::{WorkerId, Workers};

/// Which workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    All,
    These(BTreeSet<WorkerId>),
}

impl Numbers {
    /// Those of N workers; an error names one that is beyond N.
    pub(crate) fn of(&self, workers: Workers) -> Result<BTreeSet<WorkerId>, WorkerId> {
        match self {
            Self::All => Ok(workers.ids().collect()),
            Self::These(these) => match these.iter().find(|worker| worker.get() > workers.get()) {
                Some(beyond) => Err(*beyond),
                None => Ok(these.clone()),
            },
        }
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "must be `all`, `none`, or worker numbers like 1,4-6".to_owned();
        match text {
            "all" => return Ok(Self::All),
            "none" => return Ok(Self::These(BTreeSet::new())),
            _ => {}
        }
        let mut these = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| digits.parse::<WorkerId>().map_err(|_| wrong());
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            these.extend(WorkerId::all().filter(|worker| (first..=last).contains(worker)));
        }
        Ok(Self::These(these))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("all", Some(vec![1, 2, 3, 4, 5, 6]))]
    #[case("none", Some(vec![]))]
    #[case("2", Some(vec![2]))]
    #[case("1,4-6,4", Some(vec![1, 4, 5, 6]))]
    #[case("", None)]
    #[case("3-1", None)]
    #[case("0", None)]
    #[case("1,", None)]
    #[case("some", None)]
    fn lists(#[case] text: &str, #[case] numbers: Option<Vec<u32>>) {
        let workers = Workers::new(6_u32).unwrap();
        let parsed = text.parse::<Numbers>().ok().map(|it| it.of(workers).unwrap());
        let parsed = parsed.map(|these| these.into_iter().map(WorkerId::get).collect::<Vec<_>>());
        assert_eq!(parsed, numbers);
    }

    #[test]
    fn a_number_beyond_n_is_named() {
        let numbers: Numbers = "1,3".parse().unwrap();
        assert_eq!(numbers.of(Workers::new(2_u32).unwrap()).unwrap_err().get(), 3);
    }
}
