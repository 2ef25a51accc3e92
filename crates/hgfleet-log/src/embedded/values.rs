//! Our numbers as SQLite's: signed, 64 bits.

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

use crate::ids::{Epoch, Sequence};

/// A count: 0 to 2^63 − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(pub u64);

impl Count {
    /// The count nearest to this one that SQLite can hold, for figures that only people read.
    pub(super) fn clamped(number: u64) -> Count {
        Count(number.min(i64::MAX as u64))
    }
}

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let number = i64::try_from(self.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        Ok(number.into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Count> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Count).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

macro_rules! positive {
    ($($type:ident)*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                // Neither is ever above 2^63 − 1.
                Ok((self.get() as i64).into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<$type> {
                let number = value.as_i64()?;
                u64::try_from(number).ok().and_then($type::new).ok_or(FromSqlError::OutOfRange(number))
            }
        }
    )*};
}

positive!(Sequence Epoch);
