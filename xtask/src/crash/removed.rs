//! To be written.

/// To be written.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// To be written.
    #[arg(long)]
    pub(crate) removed: bool,
}

pub(crate) fn run(_args: &Args) -> bool {
    false
}

/// What a sabotaged build must not survive.
pub(crate) fn first_violation(_programs: &tests::Binaries) -> Option<String> {
    None
}
