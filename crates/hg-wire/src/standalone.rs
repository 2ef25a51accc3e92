//! A host for one repository without a fleet: the log of one.
