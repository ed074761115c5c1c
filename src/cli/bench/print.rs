//! A report for people.

use std::fmt::Write as _;

use super::cost::median;
use super::{Report, Run};

const MIB: f64 = 1_048_576.0;

/// The report as a table, a line a run, and their medians where there are several.
pub fn text(report: &Report) -> String {
    let mut out = format!(
        "pinflow {} on {} ({} cores), {} workers, durable state on\n{}\n{}, {:.0} MiB\n\n",
        report.version,
        report.machine,
        report.cores,
        report.workers,
        report.config.join(", "),
        report.input,
        report.input_bytes as f64 / MIB
    );
    let _ = writeln!(
        out,
        "{:>6}  {:>8}  {:>9}  {:>8}  {:>8}  {:>10}  {:>9}  {:>5}",
        "run", "seconds", "records/s", "CPU s", "peak MiB", "bytes/post", "state MiB", "cuts"
    );
    for (n, run) in report.runs.iter().enumerate() {
        line(&mut out, &(n + 1).to_string(), std::slice::from_ref(run));
    }
    if report.runs.len() > 1 {
        line(&mut out, "median", &report.runs);
    }
    if let Some(run) = report.runs.first() {
        let rejected = match run.rejected {
            0 => String::new(),
            n if n == run.records => ", all rejected".to_string(),
            n => format!(", {n} of them rejected"),
        };
        let _ = write!(out, "\n{} records{rejected}, {} posts", run.records, run.posts);
        if let Some(empty) = report.empty_peak_bytes {
            let _ = write!(out, "; {:.1} MiB without any", empty as f64 / MIB);
        }
        out.push('\n');
        if let Some(wrong) = &run.wrong {
            match &wrong[..] {
                [] => out.push_str("results equal the reference\n"),
                list => {
                    let _ = writeln!(out, "results differ from the reference: {}", list.join(", "));
                }
            }
        }
    }
    out
}

fn line(out: &mut String, name: &str, runs: &[Run]) {
    let middle = |of: &dyn Fn(&Run) -> Option<f64>| median(runs.iter().filter_map(of).collect());
    let cell = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_string(), |v| format!("{v:.digits$}"))
    };
    let _ = writeln!(
        out,
        "{name:>6}  {:>8}  {:>9}  {:>8}  {:>8}  {:>10}  {:>9}  {:>5}",
        cell(middle(&|r| Some(r.cost.seconds)), 2),
        cell(middle(&|r| Some(r.records_per_second)), 0),
        cell(middle(&|r| r.cost.cpu_seconds), 2),
        cell(middle(&|r| r.cost.peak_bytes.map(|b| b as f64 / MIB)), 1),
        cell(middle(&|r| r.bytes_per_post), 0),
        cell(middle(&|r| Some(r.state_bytes as f64 / MIB)), 1),
        cell(middle(&|r| Some(r.cuts as f64)), 0),
    );
}
