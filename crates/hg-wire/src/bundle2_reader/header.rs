//! A part's header.

use super::BundleError;

/// One parameter of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartParameter {
    /// Its name, as sent.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Whether a receiver that doesn't know it must refuse the part.
    pub mandatory: bool,
}

/// What a part says of itself before its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHeader {
    /// Its type as sent: any upper-case letter in it makes the part mandatory.
    pub kind: Vec<u8>,
    /// Its number in the stream, which replies refer to.
    pub id: u32,
    /// Its parameters, mandatory ones first; each name at most once.
    pub parameters: Vec<PartParameter>,
}

impl PartHeader {
    /// Parses a header (without the four bytes of its length), all of it.
    pub fn parse(bytes: &[u8]) -> Result<PartHeader, BundleError> {
        let mut rest = Rest(bytes);
        let kind_bytes = rest.take(1)?[0];
        let kind = rest.take(kind_bytes as usize)?.to_vec();
        if kind.is_empty() || !kind.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(byte)) {
            return Err(BundleError::Malformed(format!("part type {:?}", String::from_utf8_lossy(&kind))));
        }
        let id = rest.take(4)?;
        let id = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
        let mandatory = rest.take(1)?[0] as usize;
        let advisory = rest.take(1)?[0] as usize;
        let sizes = rest.take(2 * (mandatory + advisory))?;
        let mut parameters: Vec<PartParameter> = Vec::with_capacity(mandatory + advisory);
        for (number, size) in sizes.chunks_exact(2).enumerate() {
            let key = rest.take(size[0] as usize)?.to_vec();
            let value = rest.take(size[1] as usize)?.to_vec();
            if parameters.iter().any(|known| known.key == key) {
                return Err(BundleError::Malformed(format!(
                    "duplicated parameter {:?}",
                    String::from_utf8_lossy(&key)
                )));
            }
            parameters.push(PartParameter { key, value, mandatory: number < mandatory });
        }
        if !rest.0.is_empty() {
            return Err(BundleError::Malformed(format!("{} bytes too many in a part's header", rest.0.len())));
        }
        Ok(PartHeader { kind, id, parameters })
    }

    /// The type in lower case: types are compared without regard to case.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.kind).to_ascii_lowercase()
    }

    /// Whether a receiver that doesn't know this type must refuse the bundle.
    pub fn is_mandatory(&self) -> bool {
        self.kind.iter().any(u8::is_ascii_uppercase)
    }

    /// The value of the parameter `key`, if it was sent.
    pub fn parameter(&self, key: &str) -> Option<&[u8]> {
        self.parameters
            .iter()
            .find(|parameter| parameter.key == key.as_bytes())
            .map(|parameter| parameter.value.as_slice())
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], BundleError> {
        let (taken, rest) = self
            .0
            .split_at_checked(bytes)
            .ok_or_else(|| BundleError::Malformed("a part's header is shorter than what it holds".into()))?;
        self.0 = rest;
        Ok(taken)
    }
}
