//! `--bench`: what the stream costs, on three servers that write through. Each figure is a ratio within one run, beside
//! somebody who does the same with less: a bare publisher, or the local product.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use lbctl::terminal;

use crate::failure::Failure;
use crate::handler;
use crate::place::{Place, Programs};
use crate::site::Site;
use crate::stream;

/// Measured so often, in turns.
const TURNS: u32 = 3;
/// One at a time.
const LONE: u32 = 1000;
/// Lines of a file.
const LINES: u32 = 100_000;
/// Messages of one submission.
const MESSAGES: u32 = 100_000_000;
/// Messages with work.
const WORK: u32 = 3_000_000;
const WORKERS: &str = "3";
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(300);
const TEXT: &str = "Halo A";

/// Ours, by the other's.
struct Row {
    what: String,
    /// Each turn's.
    ours: Vec<f64>,
    other: Vec<f64>,
    unit: &'static str,
    goal: f64,
}

/// Measures all of it.
pub(crate) fn run(place: &Place, programs: &Programs) -> Result<ExitCode, Failure> {
    let mut site = Site::new(place.clone(), 0)?;
    site.await_servers()?;
    let mut bench = Bench { site: &site, programs, instances: 0 };
    let rows = [bench.lone()?, bench.lines()?, bench.submission()?, bench.work()?];
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_header(["what", "ours", "other", "ratio", "goal"]);
    for row in &rows {
        table.add_row(row.cells());
    }
    site.end()?;
    terminal::print(&format!("{table}\n")).map_err(Failure::Report)?;
    Ok(ExitCode::SUCCESS)
}

impl Row {
    fn cells(&self) -> [String; 5] {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.other).map(|(a, b)| a / b).collect();
        let shown = |values: &[f64], unit: &str| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            let digits = if values[0] < 100.0 { 2 } else { 0 };
            let [least, median, most] =
                [0, values.len() / 2, values.len() - 1].map(|at| values[at]);
            format!("{median:.digits$} ({least:.digits$}-{most:.digits$}){unit}")
        };
        [
            self.what.clone(),
            shown(&self.ours, self.unit),
            shown(&self.other, self.unit),
            shown(&ratios, ""),
            format!("at least {}", self.goal),
        ]
    }
}

struct Bench<'a> {
    site: &'a Site,
    programs: &'a Programs,
    instances: u32,
}

