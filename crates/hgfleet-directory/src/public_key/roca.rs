//! RSA keys made by a faulty library of security chips (CVE-2017-15361, "ROCA").
//!
//! Its primes are `k * M + (65537^a mod M)`, where `M` is the product of the first primes (39 of them at the least). So modulo each of
//! these primes the modulus, too, is a power of 65537, which for a modulus made at random holds with a chance below 2^-27. (Nemec, Sys, Svenda,
//! Klinec, Matyas: The Return of Coppersmith's Attack, CCS 2017, 3.2.)

/// The odd ones of the first 39 primes.
const PRIMES: [u16; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];
const GENERATOR: u32 = 65537;

/// Whether a modulus (big-endian) has the mark.
pub(super) fn is_marked(modulus: &[u8]) -> bool {
    PRIMES.iter().map(|prime| u32::from(*prime)).all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        is_power(rest, prime)
    })
}

/// Whether a number is a power of the generator, modulo a prime.
fn is_power(number: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == number {
            return true;
        }
        power = power * (GENERATOR % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}
