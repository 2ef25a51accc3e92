//! `[master] volume`: stores that master and standbys share.

use super::{Config, LogBackend};
use anyhow::bail;
use hgfleet_master::{Fence, VolumeOptions};
use std::path::Path;
use std::time::Duration;

impl Config {
    /// The shared volume, where there is one.
    pub fn volume(&self) -> Option<VolumeOptions> {
        let master = &self.master;
        let wait = Duration::from_secs(master.fence_seconds);
        Some(VolumeOptions {
            path: self.path(master.volume.as_ref()?),
            fence: master.fence_command.clone().map(|command| Fence { command, wait }),
            keep: Duration::from_secs(master.keep_trees_seconds.max(1)),
        })
    }

    /// Refuses what contradicts itself.
    pub(super) fn check_volume(&self) -> anyhow::Result<()> {
        let master = &self.master;
        let Some(volume) = self.volume() else {
            if master.fence_command.is_some() {
                bail!(
                    "[master] has a fence_command and no volume; it is for a shared volume only, so remove it, or name the volume"
                );
            }
            return Ok(());
        };
        if master.fence_command.as_ref().is_some_and(|command| command.first().is_none_or(String::is_empty)) {
            bail!("fence_command in [master] is empty; name a program, or remove the key");
        }
        if master.fence_seconds == 0 {
            bail!("fence_seconds in [master] is 0, so that no fence_command can succeed; give it some seconds");
        }
        let folders = self.standby.iter().map(|standby| (standby.name.as_str(), standby.data_folder()));
        let mirrors = self.mirror.iter().map(|mirror| (mirror.name.as_str(), mirror.data_folder()));
        let folders = folders.chain(mirrors).chain([(master.name.as_str(), master.data.clone())]);
        for (name, data) in folders {
            if overlap(&self.path(&data), &volume.path) {
                bail!(
                    "the folder of {name}, {}, and the volume {} lie in one another; what a server has of its own lies on its own disk",
                    data.display(),
                    volume.path.display()
                );
            }
        }
        if self.log.backend == LogBackend::Embedded && self.path(&self.log.path).starts_with(&volume.path) {
            bail!("the embedded log, {}, lies in the volume; it needs a disk of the machine", self.log.path.display());
        }
        if self.run_folder().starts_with(&volume.path) {
            bail!("this configuration lies in the volume {}, and so would its sockets; move it", volume.path.display());
        }
        Ok(())
    }
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use std::path::Path;

    #[test]
    fn a_volume_is_read_and_what_contradicts_it_is_refused() {
        let config = parse("[master]\nvolume = '/srv/hg'\nfence_command = ['/sbin/fence', '--off']").expect("parses");
        let volume = config.volume().expect("there is one");
        assert_eq!(volume.path, Path::new("/srv/hg"));
        assert_eq!(volume.fence.expect("there is one").command, ["/sbin/fence", "--off"]);
        assert!(parse("").expect("parses").volume().is_none());
        for (text, why) in [
            ("[master]\nfence_command = ['x']", "no volume"),
            ("[master]\nvolume = 'v'\nfence_command = []", "is empty"),
            ("[master]\nvolume = 'v'\nfence_command = ['x']\nfence_seconds = 0", "fence_seconds"),
            ("[master]\nvolume = 'master/v'", "lie in one another"),
            ("[master]\nvolume = 'v'\n[[mirror]]\nname = 'm'\ndata = 'v/m'", "the folder of m"),
            ("[master]\nvolume = 'v'\n[log]\npath = 'v/log'", "the embedded log"),
            ("[master]\nvolume = '/'", "lie in one another"),
        ] {
            let refused = parse(text).expect_err(text);
            assert!(refused.to_string().contains(why), "{text}: {refused}");
        }
    }
}
