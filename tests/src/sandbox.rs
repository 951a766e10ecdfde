//! A directory of its own, the programs in it, and nothing left of it.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::fence::message_queue::MessageQueue;
use common::grammar::rotation::WorkerId;
use common::history::replay::Summary;
use common::instance::directory::{self, Directory};
use common::instance::role::Role;
use common::instance::{Instance, objects};
use common::ledger::Ledger;
use lbctl::objects::IpcObject;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::binaries::Binaries;
use crate::cargo::Profile;
use crate::ipc::{self, objects_that_stay};
use crate::oracle;
use crate::proc::{processes, signal_all, spawned_number, stop_outside_lock};
use crate::process::{Ended, Process};
use crate::temp_dir::{RUN, TempDir, unless_ending};

/// How long anything may take that a test waits for. Generous: it only matters when a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Of each file, so many bytes at its beginning and at its end are shown after a failure.
const SHOWN_MAX: usize = 1500;

/// A temp directory in which the product's programs run. Dropping it removes what they left.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    binaries: Binaries,
    started: std::cell::Cell<u32>,
    mounted: Option<PathBuf>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new(Binaries::build(Profile::Dev))
    }
}

impl Sandbox {
    /// A new one, for these programs.
    #[must_use]
    pub fn new(binaries: &Binaries) -> Self {
        let root = TempDir::new("pipip-").expect("a temp directory");
        // What programs print is kept outside of the directory they run in.
        for sub in [RUN, "out"] {
            std::fs::create_dir(root.path().join(sub)).expect("a directory in a temp directory");
        }
        let binaries = binaries.clone();
        Self { root, binaries, started: 0.into(), mounted: None }
    }

    /// Keeps the directory after the end.
    pub fn keep(&mut self) {
        self.root.keep();
    }

