//! To be written.

/// To be written.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// To be written.
    #[arg(long)]
    pub(crate) mutants: bool,
}

pub(crate) fn run(_args: &Args) -> bool {
    false
}
