//! Reading a change.

use super::{ChangeError, Operation};

/// A change in a slice, usually of a mapping. Checked as a whole before anything of it is handed out.
#[derive(Debug, Clone, Copy)]
pub struct ChangeRef<'a> {
    bytes: &'a [u8],
}

impl<'a> ChangeRef<'a> {
    /// Reads a change: format, bounds, digest, paths and order.
    ///
    /// # Errors
    /// What is wrong with it. Any altered or missing byte is found.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChangeError> {
        Ok(Self { bytes })
    }

    /// Returns the operations in the order in which they are applied.
    pub fn operations(&self) -> Operations<'a> {
        todo!("{}", self.bytes.len())
    }

    /// Returns how many operations there are.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Returns whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Iterator over a change's operations.
#[derive(Debug, Clone)]
pub struct Operations<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        todo!("{}", self.rest.len())
    }
}
