//! Noting in the repository's requirements what it has now, so that nobody takes it for something else who doesn't know it.

use crate::requirements::ReadOnly;

use super::Preparation;
use super::error::{Place, PrepareError, Refusal};

impl Preparation<'_> {
    /// Adds the names for what came first with this push. As stock does, that for standins only where the extension is on.
    pub(super) fn add_requirements(&mut self) -> Result<(), PrepareError> {
        let repository = self.snapshot.repository();
        let requirements = repository.requirements();
        let mut new = Vec::new();
        if self.has_standins && !requirements.largefiles() && self.snapshot.settings().largefiles() {
            new.push("largefiles");
        }
        if self.has_pointers && !requirements.lfs() {
            new.push("lfs");
        }
        if new.is_empty() {
            return Ok(());
        }
        match repository.requirements_with(&new)? {
            Some(changed) => {
                self.spool.writer.replace(changed.path, Some(changed.old_bytes), &changed.content)?;
                Ok(())
            }
            // Without the name, clients would get pointers for files.
            None if self.has_pointers => {
                let (what, remedy) = ("the requirements of a share", "Push it to the repository that is shared");
                Err(PrepareError::refused(Refusal::ReadOnly(ReadOnly { what, remedy }), Place::Repository))
            }
            None => Ok(()),
        }
    }
}
