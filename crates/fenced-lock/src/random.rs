//! Names that nobody else has.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `N` random characters of 6 bits each from the operating system.
pub(crate) fn characters<const N: usize>() -> String {
    let mut random = [0; N];
    // Without randomness two holders could be one, and getrandom on a running system does not fail.
    getrandom::fill(&mut random).expect("the operating system has random numbers");
    random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect()
}

/// A token of 132 random bits, new for each acquisition.
pub(crate) fn token() -> String {
    characters::<22>()
}
