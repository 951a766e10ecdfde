//! Programs are started, stepped or not.

use std::fs::File;

use super::super::actor::Actor;
use super::super::point::Moment;
use super::super::role::Role;
use super::super::stepper::Stepped;
use super::super::steps::{Stop, Target};
use super::Play;

impl Play<'_> {
    pub(super) fn start(&mut self, role: Role) -> Result<(), String> {
        let (program, arguments) = self.scenario.command(role);
        self.note(&format!("{role}: {program} {}", arguments.join(" ")));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let target = self.traces.front().and_then(|trace| match trace.role {
            wanted if wanted == role => Some(Target::Itself),
            Role::Worker(k) if role == Role::Balancer && !self.scenario.by_hand => {
                Some(Target::ChildWorker(k))
            }
            Role::Handler(k) if role == Role::Balancer => Some(Target::Handler(k)),
            _ => None,
        });
        let actor = match target.and_then(|target| Some((target, self.traces.pop_front()?))) {
            None => Actor::Plain(self.sandbox.start(program, &arguments)),
            Some((target, trace)) => {
                self.outliving |= matches!(trace.stop, Some((_, Moment::Outlive)));
                let number = self.traces.len();
                let out = self.sandbox.dir().with_file_name("out");
                let [stdout, stderr] =
                    ["stdout", "stderr"].map(|name| out.join(format!("{role}-{number}.{name}")));
                let stop = Stop { at: trace.stop, with_everyone: !self.traces.is_empty() };
                let started = Stepped::start(
                    &self.sandbox.command(program, &arguments),
                    |command| {
                        command.stdin(std::process::Stdio::null());
                        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
                        Ok(())
                    },
                    target,
                    stop,
                    &self.sandbox.dir(),
                );
                let stepped = started.map_err(|error| format!("cannot step {role}: {error}"))?;
                Actor::Stepped { stepped, target, stdout }
            }
        };
        self.cast.insert(role, actor);
        Ok(())
    }

    /// Starts one again that was killed.
    pub(super) fn start_again(&mut self, role: Role) -> Result<(), String> {
        if role == Role::Balancer {
            self.drained = false;
        }
        self.again.push(role);
        self.start(role)
    }

    /// Starts one again that has ended with an error, unless nothing is left to do.
    pub(super) fn start_failed_again(&mut self, role: Role) -> Result<(), String> {
        if self.is_over() {
            return Ok(());
        }
        self.failed.push(role);
        self.start_again(role)
    }
}