    /// The directory that the programs run in.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.root.path().join(RUN)
    }

    /// That directory's parent, where the programs put nothing.
    #[must_use]
    pub fn root(&self) -> &TempDir {
        &self.root
    }

    /// Mounts a file system over a part of it, or again with other options. In a mount namespace of this
    /// thread's own: see [`crate::unshare`].
    pub fn mount(&mut self, at: &Path, kind: &str, options: &str) -> nix::Result<()> {
        let again = self.mounted.as_deref() == Some(at);
        let flags = if again { MsFlags::MS_REMOUNT } else { MsFlags::empty() };
        mount(Some(kind), at, Some(kind), flags, Some(options))?;
        self.mounted = Some(at.to_owned());
        Ok(())
    }

    /// Has the programs run on a tmpfs of so many bytes; for how, see [`Self::mount`].
    pub fn set_room(&mut self, bytes: usize) -> nix::Result<()> {
        self.mount(&self.dir(), "tmpfs", &format!("size={bytes},mode=700"))
    }

    /// `sistem.log` in it.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir().join("sistem.log")
    }

    /// The logs that were set aside, in order, and the one that is written now, if there is one.
    #[must_use]
    pub fn logs(&self) -> Vec<PathBuf> {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let entries = std::fs::read_dir(self.dir()).expect("the directory");
        let files = entries.map(|entry| entry.expect("an entry").path());
        let number = |path: &PathBuf| match name(path)?.strip_prefix("sistem.log")? {
            "" => Some(u32::MAX),
            rest => rest.strip_prefix('.')?.parse().ok(),
        };
        let mut logs: Vec<(u32, PathBuf)> =
            files.filter_map(|path| Some((number(&path)?, path))).collect();
        logs.sort();
        logs.into_iter().map(|(_, path)| path).collect()
    }

    /// What the log holds now; empty if there is none.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// A command for one of the programs, that runs in the directory.
    #[must_use]
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.binaries.path(program));
        command.args(args).current_dir(self.dir()).stdin(Stdio::null());
        command
    }

    /// Starts a program.
    #[must_use]
    pub fn start(&self, program: &str, args: &[&str]) -> Process {
        self.start_command(self.command(program, args), &format!("{program} {}", args.join(" ")))
    }

    /// Starts a program that reads `input` from its standard input.
    #[must_use]
    pub fn start_with_input(&self, program: &str, args: &[&str], input: &[u8]) -> Process {
        let path = self.out_path("stdin");
        std::fs::write(&path, input).expect("writing a file in a temp directory");
        let mut command = self.command(program, args);
        command.stdin(File::open(path).expect("a file just written"));
        self.start_command(command, &format!("{program} {} < …", args.join(" ")))
    }

    /// Starts a program whose standard input is a pipe that the test holds: see
    /// [`Process::take_stdin`].
    #[must_use]
    pub fn start_with_pipe(&self, program: &str, args: &[&str]) -> Process {
        let mut command = self.command(program, args);
        command.stdin(Stdio::piped());
        self.start_command(command, &format!("{program} {} < pipe", args.join(" ")))
    }

    /// Starts any command, its output kept beside the directory.
    #[must_use]
    pub fn start_command(&self, mut command: Command, name: &str) -> Process {
        let (stdout, stderr) = (self.out_path("stdout"), self.out_path("stderr"));
        let create = |path: &Path| File::create(path).expect("a file in a temp directory");
        command.stdout(create(&stdout)).stderr(create(&stderr));
        let _live = unless_ending();
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Process { name: name.to_owned(), child, stdout, stderr }
    }

    fn out_path(&self, stream: &str) -> PathBuf {
        let number = self.started.replace(self.started.get() + 1);
        self.root.path().join(format!("out/{number:04}.{stream}"))
    }

    /// Runs a program to its end.
    #[must_use]
    pub fn run(&self, program: &str, args: &[&str]) -> Ended {
        let mut process = self.start(program, args);
        self.end(&mut process)
    }

    /// Runs a program to its end, which must be exit code 0.
    pub fn ok(&self, program: &str, args: &[&str]) -> Ended {
        let ended = self.run(program, args);
        self.assert_code(&ended, 0);
        ended
    }

    /// Waits for a program's end.
    pub fn end(&self, process: &mut Process) -> Ended {
        process.wait(PATIENCE).unwrap_or_else(|| {
            panic!("`{}` has not ended within {PATIENCE:?}{}", process.name, self.report())
        })
    }

    /// Signals a program again and again until it ends: one signal soon after another is the same request.
    pub fn end_by(&self, process: &mut Process, signal: Signal) -> Ended {
        self.wait_until("a signal ends it", || {
            process.signal(signal);
            !process.is_running()
        });
        self.end(process)
    }

    /// A program must have ended with this exit code.
    pub fn assert_code(&self, ended: &Ended, code: i32) {
        assert_eq!(ended.status.code(), Some(code), "{ended:#?}{}", self.report());
    }

    /// Waits until a condition holds, instead of sleeping for a time that may be too short.
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "never happened: {what}{}", self.report());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops a process where it does not hold the log's lock, so that others can go on.
    pub fn stop(&self, pid: i32) {
        let stands = stop_outside_lock(pid, &self.log_path());
        assert!(stands, "process {pid} does not stand still{}", self.report());
    }

    /// Waits until the log is at least so long.
    pub fn wait_for_log(&self, len: u64) {
        self.wait_until(&format!("the log has {len} bytes"), || self.log_len() >= len);
    }

    /// Bytes of the log; 0 if there is none.
    #[must_use]
    pub fn log_len(&self) -> u64 {
        std::fs::metadata(self.log_path()).map_or(0, |metadata| metadata.len())
    }

    /// The log must be exactly this. Tells where it is not, since logs may be long.
    pub fn assert_log(&self, expected: &str) {
        if let Some(wrong) = oracle::difference(&self.log(), expected) {
            panic!("the log: {wrong}{}", self.report());
        }
    }

    /// The log must consist of whole sessions, in the canonical order. Returns what they came to.
    #[must_use]
    pub fn sessions(&self) -> Vec<Summary> {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        oracle::sessions(&log).unwrap_or_else(|wrong| panic!("{wrong}{}", self.report()))
    }

    /// The process id of worker k, if the load balancer has started it.
    #[must_use]
    pub fn spawned_worker(&self, k: u32) -> Option<i32> {
        self.processes().into_iter().find(|&pid| spawned_number(pid) == Some(k))
    }

    /// Whether a process in the directory has a role by now: it may be running without.
    #[must_use]
    pub fn is_held(&self, role: Role) -> bool {
        Instance::open(&self.dir())
            .is_ok_and(|instance| instance.is_held_by_another(role).unwrap_or(false))
    }

    /// Whether a load balancer has its role by now.
    #[must_use]
    pub fn has_balancer(&self) -> bool {
        Instance::open(&self.dir()).is_ok_and(|instance| {
            instance.balancer_workers().is_ok_and(|workers| workers.is_some())
        })
    }

    /// Whether worker k has its role by now.
    #[must_use]
    pub fn has_worker(&self, k: u32) -> bool {
        WorkerId::new(k).is_ok_and(|worker| self.is_held(Role::Worker(worker)))
    }

    /// IPC objects of the directory's instance.
    #[must_use]
    pub fn ipc_objects(&self) -> Vec<IpcObject> {
        ipc::objects(&self.dir())
    }

    /// The message queues among them.
    #[must_use]
    pub fn queues(&self) -> Vec<MessageQueue> {
        let queue = |object| match object {
            IpcObject::Queue { id, .. } => Some(MessageQueue(id)),
            IpcObject::Segment { .. } => None,
        };
        self.ipc_objects().into_iter().filter_map(queue).collect()
    }

    /// The kind of the message that marks each of these.
    #[must_use]
    pub fn mark(&self) -> i64 {
        directory::mark(Directory::open(&self.dir()).expect("a directory").id())
    }

    /// The id of the ledger's segment among them.
    #[must_use]
    pub fn segment(&self) -> Option<i32> {
        self.ipc_objects().into_iter().find_map(|object| match object {
            IpcObject::Segment { id, .. } => Some(id),
            IpcObject::Queue { .. } => None,
        })
    }

    /// The directory's ledger, if there is one.
    #[must_use]
    pub fn ledger(&self) -> Option<Ledger> {
        let directory = Directory::open(&self.dir()).expect("the directory");
        objects::find_ledger(&directory).expect("a look for the ledger")
    }

    /// No IPC object, no process and no file but the log is left.
    pub fn assert_clean(&self) {
        assert_eq!(self.leftovers(), [""; 0], "something is left{}", self.report());
    }

    /// What is left, in words: IPC objects, processes, files other than the log.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let objects = objects_that_stay(&self.dir());
        let objects = objects.into_iter().map(|object| format!("{object:?}"));
        let processes = self.processes().into_iter().map(|pid| format!("process {pid}"));
        let files = std::fs::read_dir(self.dir())
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name != "sistem.log")
            .map(|name| format!("file {}", name.display()));
        objects.chain(processes).chain(files).collect()
    }

    /// Processes whose working directory is this one.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        processes(&self.dir())
    }

    /// Everything needed to understand a failure.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("\n===== {}\n", self.dir().display());
        let _ = writeln!(report, "IPC objects: {:?}", self.ipc_objects());
        let _ = writeln!(report, "processes: {:?}", self.processes());
        let mut files: Vec<PathBuf> = [RUN, "out"]
            .iter()
            .filter_map(|sub| std::fs::read_dir(self.root.path().join(sub)).ok())
            .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
            .filter(|path| path.is_file()) // reading a pipe might never end
            .collect();
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file).unwrap_or_default();
            let _ = writeln!(report, "----- {} ({} bytes)", file.display(), bytes.len());
            // Of long ones the beginning and the end: in between every log looks the same.
            let end = bytes.len().saturating_sub(SHOWN_MAX).max(bytes.len().min(SHOWN_MAX));
            report.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX)]));
            if end > SHOWN_MAX {
                report.push_str("\n…\n");
            }
            report.push_str(&String::from_utf8_lossy(&bytes[end..]));
        }
        report + "=====\n"
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.root.is_kept() {
            return;
        }
        signal_all(&self.dir(), Signal::SIGKILL);
        // A test may have used directories in it as instances of their own, and have failed in the middle.
        let within = std::fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let within = within.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir()));
        for directory in within.map(|entry| entry.path()).chain([self.dir()]) {
            ipc::objects(&directory).into_iter().for_each(IpcObject::remove);
        }
        if let Some(at) = &self.mounted {
            // A directory under a mount cannot be removed.
            let _ = umount2(at, MntFlags::MNT_DETACH);
        }
    }
}
