//! What the parts of the dataflow cost, each alone: `cargo bench --package pinflow-dataflows`.

mod assemble;
mod decode;
mod multiset;
mod rows;

fn main() {
    divan::main();
}
