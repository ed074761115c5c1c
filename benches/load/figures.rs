//! `make figures`: latency, restarts, the price of checkpoints, of metrics and of cleaned rows, an
//! idle daemon: what `make bench` has no row for. Each row says what was measured and how.
//!
//! Records are those of the workload of `make bench` where it is at hand ([`yardstick`]), else the
//! demo's; those of P7, P8 and P10 are the demo's, which can be sent for ever.
//! From the environment: `FIGURES_POSTS` (lines a stream; default 1000000), `FIGURES_SECONDS` (of
//! each load; default 20), `FIGURES_ONLY` (numbers of rows, like `P7,P8`; default all),
//! `BENCH_RUNS` (default 3), `BENCH_WORKERS`, `FIGURES_RATE` (records a second of P8 and P10;
//! default half of the greatest that a daemon keeps up with which holds the posts, and those that
//! come meanwhile, and follows the files: of two programs at one rate the latencies can be
//! compared).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinflow::cli::Failure;
use pinflow::cli::bench::cost::{Cost, measure, measured_on, median};
use pinflow::cli::bench::data;
use pinflow::engine::stored_posts;

use super::daemon::Daemon;
use super::latency::{Latency, Setup};
use super::pool::Pool;
use super::yardstick::{self, Yardstick};

const MIB: f64 = 1_048_576.0;
/// Metrics that are added for P13.
const MORE: usize = 10;
/// Checkpoints out of the way.
const NO_CUTS: [&str; 2] = ["state.cut_interval=1h", "state.cut_bytes=64GiB"];

/// What all rows are measured with.
struct Figures {
    dir: PathBuf,
    /// Posts as files.
    input: PathBuf,
    posts: u64,
    pool: Pool,
    seconds: u64,
    runs: u64,
}

pub fn run() -> Result<(), Failure> {
    let dir = super::scratch("figures")?;
    let posts = super::number("FIGURES_POSTS", 1_000_000);
    let found = Yardstick::find();
    let (input, given) = yardstick::input(found.as_ref(), posts, 1)?;
    let of = if given.is_some() { "the workload's" } else { "the demo's" };
    let figures = Figures {
        pool: Pool::new(&dir.join("pool"), 100_000, 99)?,
        seconds: super::number("FIGURES_SECONDS", 20),
        runs: super::number("BENCH_RUNS", 3),
        dir,
        input,
        posts,
    };
    let only = std::env::var("FIGURES_ONLY").unwrap_or_default();
    let wanted = |row: &str| only.is_empty() || only.split(',').any(|o| o.trim() == row);
    let machine = measured_on();
    println!("{machine}, {} workers, {of} records, {posts} lines a stream\n", super::workers());
    println!("| | what | measured |");
    println!("|---|---|---|");
    if wanted("P6") {
        let set = |n| ["--set".to_owned(), format!("engine.max_epoch_records={n}")];
        let [ratio, small, large] = figures.pairs(&set(4_000), &set(20_000), |c| c.seconds)?;
        println!(
            "| P6 | wall with epochs of 4 000 records / of 20 000 | {ratio:.2} ({small:.2} s, \
             {large:.2} s) |"
        );
    }
    if wanted("P7") {
        let several = (0..figures.runs.max(1)).map(|_| figures.latency(5_000.0, 0, &[]));
        row("P7", "append to event, 5 000 rec/s", &middle(several.collect::<Result<_, _>>()?));
    }
    if wanted("P8") || wanted("P10") {
        figures.half(wanted("P10"))?;
    }
    if wanted("P9") || wanted("P4") || wanted("P12") {
        figures.daemons()?;
    }
    if wanted("P13") {
        figures.declared()?;
    }
    if wanted("P14") {
        figures.written()?;
    }
    if wanted("P15") {
        figures.cleaned()?;
    }
    Ok(())
}

fn row(number: &str, what: &str, l: &Latency) {
    println!(
        "| {number} | {what} | p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms ({} drops, {:.0} rec/s, \
         {:.2} CPU s a million, {:.0} checkpoints) |",
        l.p50_ms, l.p99_ms, l.max_ms, l.drops, l.rate, l.cpu_seconds_a_million, l.checkpoints
    );
}

/// Of several loads the one whose worst hundredth is the median.
fn middle(mut several: Vec<Latency>) -> Latency {
    several.sort_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let at = several.len() / 2;
    several.into_iter().nth(at).unwrap_or_default()
}

/// The bench's answers.
fn config() -> Vec<String> {
    let workers = super::workers().to_string();
    ["--config", "builtin:bench.toml", "--workers", &workers].map(str::to_owned).to_vec()
}