impl Bench<'_> {
    fn instance(&mut self) -> String {
        self.instances += 1;
        format!("bench{}", self.instances)
    }

    /// Submissions, each confirmed before the next one is given, beside a bare publisher that does so.
    fn lone(&mut self) -> Result<Row, Failure> {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let instance = self.instance();
            let mut command = self.site.program("client", 0, &instance);
            let mut client = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(Failure::system("client"))?;
            let (Some(mut stdin), Some(stdout)) = (client.stdin.take(), client.stdout.take())
            else {
                return Err(Failure::Broken("the client has no pipes".to_owned()));
            };
            let mut stdout = BufReader::new(stdout);
            let mut submit = || {
                let mut line = String::new();
                let given = stdin.write_all(format!("{TEXT};1\n").as_bytes());
                given.and_then(|()| stdout.read_line(&mut line)).map_err(Failure::system("client"))
            };
            submit()?; // connected
            let start = Instant::now();
            for _ in 0..LONE {
                submit()?;
            }
            ours.push(f64::from(LONE) / start.elapsed().as_secs_f64());
            drop(stdin);
            ended(&mut client, "client")?;
            other.push(self.publish(&instance, &format!("last\n{TEXT};1\n"), LONE)?);
        }
        let what = "submissions, one at a time; other: a bare chained publisher".to_owned();
        Ok(Row { what, ours, other, unit: "/s", goal: 0.8 })
    }

    /// A file of lines, beside the publisher with one line in each entry.
    fn lines(&mut self) -> Result<Row, Failure> {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        let file = self.site.place.dir.join("lines");
        let lines: String = (0..LINES).map(|number| format!("{number};1\n")).collect();
        fs::write(&file, lines).map_err(Failure::system("a file of lines"))?;
        for _ in 0..TURNS {
            let instance = self.instance();
            let input = fs::File::open(&file).map_err(Failure::system("a file of lines"))?;
            let mut command = self.site.program("client", 0, &instance);
            let start = Instant::now();
            done(command.arg("--quiet").stdin(input))?;
            ours.push(f64::from(LINES) / start.elapsed().as_secs_f64());
            other.push(self.publish(&instance, "last\n10000;1\n", LONE)?);
        }
        let what = "lines of a file, a submission each; other: the same publisher".to_owned();
        Ok(Row { what, ours, other, unit: "/s", goal: 0.8 })
    }

    fn publish(&self, instance: &str, text: &str, count: u32) -> Result<f64, Failure> {
        let mut command = Command::new(&self.programs.publisher);
        command.args([
            &self.site.urls(0),
            &format!("pipip-{instance}"),
            &format!("pipip.{instance}.bare"),
            &count.to_string(),
            text,
        ]);
        let output = command.output().map_err(Failure::system("publisher"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let seconds: Option<f64> = text.split_whitespace().nth(1).and_then(|it| it.parse().ok());
        let failed = || {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Failure::Broken(format!("the publisher: {stderr}"))
        };
        seconds.map(|seconds| f64::from(count) / seconds).ok_or_else(failed)
    }

    /// One submission, written to one host's log, beside the local product.
    fn submission(&mut self) -> Result<Row, Failure> {
        let submission = format!("{TEXT};{MESSAGES}");
        let (ours, other) = self.both(&submission, f64::from(MESSAGES) / 1e6, &[])?;
        let what = format!("one submission of {MESSAGES} messages, one host; other: local");
        Ok(Row { what, ours, other, unit: " M/s", goal: 0.5 })
    }

    /// Messages with a COMMAND that is kept, beside the local product.
    fn work(&mut self) -> Result<Row, Failure> {
        let submission = format!("{TEXT};{WORK}");
        let handler = handler::command(Path::new("/dev/null"));
        let handler = handler.map_err(Failure::system("/proc/self/exe"))?;
        let [program, name, file] = handler;
        let work = ["--lines", WORKERS, "--", &program, &name, &file];
        let (ours, other) = self.both(&submission, f64::from(WORK), &work)?;
        // What the last turn has said to the stream.
        let seconds = f64::from(WORK) / ours.last().copied().unwrap_or(f64::INFINITY);
        let output = self.site.place.dir.join("entries");
        let instance = format!("bench{}", self.instances);
        stream::look(self.site.program("inspect", 0, &instance), &output, LIMIT)?;
        let mut said = 0_u32;
        stream::entries(&output, |entry| said += u32::from(entry.subject == "run.1"))?;
        let said = f64::from(said) / seconds;
        let what =
            format!("{WORK} messages with --lines, {said:.0} words/s of a worker; other: local");
        Ok(Row { what, ours, other, unit: "/s", goal: 0.8 })
    }

    /// So much by the second that a balancer takes for it, here and local.
    fn both(
        &mut self,
        submission: &str,
        much: f64,
        work: &[&str],
    ) -> Result<(Vec<f64>, Vec<f64>), Failure> {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        let work = if work.is_empty() { &[WORKERS] } else { work };
        for turn in 0..TURNS {
            let instance = self.instance();
            let dir = self.site.place.dir.join(format!("own{turn}"));
            crate::host::directory(&dir)?;
            done(self.site.program("client", 0, &instance).args(["--quiet", submission]))?;
            let mut command = self.site.program("loadbalancer", 0, &instance);
            command.arg("--quiet").arg("--dir").arg(&dir).args(["--run", "all"]).args(work);
            let start = Instant::now();
            done(&mut command)?;
            ours.push(much / start.elapsed().as_secs_f64());
            let log_of = |dir: &Path| fs::metadata(dir.join("sistem.log")).map(|log| log.len());
            let own_len = log_of(&dir).unwrap_or_default();
            clear(&dir)?;
            let dir = self.site.place.dir.join(format!("local{turn}"));
            crate::host::directory(&dir)?;
            let local = |program: &str| {
                let mut command = Command::new(self.programs.local.join(program));
                command.arg("--quiet").arg("--dir").arg(&dir);
                command
            };
            done(local("client").arg(submission))?;
            let start = Instant::now();
            done(local("loadbalancer").args(work))?;
            other.push(much / start.elapsed().as_secs_f64());
            if log_of(&dir).unwrap_or_default() != own_len {
                return Err(Failure::Broken("the two logs differ in length".to_owned()));
            }
            clear(&dir)?;
        }
        Ok((ours, other))
    }
}

fn clear(dir: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(dir).map_err(Failure::system(dir.display().to_string()))
}

fn done(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(Failure::system(name.clone()))?;
    ended(&mut child, &name)
}

fn ended(child: &mut std::process::Child, name: &str) -> Result<(), Failure> {
    match stream::wait(child, LIMIT)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Failure::Broken(format!("{name}: {status}"))),
        None => Err(Failure::Broken(format!("{name} has not ended within {LIMIT:?}"))),
    }
}
