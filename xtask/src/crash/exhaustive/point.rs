//! Where a process is killed: named so that a person can have exactly this one again.

use std::fmt;
use std::str::FromStr;

use super::role::Role;

/// Which system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The process's n-th, from 1 on.
    Call(u32),
    /// Its n-th write to the log, from 1 on: which call that is differs between runs.
    Write(u32),
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The call does not happen.
    Entry,
    /// It has happened; the process does not learn of it.
    Exit,
    /// It has written only the first part.
    Torn(Part),
    /// It has happened; then the load balancer is killed and started again while this process, a
    /// worker, stands still; and then it goes on, with what it knows from before.
    Outlive,
}

/// How much of a write happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    One,
    Half,
    AllButOne,
}

impl Part {
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

/// One kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strike {
    pub(crate) role: Role,
    pub(crate) at: At,
    pub(crate) moment: Moment,
}

/// One or two kills in a scenario. After the first of two everything else is killed too, and the second
/// hits the recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) scenario: String,
    pub(crate) strikes: Vec<Strike>,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entry => "entry",
            Self::Exit => "exit",
            Self::Outlive => "outlive",
            Self::Torn(Part::One) => "torn-1",
            Self::Torn(Part::Half) => "torn-half",
            Self::Torn(Part::AllButOne) => "torn-but-1",
        })
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let torn = Part::ALL.map(Self::Torn);
        [Self::Entry, Self::Exit, Self::Outlive]
            .into_iter()
            .chain(torn)
            .find(|moment| moment.to_string() == text)
            .ok_or_else(|| {
                format!(
                    "`{text}` is no moment: entry, exit, torn-1, torn-half, torn-but-1, outlive"
                )
            })
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Call(n) => write!(f, "{}:{n}:{}", self.role, self.moment),
            At::Write(n) => write!(f, "{}:w{n}:{}", self.role, self.moment),
        }
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
        let number = |n: &str| n.parse().map_err(|error| format!("`{at}`: {error}"));
        Ok(Self {
            role: role.parse()?,
            at: match at.strip_prefix('w') {
                Some(n) => At::Write(number(n)?),
                None => At::Call(number(at)?),
            },
            moment: moment.parse()?,
        })
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scenario)?;
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
        Ok(Self {
            scenario: scenario.to_owned(),
            strikes: strikes.split('+').map(str::parse).collect::<Result<_, _>>()?,
        })
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
        ] {
            assert_eq!(name.parse::<Point>().unwrap().to_string(), name);
        }
        for wrong in
            ["one-3", "a:b:1:entry", "a:worker1:x:entry", "a:worker1:1:never", "a:worker1:1"]
        {
            assert!(wrong.parse::<Point>().is_err(), "{wrong}");
        }
    }
}
