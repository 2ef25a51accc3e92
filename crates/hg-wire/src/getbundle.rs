//! `getbundle`: changesets and whatever else a pull takes, as one bundle.
