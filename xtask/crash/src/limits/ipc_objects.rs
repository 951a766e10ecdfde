//! msgmni, shmmni, msgmnb and msgmax, in an IPC namespace of the check's own.

use tests::Ended;

use super::limited::{
    clear_error, end_of, expect_log, expect_whole_lines, run_free, undisturbed, wait_until,
};
use super::namespaces::own_objects;
use super::{Failure, Setting};

fn set(name: &str, value: u64) -> Result<(), String> {
    // Through /proc/thread-self: the limit is that of the thread that writes it.
    std::fs::write(format!("/proc/sys/kernel/{name}"), value.to_string())
        .map_err(|error| format!("kernel.{name} = {value}: {error}"))
}

fn expect_names(ended: &Ended, name: &str) -> Result<(), String> {
    clear_error(ended)?;
    if ended.stderr.contains(name) {
        Ok(())
    } else {
        Err(format!("does not name {name}: {ended:?}"))
    }
}

pub(super) fn queues(setting: &Setting<'_>) -> Result<String, Failure> {
    own_objects()?;
    let whole = undisturbed(setting, "Halo A;10")?;
    for most in 0..3 {
        let sandbox = setting.sandbox();
        run_free(&sandbox, "client", &["Halo A;10"])?;
        set("msgmni", most)?;
        expect_names(&end_of(&sandbox, "loadbalancer", &["3"])?, "msgmni")?;
        wait_until("no process is left", || sandbox.processes().is_empty())?;
        expect_whole_lines(&sandbox, &whole)?;
        set("msgmni", 3)?;
        run_free(&sandbox, "loadbalancer", &["3"])?;
        expect_log(&sandbox, &whole)?;
    }
    Ok("msgmni 0, 1, 2: a clear error; 3: finished".to_owned())
}

pub(super) fn segments(setting: &Setting<'_>) -> Result<String, Failure> {
    own_objects()?;
    let whole = undisturbed(setting, "Halo A;10")?;
    let sandbox = setting.sandbox();
    set("shmmni", 0)?;
    // Nobody else makes a ledger.
    expect_names(&end_of(&sandbox, "client", &["Halo A;10"])?, "shmmni")?;
    set("shmmni", 1)?;
    run_free(&sandbox, "client", &["Halo A;10"])?;
    run_free(&sandbox, "loadbalancer", &["3"])?;
    expect_log(&sandbox, &whole)?;
    Ok("shmmni 0: the client says so; 1: finished".to_owned())
}

pub(super) fn small(setting: &Setting<'_>) -> Result<String, Failure> {
    own_objects()?;
    let whole = undisturbed(setting, "Halo A;10")?;
    let default = (16_384, 8192);
    let mut finished = 0;
    for (msgmnb, msgmax) in [
        (64, 8192),
        (128, 8192),
        (512, 8192),
        (16_384, 64),
        (16_384, 128),
        (16_384, 512),
        (100, 100),
        (16_384, 20),
    ] {
        let context = |error| format!("msgmnb {msgmnb}, msgmax {msgmax}: {error}");
        let sandbox = setting.sandbox();
        set("msgmnb", msgmnb)?;
        set("msgmax", msgmax)?;
        run_free(&sandbox, "client", &["Halo A;10"])?;
        let ended = end_of(&sandbox, "loadbalancer", &["3"]).map_err(context)?;
        set("msgmnb", default.0)?;
        set("msgmax", default.1)?;
        if ended.status.code() == Some(0) {
            finished += 1;
        } else {
            expect_names(&ended, "msgm").map_err(context)?;
            wait_until("no process is left", || sandbox.processes().is_empty())?;
            run_free(&sandbox, "loadbalancer", &["3"])?;
        }
        expect_log(&sandbox, &whole).map_err(context)?;
    }
    Ok(format!("8 sizes: {finished} times finished, else a clear error"))
}
