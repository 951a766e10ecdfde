//! What every program does beside its own work: says what happens and what to type, shows its help, asks the kernel about
//! its children, and says to the service manager how it is.

pub mod advice;
pub mod children;
pub mod help;
pub mod pause;
pub mod process_stat;
pub mod say;
pub mod service_manager;
pub mod work;
