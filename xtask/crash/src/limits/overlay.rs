//! A directory that lies in the lower layer of an overlay file system, as one that is baked into a container's
//! image: what is made in it first copies the directory up, and gives it another birth time.

use tests::TempDir;

use super::limited::{end, expect_log, run_free, undisturbed, wait_until};
use super::namespaces::{own_mounts, own_objects};
use super::{Failure, Setting};

pub(super) fn lower_directory(setting: &Setting<'_>) -> Result<String, Failure> {
    // If this fails there are two ledgers, of which only one can be seen to be the sandbox's.
    own_objects()?;
    own_mounts()?;
    let plain = undisturbed(setting, "Halo A;10")?;
    let mut sandbox = setting.sandbox();
    let root = sandbox.root().path().to_owned();
    let layers = TempDir::new("pipip-layers-").map_err(|error| error.to_string())?;
    let [upper, work] = ["upper", "work"].map(|name| layers.path().join(name));
    for layer in [&upper, &work] {
        std::fs::create_dir(layer).map_err(|error| format!("{}: {error}", layer.display()))?;
    }
    // Over itself: the sandbox as it is becomes the lower layer.
    let [lower, upper, work] = [&root, &upper, &work].map(|path| path.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    sandbox.mount(&root, "overlay", &options).map_err(|error| format!("overlay: {error}"))?;

    let mut balancer = sandbox.start("loadbalancer", &["3"]);
    wait_until("the balancer has made the log", || sandbox.log_path().exists())?;
    // Must find that balancer's ledger.
    run_free(&sandbox, "client", &["Halo A;10"])?;
    end(&mut balancer)?.expect_code(0)?;
    expect_log(&sandbox, &plain)?;
    Ok("whoever comes first and later find the same ledger".to_owned())
}
