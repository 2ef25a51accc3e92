//! Stock `hg`, run for tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Settings by which stock makes stores of other formats than today's.
#[allow(dead_code)] // not every test program looks at them
pub const FORMATS: &[&[&str]] = &[
    &["format.usestore=no"],
    &["format.usefncache=no"],
    &["format.dotencode=no"],
    &["format.usegeneraldelta=no"],
    &["format.sparse-revlog=no", "format.use-share-safe=no", "format.revlog-compression=zlib"],
    &["format.revlog-compression=none", "format.bookmarks-in-store=yes"],
    &["format.exp-archived-phase=yes", "format.use-persistent-nodemap=yes"],
    &["experimental.treemanifest=yes"],
];

/// Of each command. Builds without Rust parts ask before they use what is slow without them.
const SETTINGS: [&str; 3] =
    ["ui.username=t", "devel.default-date=0 0", "storage.revlog.persistent-nodemap.slow-path=allow"];

pub struct Hg {
    program: PathBuf,
}

impl Hg {
    /// `None`: there is no `hg`; it has been said.
    pub fn find() -> Option<Hg> {
        let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/hg");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&path).map(|folder| folder.join("hg")).collect::<Vec<_>>();
        let program = in_path.into_iter().chain([venv]).find(|path| path.is_file());
        if program.is_none() {
            eprintln!("no hg in the PATH and none in .venv/bin (`make client` puts one there): not tested");
        }
        program.map(|program| Hg { program })
    }

    /// A new repository, of this format.
    #[allow(dead_code)] // not every test program makes one
    pub fn init(&self, root: &Path, format: &[&str]) {
        std::fs::create_dir(root).expect("a folder");
        let settings = format.iter().flat_map(|setting| ["--config", *setting]);
        self.run(root, &settings.chain(["init"]).collect::<Vec<_>>());
    }

    /// An `hg` without an argument, with nobody's configuration.
    pub fn plain(&self, repository: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(repository).env("HGRCPATH", "/dev/null").env("HGPLAIN", "1").env("HGENCODING", "UTF-8");
        command
    }

    /// A stock server over pipes.
    #[allow(dead_code)] // not every test program asks one
    pub fn serve(&self, repository: &Path) -> Child {
        // It takes exactly these arguments.
        let mut command = self.plain(repository);
        command.arg("-R").arg(repository).args(["serve", "--stdio"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("hg runs")
    }

    /// What a command says, whatever becomes of it.
    pub fn output(&self, repository: &Path, arguments: &[&str]) -> Output {
        let settings = SETTINGS.iter().copied().chain(["experimental.evolution=all"]);
        let settings: Vec<&str> = settings.flat_map(|setting| ["--config", setting]).collect();
        hg_command_server::run(&self.program, repository, &[&settings, arguments].concat()).expect("hg runs")
    }

    /// What a stock server says to a session's input.
    #[allow(dead_code)] // not every test program asks one
    pub fn answers(&self, repository: &Path, input: &[u8]) -> Vec<u8> {
        let mut process = self.serve(repository);
        process.stdin.take().expect("a pipe").write_all(input).expect("it listens");
        process.wait_with_output().expect("it ends").stdout
    }

    pub fn run(&self, repository: &Path, arguments: &[&str]) -> String {
        let output = self.output(repository, arguments);
        assert!(output.status.success(), "hg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}
