//! What programs do beside their own work: they say what happens and what to type, show help, read input, ask the
//! kernel about their children, and tell the service manager how they are.

pub mod advice;
pub mod children;
pub mod help;
pub mod input;
pub mod pause;
pub mod process_stat;
pub mod say;
pub mod service_manager;
pub mod work;
