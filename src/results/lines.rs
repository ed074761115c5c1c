//! Lines of separated cells.
//!
//! Promises: rows that are held packed are printed as they lie; what the rows of a window have in
//! common is made once, and a text that many rows have is seldom looked at twice. Rows are read
//! some at a time, then where their texts are, then these: none of them waits for another's memory.

use dataflows::metrics::value::NULL;
use dataflows::symbol::Sym;
use smallvec::SmallVec;

use super::Format;
use super::cell::{self, Shown};
use super::printer::{From, Printed, Printer};

/// So many rows are brought near before they are printed.
const AHEAD: usize = 32;

/// So many texts are remembered: metrics have few countries and categories.
const KNOWN: usize = 1024;

/// A text, and whether it is printed as it is.
#[derive(Clone, Copy)]
struct Text {
    text: &'static str,
    plain: bool,
}

/// The texts of some rows' keys, row by row.
type Texts = SmallVec<[Text; 2 * AHEAD]>;

/// What a column's cell is printed from.
#[derive(Clone, Copy)]
enum Piece {
    /// The n-th of the texts of a window.
    Edge(usize),
    /// The n-th of a row's keys that are texts.
    Text(usize),
    /// A value that is a plain integer, mostly.
    Int(usize),
    Other(From),
}

/// Makes lines of rows.
pub(super) struct Lines<'p, 'a> {
    printer: &'p Printer<'a>,
    format: Format,
    pieces: Vec<Piece>,
    /// How many of the first pieces are edges.
    leading: usize,
    /// Which keys are texts.
    texts: Vec<usize>,
    /// The window at hand, if there is one: the rows of one follow each other.
    window: Option<(u16, i64)>,
    /// Its name and edges, and the leading ones of these with what follows them.
    edges: [Vec<u8>; 3],
    lead: Vec<u8>,
    /// Texts by their cells, each in the one place that it may have.
    known: Vec<(i64, Text)>,
}

impl<'p, 'a> Lines<'p, 'a> {
    /// No window is at hand.
    pub(super) fn new(printer: &'p Printer<'a>, format: Format) -> Self {
        let texts = printer.texts();
        let piece = |from| match from {
            From::Window => Piece::Edge(0),
            From::Start => Piece::Edge(1),
            From::End => Piece::Edge(2),
            From::Key(key) => match texts.iter().position(|text| *text == key) {
                Some(n) => Piece::Text(n),
                None => Piece::Other(from),
            },
            From::Value(n) if printer.is_plain(n) => Piece::Int(n),
            From::Value(_) => Piece::Other(from),
        };
        let pieces: Vec<Piece> = printer.columns.iter().map(|column| piece(column.from)).collect();
        let leading = pieces.iter().take_while(|piece| matches!(piece, Piece::Edge(_))).count();
        let (edges, none) = (<[Vec<u8>; 3]>::default(), Text { text: "", plain: true });
        let known = vec![(NULL, none); KNOWN];
        Lines { printer, format, pieces, leading, texts, window: None, edges, lead: vec![], known }
    }

    /// Appends lines, in the order the rows are given.
    pub(super) fn append<L: Printed>(
        mut self,
        mut rows: impl Iterator<Item = L>,
        out: &mut Vec<u8>,
    ) {
        loop {
            let some: SmallVec<[L; AHEAD]> = rows.by_ref().take(AHEAD).collect();
            if some.is_empty() {
                return;
            }
            let texts = self.texts_of(&some);
            let mut texts = texts.chunks(self.texts.len().max(1));
            for row in &some {
                self.line(row, texts.next().unwrap_or_default(), out);
            }
        }
    }

    /// The texts of rows' keys, none for null.
    fn texts_of(&mut self, rows: &[impl Printed]) -> Texts {
        rows.iter().for_each(Printed::near);
        let mut texts = Texts::new();
        let mut new: SmallVec<[(usize, i64); 2 * AHEAD]> = SmallVec::new();
        for cell in rows.iter().flat_map(|row| self.texts.iter().map(|n| row.key(*n))) {
            let (known, text) = self.known[cell as usize % KNOWN];
            if known == cell {
                texts.push(text);
            } else if cell == NULL {
                texts.push(Text { text: "", plain: true });
            } else {
                new.push((texts.len(), cell));
                texts.push(Text { text: Sym::from_cell(cell).as_str(), plain: false });
            }
        }
        for (at, _) in &new {
            std::hint::black_box(texts[*at].text.as_bytes().first().copied());
        }
        for (at, cell) in new {
            let text = &mut texts[at];
            text.plain = cell::is_plain(text.text, self.format);
            self.known[cell as usize % KNOWN] = (cell, *text);
        }
        texts
    }

    /// Appends the line of a row; `texts` are those of its keys.
    fn line(&mut self, row: &impl Printed, texts: &[Text], out: &mut Vec<u8>) {
        if self.window != Some(row.window()) {
            self.make_edges(row);
        }
        let from = out.len();
        out.extend_from_slice(&self.lead);
        for (n, piece) in self.pieces.iter().enumerate().skip(self.leading) {
            if n > self.leading {
                out.push(cell::separator(self.format));
            }
            match *piece {
                Piece::Edge(edge) => out.extend_from_slice(&self.edges[edge]),
                Piece::Text(text) if texts[text].plain => {
                    out.extend_from_slice(texts[text].text.as_bytes());
                }
                Piece::Text(text) => cell::put_text(texts[text].text, self.format, out),
                Piece::Int(n) if let Some(value) = row.int(n) => {
                    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
                }
                Piece::Int(n) => self.put(&self.printer.cell(row, From::Value(n)), out),
                Piece::Other(from) => self.put(&self.printer.cell(row, from), out),
            }
        }
        if out.len() == from && self.format == Format::Csv {
            // An empty line is no record to many readers.
            out.extend_from_slice(b"\"\"");
        }
        out.push(b'\n');
    }

    /// Makes the texts of a row's window.
    fn make_edges(&mut self, row: &impl Printed) {
        self.window = Some(row.window());
        let edges = [From::Window, From::Start, From::End].map(|from| {
            let mut text = Vec::new();
            self.put(&self.printer.cell(row, from), &mut text);
            text
        });
        (self.edges, self.lead) = (edges, Vec::new());
        for (n, piece) in self.pieces.iter().enumerate().take(self.leading) {
            if let Piece::Edge(edge) = *piece {
                self.lead.extend_from_slice(&self.edges[edge]);
            }
            // One behind the last, unless the line ends there.
            if n + 1 < self.pieces.len() {
                self.lead.push(cell::separator(self.format));
            }
        }
    }

    /// Appends one cell, quoted or escaped where the format asks for it.
    fn put(&self, cell: &Shown<'_>, out: &mut Vec<u8>) {
        match cell {
            Shown::Null => {}
            Shown::Number(number) => out.extend_from_slice(number.as_bytes()),
            Shown::Text(text) => cell::put_text(text, self.format, out),
        }
    }
}