impl Figures {
    fn fresh(&self, name: &str) -> Result<PathBuf, Failure> {
        let dir = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).map_err(|e| Failure::io("creating a folder", &e))?;
        Ok(dir)
    }

    /// One run over the posts to the end.
    fn one(&self, name: &str, more: &[String]) -> Result<Cost, Failure> {
        let dir = self.fresh(name)?;
        let _ = std::fs::remove_dir_all(self.dir.join("cleaned"));
        let mut args: Vec<OsString> = vec!["run".into(), "--once".into()];
        args.extend(config().into_iter().chain(more.iter().cloned()).map(OsString::from));
        args.extend(["--input".into(), self.input.clone().into()]);
        args.extend(["--state".into(), dir.join("state").into()]);
        args.extend(["--results".into(), dir.join("out").into()]);
        measure(Path::new(env!("CARGO_BIN_EXE_pinflow")), &args, &dir.join("log"))
    }

    /// Runs of two kinds in turn, so that both are of the machine as it is then: the medians of
    /// their ratios, of the first and of the second.
    fn pairs(
        &self,
        first: &[String],
        second: &[String],
        of: fn(&Cost) -> f64,
    ) -> Result<[f64; 3], Failure> {
        let mut columns = [const { Vec::new() }; 3];
        for _ in 0..self.runs.max(1) {
            let (a, b) = (of(&self.one("first", first)?), of(&self.one("second", second)?));
            columns.iter_mut().zip([a / b, a, b]).for_each(|(column, value)| column.push(value));
        }
        Ok(columns.map(|column| median(column).unwrap_or(0.0)))
    }

    fn latency(&self, rate: f64, posts: u64, set: &[&str]) -> Result<Latency, Failure> {
        let dir = self.fresh("latency")?;
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        Setup { pool: &self.pool, dir: &dir, posts, set: &set }.run(rate, self.seconds)
    }

    /// Half of the greatest rate; in turn with checkpoints out of the way, if their cost is wanted.
    fn half(&self, cost: bool) -> Result<(), Failure> {
        let rate = self.rate()?;
        let (mut with, mut without, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs.max(1) {
            let cuts = self.latency(rate, self.posts, &[])?;
            if cost {
                let none = self.latency(rate, self.posts, &NO_CUTS)?;
                ratios.push(cuts.cpu_seconds_a_million / none.cpu_seconds_a_million);
                without.push(none);
            }
            with.push(cuts);
        }
        row("P8", "append to event, at that rate", &middle(with));
        if cost {
            row("P10", "the same with checkpoints an hour apart", &middle(without));
            let least = ratios.iter().copied().fold(f64::MAX, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            let ratio = median(ratios).unwrap_or(0.0);
            let what = "CPU with checkpoints / without, in turn";
            println!("| P10 | {what} | {ratio:.2} ({least:.2}..{most:.2}) |");
        }
        Ok(())
    }

    /// The rate of P8 and P10, which is told.
    fn rate(&self) -> Result<f64, Failure> {
        let given = super::number("FIGURES_RATE", 0.0);
        if given > 0.0 {
            println!("| P8 | rate, as given | {given:.0} rec/s |");
            return Ok(given);
        }
        let dir = self.fresh("latency")?;
        let setup = Setup { pool: &self.pool, dir: &dir, posts: self.posts, set: &[] };
        let most = setup.sustainable()?;
        println!("| P8 | rate: half of the greatest that is kept up with | {most:.0} / 2 rec/s |");
        Ok(most / 2.0)
    }

    /// An idle daemon, and one that takes all posts back.
    fn daemons(&self) -> Result<(), Failure> {
        let start = |input: &Path, state: &Path| {
            let mut args = config();
            for (flag, path) in [("--input", input), ("--state", state)] {
                args.extend([flag.to_owned(), path.display().to_string()]);
            }
            Daemon::start(&args, &self.dir.join("log"))
        };
        let empty = self.fresh("nothing")?;
        super::write(&empty.join("in/pin.jsonl"), "")?;
        let mut idle = start(&empty.join("in"), &empty.join("state"))?;
        let (_, seconds) = idle.wait("/readyz")?;
        std::thread::sleep(Duration::from_secs(2));
        let (cpu, began) = (idle.cpu_seconds(), Instant::now());
        std::thread::sleep(Duration::from_secs(self.seconds));
        let share = (idle.cpu_seconds() - cpu) / began.elapsed().as_secs_f64() * 100.0;
        let bare = idle.resident();
        println!(
            "| P12 | idle: CPU, memory, start | {share:.2} %, {:.0} MiB, {seconds:.2} s |",
            bare as f64 / MIB
        );
        idle.stop()?;
        self.one("plain", &[])?;
        let state = self.dir.join("plain/state");
        let posts = stored_posts(&state)?.max(1);
        let mut daemon = start(&self.input, &state)?;
        let (_, seconds) = daemon.wait("/api/v1/metrics/q4")?;
        println!("| P9 | restart to the first answer, {posts} posts | {seconds:.2} s |");
        std::thread::sleep(Duration::from_secs(3));
        let bytes = daemon.resident().saturating_sub(bare) / posts;
        println!("| P4 | resident bytes a post beyond the idle daemon | {bytes} |");
        daemon.stop()
    }

    /// What metrics cost that are declared beside.
    fn declared(&self) -> Result<(), Failure> {
        let metrics = built_in()?;
        let percent = |some: &[String]| {
            let more = ["--config".into(), self.more(some)?];
            let [ratio, ..] = self.pairs(&more, &[], |c| c.cpu_seconds.unwrap_or(0.0))?;
            Ok::<f64, Failure>((ratio - 1.0) * 100.0)
        };
        let (first, all) = (percent(metrics.get(..MORE).unwrap_or(&metrics))?, percent(&metrics)?);
        println!(
            "| P13 | ten more metrics, CPU: the first ten built in; ten of all {} on average | \
             +{first:.0} %, +{:.0} % |",
            metrics.len(),
            all * MORE as f64 / metrics.len() as f64
        );
        Ok(())
    }

    /// What cleaned rows cost. All three are measured in turn, as in [`Figures::pairs`].
    fn cleaned(&self) -> Result<(), Failure> {
        let out = self.dir.join("cleaned");
        let mut columns = [const { Vec::new() }; 4];
        for _ in 0..self.runs.max(1) {
            let rows = self.one("rows", &["--cleaned".into(), out.display().to_string()])?.seconds;
            let bare = write_and_sync(&self.dir, data::bytes(&out))?;
            let without = self.one("plain", &[])?.seconds;
            let all = [rows / without.max(bare), rows, without, bare];
            columns.iter_mut().zip(all).for_each(|(column, value)| column.push(value));
        }
        let [ratio, rows, without, bare] = columns.map(|c| median(c).unwrap_or(0.0));
        println!(
            "| P15 | with --cleaned: wall / the greater of without, and writing its bytes | \
             {ratio:.2} ({rows:.2} s, {without:.2} s, {bare:.2} s) |"
        );
        Ok(())
    }

    /// A configuration with these metrics more.
    fn more(&self, metrics: &[String]) -> Result<String, Failure> {
        let path = self.dir.join("more.toml");
        super::write(&path, &metrics.concat())?;
        Ok(path.display().to_string())
    }

    /// Bytes of one generation, and bytes written for all of them.
    fn written(&self) -> Result<(), Failure> {
        let dir = self.fresh("written")?;
        let (input, state) = (self.input.clone(), dir.join("state"));
        let mut args = config();
        for (flag, path) in [("--input", &input), ("--state", &state)] {
            args.extend([flag.to_owned(), path.display().to_string()]);
        }
        let mut daemon = Daemon::start(&args, &dir.join("log"))?;
        daemon.wait("/readyz")?;
        daemon.catch_up()?;
        std::thread::sleep(Duration::from_secs(3));
        let cuts = daemon.metric("pinflow_checkpoint_bytes_total")?;
        let one = daemon.metric("pinflow_checkpoint_disk_bytes")?;
        let posts = daemon.metric("pinflow_posts")?;
        daemon.stop()?;
        let folder = data::bytes(&state) as f64;
        let said = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        let bases = said.lines().filter(|l| l.contains("a new base")).filter_map(|line| {
            let at = line.find("\"bytes\":")? + 8;
            line[at..].split([',', '}']).next()?.parse::<f64>().ok()
        });
        let all = cuts + bases.sum::<f64>();
        println!(
            "| P14 | a generation a post; written / a generation; the folder / a generation | \
             {:.0} B, {:.2}, {:.2} |",
            one / posts,
            all / one,
            folder / one
        );
        Ok(())
    }
}

/// The declarations of the built-in metrics.
fn built_in() -> Result<Vec<String>, Failure> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/metrics.toml");
    let text = std::fs::read_to_string(&file)
        .map_err(|e| Failure::io(format!("reading {}", file.display()), &e))?;
    let declared = text.split("\n[[metric]]\n").skip(1);
    Ok(declared.map(|metric| format!("[[metric]]\n{metric}\n")).collect())
}

/// Seconds that writing and syncing so many bytes takes.
fn write_and_sync(dir: &Path, bytes: u64) -> Result<f64, Failure> {
    let failed = |e: std::io::Error| Failure::io("writing a file to compare with", &e);
    let path = dir.join("bare");
    let (block, began) = (vec![b'x'; 1 << 20], Instant::now());
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    for _ in 0..bytes.div_ceil(1 << 20) {
        std::io::Write::write_all(&mut file, &block).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(seconds)
}
