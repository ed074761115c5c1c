//! What is refused, in which words; and that all we ship loads.

use super::*;

#[test]
fn all_shipped_files_load() {
    for (name, _) in BUILTIN {
        let path = PathBuf::from(format!("builtin:{name}"));
        let got = load(&[path], &[], &Env::new());
        if let Err(problems) = got {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{name}:\n{}", all.join("\n"));
        }
    }
}
