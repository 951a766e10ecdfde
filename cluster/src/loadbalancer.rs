//! The balancer as a process.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::error::{Error, exit, heed_signals};
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;
use nix::sys::prctl;

use crate::args;
use crate::balance::{Balancer, Order, Step};
use crate::crew::Crew;
use crate::files::Files;
use crate::name;
use crate::nats::Nats;
use crate::numbers::Numbers;
use crate::runtime;
use crate::state::State;

/// Nobody waits longer without a word.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &args::Loadbalancer) -> Result<u8, Error> {
    args.work.check()?;
    if let Some(Err(beyond)) = args.run.as_ref().map(|numbers| numbers.of(args.workers)) {
        let what = format!("--run {beyond}: there are workers 1 to {}", args.workers);
        return Err(Error::Own { what, code: exit::USAGE });
    }
    if args.work.is_any() {
        // What a dead worker's COMMAND leaves comes here, where it is found.
        prctl::set_child_subreaper(true).map_err(Error::system("prctl"))?;
    }
    let instance = Instance::open(&args.dir)?;
    instance.hold(Role::Balancer(args.workers))?;
    if objects::find_ledger(instance.directory())?.is_some() {
        let what = "a session of the local load balancer is in this directory: finish it, or give another --dir";
        return Err(Error::Own { what: what.to_owned(), code: exit::TROUBLE });
    }
    let name = name::of(&instance)?;
    let files = Files::open(instance, args.durable)?;
    let runtime = runtime::begin()?;
    let nats = runtime.block_on(args.connection.open(heed_signals))?;
    if !args.connection.knows_sync() {
        common::note!(
            "cluster: whether the servers write through (`sync_interval: always`) is not known: if not, a power failure \
             takes what was accepted; --monitor asks them"
        );
    }
    let order = Order { workers: args.workers, serve: args.serve, take_over: args.take_over };
    let mut balancer = Balancer::new(nats, files, order, heed_signals);
    let mut crew = Crew::new(args);
    let worst = Cell::new(0);
    let outcome = runtime.block_on(balance(&mut balancer, &mut crew, args, &name, &worst));
    runtime.block_on(crew.end());
    drop(runtime);
    match outcome {
        // It was asked to end, and has.
        Err(Error::Aborted(_)) if args.serve => Ok(worst.get()),
        outcome => outcome,
    }
}

async fn balance(
    balancer: &mut Balancer<Nats, Files>,
    crew: &mut Crew<'_>,
    args: &args::Loadbalancer,
    name: &str,
    worst: &Cell<u8>,
) -> Result<u8, Error> {
    let start = Instant::now();
    let (mut is_begun, mut ignored, mut notices) = (false, 0, Notices::default());
    loop {
        let step = balancer.step().await?;
        if balancer.state().ignored > ignored {
            ignored = balancer.state().ignored;
            common::tell!(
                "cluster: {ignored} entries of the stream are none of ours, or have no right to be there; passed over \
                 (`cluster inspect` shows them)"
            );
        }
        if balancer.is_up_to_date() {
            balancer.paper().check()?;
            if !std::mem::replace(&mut is_begun, true) {
                balancer.paper().check_end()?;
                common::note!("cluster: ready, as {name}");
            }
            for worker in to_run(balancer.state(), args, name) {
                crew.add(worker, false)?;
            }
            take_over(balancer.state(), crew, args, name)?;
            if step == Step::Goes {
                let own = crew.numbers().collect();
                notices.give(balancer.state(), args, &own);
            }
        }
        if is_begun {
            let own: Vec<_> = crew.numbers().collect();
            let is_elsewhere = |worker: &WorkerId| {
                let holder = &balancer.state().holder(*worker).name;
                holder.as_ref().is_some_and(|holder| holder != name)
            };
            crew.look_after(&own.into_iter().filter(is_elsewhere).collect())?;
        }
        if let Step::Ended(done) = step {
            let seconds = start.elapsed().as_secs_f64();
            common::note!(
                "cluster: {} messages in {seconds:.1} s, {} dead: the session has ended",
                done.messages,
                done.dead
            );
            if done.dead > 0 {
                worst.set(exit::PARTLY);
            }
            if !args.serve {
                return Ok(worst.get());
            }
        }
    }
}

/// What is to be run here and nobody else runs: at the beginning, or since it was given back.
fn to_run(state: &State, args: &args::Loadbalancer, name: &str) -> BTreeSet<WorkerId> {
    let wanted = args.run.as_ref().unwrap_or(&Numbers::All).of(args.workers).unwrap_or_default();
    let is_free =
        |worker: &WorkerId| state.holder(*worker).name.as_ref().is_none_or(|holder| holder == name);
    wanted.into_iter().filter(is_free).collect()
}

/// What is waited for, said once each.
#[derive(Default)]
struct Notices {
    since: Option<Instant>,
    submission: bool,
    workers: BTreeSet<WorkerId>,
}

impl Notices {
    /// `own`: what is run here.
    fn give(&mut self, state: &State, args: &args::Loadbalancer, own: &BTreeSet<WorkerId>) {
        if self.since.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
            return;
        }
        if state.session.messages == 0 && !std::mem::replace(&mut self.submission, true) {
            common::note!("cluster: waiting for a submission: `cluster client 'TEXT;COUNT'`");
        }
        let is_silent = |worker: &WorkerId| {
            let holder = state.holder(*worker);
            let waits = holder.name.is_none() && state.is_due(*worker);
            !own.contains(worker) && (waits || state.is_silent(*worker))
        };
        for worker in args.workers.ids().filter(is_silent) {
            if self.workers.insert(worker) {
                let holder = state.holder(worker).name.as_deref().unwrap_or("nobody");
                common::note!(
                    "cluster: waiting for worker {worker}, which {holder} holds: run it with `--run {worker}`; if its \
                     host is gone, first `cluster release --instance {} {worker}`",
                    args.connection.instance
                );
            }
        }
    }
}

/// Cares for numbers whose holders say nothing although messages wait for them.
fn take_over(
    state: &State,
    crew: &mut Crew<'_>,
    args: &args::Loadbalancer,
    name: &str,
) -> Result<(), Error> {
    if !args.take_over {
        return Ok(());
    }
    let own: BTreeSet<_> = crew.numbers().collect();
    let silent =
        args.workers.ids().filter(|worker| state.is_silent(*worker) && !own.contains(worker));
    for worker in silent {
        let holder = state.holder(worker).name.as_deref();
        if holder != Some(name) {
            common::note!(
                "cluster: worker {worker} is taken over from {}",
                holder.unwrap_or("nobody")
            );
        }
        crew.add(worker, true)?;
    }
    Ok(())
}
