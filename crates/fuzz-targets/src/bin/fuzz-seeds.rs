//! `fuzz-seeds`: the names of all targets. `fuzz-seeds TARGET FOLDER`: writes what a target begins with, one file for each.

use std::path::PathBuf;

use fuzz_targets::TARGETS;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, folder) = match &arguments[..] {
        [] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            return Ok(());
        }
        [name, folder] => (name, PathBuf::from(folder)),
        _ => {
            eprintln!("usage: fuzz-seeds [TARGET FOLDER]");
            std::process::exit(2);
        }
    };
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        eprintln!("refused: there is no such target, {name}. Run fuzz-seeds to see those that are");
        std::process::exit(1);
    };
    std::fs::create_dir_all(&folder)?;
    for (number, seed) in (target.seeds)().into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
