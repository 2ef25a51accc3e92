use super::*;

fn string(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u32).to_be_bytes(), value].concat()
}

fn ed25519() -> Vec<u8> {
    [string(b"ssh-ed25519"), string(&[7; 32])].concat()
}

fn rsa(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    [string(b"ssh-rsa"), string(exponent), string(modulus)].concat()
}

fn modulus(bits: usize) -> Vec<u8> {
    let mut number = vec![0xff; bits / 8];
    number.insert(0, 0);
    number
}

#[test]
fn base64_has_one_form() {
    for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\xfd", "//79")]
    {
        assert_eq!(encode_base64(bytes), text);
        assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(bytes));
    }
    for bad in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "====", "Zg==Zg==", "Z g=", "Zm-v"] {
        assert_eq!(decode_base64(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_key_line_is_made_anew_from_the_key() {
    let line = format!("  ssh-ed25519\t{} someone's laptop\n", encode_base64(&ed25519()));
    let key = PublicKey::parse_line(line.as_bytes()).unwrap();
    assert_eq!(key.blob(), ed25519());
    assert_eq!(key.to_string(), format!("ssh-ed25519 {}", encode_base64(&ed25519())));
    let rsa = rsa(&[1, 0, 1], &modulus(2048));
    let key = PublicKey::parse_line(format!("ssh-rsa {}", encode_base64(&rsa)).as_bytes()).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::Rsa { bits: 2048 });
}

#[test]
fn everything_else_is_refused() {
    let good = encode_base64(&ed25519());
    let lines = [
        String::new(),
        "# comment".into(),
        format!("command=\"sh\" ssh-ed25519 {good}"),
        format!("cert-authority ssh-ed25519 {good}"),
        format!("environment=\"A=b\" ssh-ed25519 {good}"),
        format!("restrict ssh-ed25519 {good}"),
        format!("ssh-rsa {good}"),
        format!("ssh-ed25519 {good}\nssh-ed25519 {good}"),
        format!("ssh-ed25519 {good}\0"),
        format!("ssh-ed25519 {}", &good[..good.len() - 4]),
        format!("ssh-ed25519 {}", encode_base64(&[ed25519(), vec![0]].concat())),
        "ssh-ed25519".into(),
        "ssh-ed25519 AAAA*".into(),
        format!("ssh-dss {good}"),
        format!("sk-ssh-ed25519@openssh.com {good}"),
        format!("ecdsa-sha2-nistp256 {good}"),
        format!("ssh-ed25519-cert-v01@openssh.com {good}"),
        format!("ssh-ed25519 {good} {}", "x".repeat(9000)),
    ];
    for line in lines {
        assert!(PublicKey::parse_line(line.as_bytes()).is_err(), "{line:?}");
    }
    assert!(PublicKey::parse_line(b"ssh-ed25519 \xff").is_err());
}

#[test]
fn weak_rsa_keys_are_refused() {
    let refused = |blob: Vec<u8>| PublicKey::parse_blob(&blob).unwrap_err();
    assert_eq!(refused(rsa(&[1, 0, 1], &modulus(1024))), PublicKeyError::RsaBits(1024));
    assert_eq!(refused(rsa(&[1, 0, 1], &modulus(32768))), PublicKeyError::RsaBits(32768));
    assert_eq!(refused(rsa(&[1], &modulus(2048))), PublicKeyError::RsaExponent);
    assert_eq!(refused(rsa(&[4], &modulus(2048))), PublicKeyError::RsaExponent);
    assert_eq!(refused(rsa(&[1; 9], &modulus(2048))), PublicKeyError::RsaExponent);
    assert!(matches!(refused(rsa(&[0, 1, 0, 1], &modulus(2048))), PublicKeyError::Damaged(_)));
    assert!(matches!(refused(rsa(&[1, 0, 1], &[0xff; 256])), PublicKeyError::Damaged(_)));
}

/// Row T6.
#[test]
fn keys_of_every_kind_have_one_form() {
    let point = |length: usize| [vec![4], vec![9; length - 1]].concat();
    let ecdsa = |curve: &str, point: &[u8]| {
        [string(format!("ecdsa-sha2-{curve}").as_bytes()), string(curve.as_bytes()), string(point)].concat()
    };
    let sk = [string(SK_ED25519.as_bytes()), string(&[7; 32])].concat();
    let sk_ecdsa = [string(SK_ECDSA.as_bytes()), string(b"nistp256"), string(&point(65))].concat();
    let with = |blob: &[u8], more: &[u8]| [blob.to_vec(), more.to_vec()].concat();
    for (blob, algorithm) in [
        (ecdsa("nistp256", &point(65)), KeyAlgorithm::Ecdsa(Curve::Nistp256)),
        (ecdsa("nistp384", &point(97)), KeyAlgorithm::Ecdsa(Curve::Nistp384)),
        (ecdsa("nistp521", &point(133)), KeyAlgorithm::Ecdsa(Curve::Nistp521)),
        (with(&sk, &string(b"ssh:")), KeyAlgorithm::SkEd25519),
        (with(&sk_ecdsa, &string(b"ssh:work")), KeyAlgorithm::SkEcdsa),
    ] {
        let key = PublicKey::parse_blob(&blob).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(PublicKey::parse_line(key.to_string().as_bytes()).unwrap(), key);
        assert!(PublicKey::parse_blob(&blob[..blob.len() - 1]).is_err(), "cut");
        assert!(PublicKey::parse_blob(&with(&blob, &[0])).is_err(), "more");
    }
    let compressed = [vec![2], vec![9; 32]].concat();
    let crossed = [string(b"ecdsa-sha2-nistp256"), string(b"nistp384"), string(&point(97))].concat();
    for odd in [
        ecdsa("nistp256", &compressed),
        ecdsa("nistp256", &point(97)),
        ecdsa("nistp256", b""),
        ecdsa("nistp192", &point(49)),
        crossed,
        with(&sk, &string(b"https:")),
        with(&sk, &string(&[b's'; 300])),
    ] {
        assert!(PublicKey::parse_blob(&odd).is_err(), "{odd:?}");
    }
    let dsa = string(b"ssh-dss");
    assert!(PublicKey::parse_blob(&dsa).unwrap_err().to_string().contains("DSA is broken"));
}

/// The modulus is a power of 65537 modulo the first 39 primes, and no product of two primes; the mark is all that is looked at.
#[test]
fn keys_of_the_faulty_chips_are_refused() {
    let tail = [
        0x06, 0x69, 0x7e, 0xbe, 0xd2, 0xc9, 0xcb, 0x1b, 0x81, 0x05, 0x85, 0x59, 0x3f, 0x81, 0xda, 0x32, 0x0d, 0xfa,
        0xb1, 0x0b, 0xdf, 0x2f, 0x0f, 0x20, 0x9e, 0x83, 0x2f, 0xcf,
    ];
    let mut marked = [vec![0, 0x80], vec![0; 255 - tail.len()], tail.to_vec()].concat();
    assert_eq!(PublicKey::parse_blob(&rsa(&[1, 0, 1], &marked)), Err(PublicKeyError::Roca));
    marked[256] -= 2;
    assert!(PublicKey::parse_blob(&rsa(&[1, 0, 1], &marked)).is_ok());
}
