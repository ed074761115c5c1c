//! Curves as SVG, written from their data: readable on white and on black, small enough to keep.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 46.0;

/// The name of a line, and its points.
pub type Line<'a> = (&'a str, Vec<(f64, f64)>);

/// A picture of one or two lines over one axis.
pub struct Curve<'a> {
    /// What it shows, with the unit.
    pub title: &'a str,
    /// What is to the right.
    pub x: &'a str,
    /// Steps to the right are tenfold.
    pub logarithmic: bool,
    /// Names of lines and their points.
    pub lines: &'a [Line<'a>],
}

/// Colours that are seen on white and on black.
const COLOURS: [&str; 3] = ["#3b82f6", "#f97316", "#10b981"];

impl Curve<'_> {
    /// The SVG.
    pub fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let scale = |x: f64| if self.logarithmic { x.max(1.0).log10() } else { x };
        let low = points().map(|p| scale(p.0)).fold(f64::MAX, f64::min);
        let high = points().map(|p| scale(p.0)).fold(f64::MIN, f64::max);
        let top = nice(points().map(|p| p.1).fold(0.0, f64::max));
        let wide = if high > low { high - low } else { 1.0 };
        let px = |x: f64| LEFT + (scale(x) - low) / wide * (WIDTH - LEFT - RIGHT);
        let py = |y: f64| HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
             <style>text {{ fill: #444 }} .grid {{ stroke: #8884 }}\n\
             @media (prefers-color-scheme: dark) {{ text {{ fill: #bbb }} }}</style>\n\
             <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"600\">{}</text>\n",
            self.title
        );
        for n in 0..=4 {
            let value = top * f64::from(n) / 4.0;
            let (y, shown) = (py(value), short(value));
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0
            );
        }
        for x in self.marks(low, high) {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                px(x),
                HEIGHT - BOTTOM + 18.0,
                short(x)
            );
        }
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        let (below, x) = (HEIGHT - 8.0, self.x);
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{x}</text>");
        for (n, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let path: Vec<String> =
                points.iter().map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1))).collect();
            let _ = writeln!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                path.join(" ")
            );
            for p in points.iter().filter(|_| points.len() <= 20) {
                let (x, y) = (px(p.0), py(p.1));
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let at = LEFT + 170.0 * n as f64;
            if self.lines.len() > 1 {
                let _ = writeln!(
                    out,
                    "<rect x=\"{at}\" y=\"26\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
                     <text x=\"{}\" y=\"35\">{name}</text>",
                    at + 15.0
                );
            }
        }
        out + "</svg>\n"
    }

    /// Where the lower axis is marked.
    fn marks(&self, low: f64, high: f64) -> Vec<f64> {
        if self.logarithmic {
            let mut all: Vec<f64> =
                self.lines.iter().flat_map(|l| l.1.iter().map(|p| p.0)).collect();
            all.sort_by(f64::total_cmp);
            all.dedup();
            return all;
        }
        (0..=4).map(|n| low + (high - low) * f64::from(n) / 4.0).collect()
    }
}

/// The least of 1, 2, 4, 5, 8 times a power of ten that is not below a value.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.iter().map(|s| s * power).find(|v| *v >= value).unwrap_or(power * 10.0)
}

/// A number in few characters.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e4 => (v / 1e3, " k"),
        v => (v, ""),
    };
    let digits = if value >= 10.0 || value.fract() == 0.0 { 0 } else { 2 };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}
