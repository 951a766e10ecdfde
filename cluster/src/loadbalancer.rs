//! The balancer as a process.

use std::collections::BTreeSet;
use std::time::Instant;

use common::error::{Error, exit, heed_signals};
use common::grammar::rotation::WorkerId;
use common::instance::Instance;
use common::instance::objects;
use common::instance::role::Role;

use crate::args;
use crate::balance::{Balancer, Order, Step};
use crate::crew::Crew;
use crate::files::Files;
use crate::name;
use crate::nats::Nats;
use crate::runtime;
use crate::state::{State, listed};

pub(crate) fn run(args: &args::Loadbalancer) -> Result<u8, Error> {
    args.work.check()?;
    if let Some(Err(beyond)) = args.run.as_ref().map(|numbers| numbers.of(args.workers)) {
        let what = format!("--run {beyond}: there are workers 1 to {}", args.workers);
        return Err(Error::Own { what, code: exit::USAGE });
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
    let outcome = runtime.block_on(balance(&mut balancer, &mut crew, args, &name));
    runtime.block_on(crew.end());
    drop(runtime);
    outcome
}

async fn balance(
    balancer: &mut Balancer<Nats, Files>,
    crew: &mut Crew<'_>,
    args: &args::Loadbalancer,
    name: &str,
) -> Result<u8, Error> {
    let start = Instant::now();
    let (mut is_begun, mut ignored) = (false, 0);
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
                for worker in to_run(balancer.state(), args, name) {
                    crew.add(worker, false)?;
                }
            }
            take_over(balancer.state(), crew, args, name)?;
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
            if !args.serve {
                return Ok(if done.dead > 0 { exit::PARTLY } else { 0 });
            }
        }
    }
}

/// What is run here from the beginning.
fn to_run(state: &State, args: &args::Loadbalancer, name: &str) -> BTreeSet<WorkerId> {
    if let Some(numbers) = &args.run {
        return numbers.of(args.workers).unwrap_or_default();
    }
    let is_free =
        |worker: &WorkerId| state.holder(*worker).name.as_ref().is_none_or(|holder| holder == name);
    args.workers.ids().filter(is_free).collect()
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
                "cluster: worker {} is taken over from {}",
                listed([worker]),
                holder.unwrap_or("nobody")
            );
        }
        crew.add(worker, true)?;
    }
    Ok(())
}
