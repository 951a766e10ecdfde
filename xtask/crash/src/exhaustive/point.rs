//! Where a process is struck: named so that a person can have exactly this one again.

use std::fmt;
use std::str::FromStr;

use nix::errno::Errno;

use super::role::Role;
use super::scenario::Scenario;
use crate::errors::table;
use crate::findings::Finding;
use crate::violation::Violation;

/// Which system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The process's n-th, from 1 on.
    Call(u32),
    /// Its n-th write to the log or to the dead letters, from 1 on: which call that is differs between runs.
    Write(u32),
    /// Its n-th of this number, from 1 on and from main on.
    Nth { number: i64, n: u32 },
}

/// When, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// It is killed; the call does not happen.
    Entry,
    /// It is killed; the call has happened, and the process does not learn of it.
    Exit,
    /// It is killed; the call has written only the first part.
    Torn(Portion),
    /// The call has happened; then the load balancer is killed and started again while this process, a
    /// worker, is stopped; and then it goes on, with what it knows from before.
    Outlive,
    /// The call fails; nobody is killed.
    Fails(Errno),
}

/// How much of a write happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Portion {
    One,
    Half,
    AllButOne,
}

impl Portion {
    pub(crate) const ALL: [Self; 3] = [Self::One, Self::Half, Self::AllButOne];

    /// So many bytes of a write of `len`.
    pub(crate) fn of(self, len: u64) -> u64 {
        match self {
            Self::One => 1,
            Self::Half => len / 2,
            Self::AllButOne => len - 1,
        }
    }
}

/// One strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) role: Role,
    pub(crate) at: At,
    pub(crate) moment: Moment,
}

/// One or two strikes in a scenario. After the first of two everything else is killed too, and the second
/// hits the recovery.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) scenario: &'static Scenario,
    pub(crate) strikes: Vec<Strike>,
}

impl Point {
    /// A promise was broken there.
    pub(crate) fn finding(&self, violation: Violation) -> Finding {
        let (point, option) = (self.to_string(), Some("--replay"));
        Finding { point, option, kind: String::new(), violation }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(n) => write!(f, "{n}"),
            Self::Write(n) => write!(f, "w{n}"),
            Self::Nth { number, n } => {
                write!(f, "{}#{n}", table::name_of(*number).unwrap_or("a call"))
            }
        }
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |n: &str| match n.parse() {
            Ok(0) => Err(format!("`{text}`: they are counted from 1")),
            Ok(n) => Ok(n),
            Err(error) => Err(format!("`{text}`: {error}")),
        };
        if let Some((name, n)) = text.split_once('#') {
            let call = table::number_of(name)
                .ok_or_else(|| format!("`{name}` is no system call that is known here"))?;
            return Ok(Self::Nth { number: call, n: number(n)? });
        }
        match text.strip_prefix('w') {
            Some(n) => Ok(Self::Write(number(n)?)),
            None => Ok(Self::Call(number(text)?)),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entry => "entry",
            Self::Exit => "exit",
            Self::Outlive => "outlive",
            Self::Torn(Portion::One) => "torn-1",
            Self::Torn(Portion::Half) => "torn-half",
            Self::Torn(Portion::AllButOne) => "torn-but-1",
            // Its name.
            Self::Fails(error) => return write!(f, "{error:?}"),
        })
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let torn = Portion::ALL.map(Self::Torn);
        [Self::Entry, Self::Exit, Self::Outlive]
            .into_iter()
            .chain(torn)
            .find(|moment| moment.to_string() == text)
            .or_else(|| table::error_of(text).map(Self::Fails))
            .ok_or_else(|| {
                format!(
                    "`{text}` is no moment: entry, exit, torn-1, torn-half, torn-but-1, outlive, or an \
                     error as EACCES"
                )
            })
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.role, self.at, self.moment)
    }
}

impl FromStr for Strike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let (Some(role), Some(at), Some(moment), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("`{text}` is not ROLE:N:MOMENT"));
        };
        let strike = Self { role: role.parse()?, at: at.parse()?, moment: moment.parse()? };
        match (strike.at, strike.moment) {
            (At::Nth { number, .. }, Moment::Fails(error)) if !table::can_fail(number, error) => {
                Err(format!("`{text}`: this call does not fail so"))
            }
            _ => Ok(strike),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scenario.name)?;
        for (i, strike) in self.strikes.iter().enumerate() {
            write!(f, "{}{strike}", if i > 0 { "+" } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scenario, strikes) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not SCENARIO:ROLE:N:MOMENT"))?;
        let scenario = Scenario::named(scenario)
            .ok_or_else(|| format!("there is no scenario `{scenario}`"))?;
        let strikes: Vec<Strike> = strikes.split('+').map(str::parse).collect::<Result<_, _>>()?;
        let (_last, before) = strikes.split_last().ok_or("no strike")?;
        // After it nobody is dead, and there is no recovery.
        if before.iter().any(|strike| matches!(strike.moment, Moment::Fails(_))) {
            return Err(format!("`{text}`: only the last call may fail"));
        }
        Ok(Self { scenario, strikes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_back_from_its_name() {
        for name in [
            "one-3:balancer:17:entry",
            "two:client2:w1:torn-half",
            "hand:worker1:w1:torn-1+worker1:200:exit",
            "one-3:balancer:shmat#1:EACCES",
            "one-1:client1:w1:entry+balancer:w1:ENOSPC",
        ] {
            assert_eq!(name.parse::<Point>().unwrap().to_string(), name);
        }
        for wrong in [
            "one-3",
            "nosuch:worker1:1:entry",
            "two:b:1:entry",
            "two:worker1:x:entry",
            "two:worker1:1:never",
            "two:worker1:1",
            "two:worker1:0:entry",
            "two:worker1:shmat#0:EACCES",
            "two:worker1:shmat#1:EDQUOT",
            "two:worker1:shmat#1:ENOSUCH",
            "two:worker1:nosuch#1:EACCES",
            "two:worker1:shmat#1:EACCES+worker1:1:entry",
        ] {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
