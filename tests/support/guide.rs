//! `docs/several-machines.md`, as somebody reads it who does what it says.

/// What is to be written, and given as commands.
pub struct Guide {
    /// The NATS server's configuration on `m1`
    pub nats: String,
    /// `hgfleet.toml`
    pub config: String,
    /// The commands that make what is missing and the machines' certificates, in order
    pub prepare: Vec<String>,
    /// What runs, with the machine on which it does
    pub services: Vec<(String, String)>,
}

impl Guide {
    /// Reads it.
    pub fn read() -> Guide {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/several-machines.md");
        let text = std::fs::read_to_string(path).expect("the guide is there");
        let blocks: Vec<(&str, &str)> = text
            .split("```")
            .skip(1)
            .step_by(2)
            .map(|block| block.split_once('\n').expect("a block has lines"))
            .collect();
        let block = |language: &str, begins: &str| {
            let found = blocks.iter().find(|(of, block)| *of == language && block.starts_with(begins));
            found.unwrap_or_else(|| panic!("the guide has no block of {language:?} that begins with {begins:?}")).1
        };
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with("cd ");
        let init = text.split('`').find(|words| words.starts_with("hgfleet init ")).expect("the guide says init");
        let keys = block("sh", "cd /srv/hgfleet").lines().filter(is_said);
        let mut machine = String::new();
        let mut services = Vec::new();
        for line in block("sh", "# on m1").lines() {
            match line.strip_prefix("# on ") {
                Some(name) => name.clone_into(&mut machine),
                None => services.push((machine.clone(), line.to_owned())),
            }
        }
        let nats = text.split('`').find(|words| words.starts_with("nats-server -c ")).expect("the guide starts NATS");
        for name in ["m1", "m2", "m3"] {
            services.push((name.to_owned(), nats.to_owned()));
        }
        Guide {
            nats: block("", "server_name: m1").to_owned(),
            config: block("toml", "[log]").to_owned(),
            prepare: [init].into_iter().chain(keys).map(str::to_owned).collect(),
            services,
        }
    }
}
