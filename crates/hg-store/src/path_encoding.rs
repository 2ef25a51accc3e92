//! How a tracked file's name becomes the name of a file on disk: `fncache` with `dotencode`.

/// The name on disk, below `.hg/store`, of a store path such as `data/x.i`.
pub fn encode(path: &[u8]) -> Vec<u8> {
    let _ = path;
    todo!()
}

/// Adds `.hg` to each directory that ends in `.i`, `.d` or `.hg`: the form of the lines of `fncache`.
pub fn encode_directories(path: &[u8]) -> Vec<u8> {
    let _ = path;
    todo!()
}

/// Undoes [`encode_directories`].
pub fn decode_directories(path: &[u8]) -> Vec<u8> {
    let _ = path;
    todo!()
}
