use proptest::prelude::*;

use super::*;

fn part(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, 0x84];
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

fn message(operation: &[u8]) -> Vec<u8> {
    part(SEQUENCE, &[&part(INTEGER, &[1])[..], operation].concat())
}

fn result(tag: u8) -> Vec<u8> {
    part(tag, &[part(ENUMERATED, &[0]), part(OCTET_STRING, b""), part(OCTET_STRING, b"")].concat())
}

fn read(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read_message(&mut &bytes[..]))
}

#[test]
fn whole_messages_pass_byte_for_byte() {
    let entry = part(0x64, &[part(OCTET_STRING, b"dc=x"), part(SEQUENCE, b"")].concat());
    let control = part(SEQUENCE, &[part(OCTET_STRING, b"1.2"), part(BOOLEAN, &[0]), part(OCTET_STRING, b"")].concat());
    for good in [message(&result(0x61)), message(&entry), message(&[result(0x65), part(CONTROLS, &control)].concat())] {
        assert_eq!(read(&good).unwrap().as_deref(), Some(&good[..]));
    }
    assert_eq!(read(b"").unwrap(), None);
}

#[test]
fn what_the_library_could_not_bear_never_reaches_it() {
    let deep = (0..2000).fold(Vec::new(), |inner, _| part(SEQUENCE, &inner));
    let huge = [SEQUENCE, 0x84, 0x7f, 0xff, 0xff, 0xff];
    let notice = part(SEQUENCE, &[part(INTEGER, &[0]), result(0x78)].concat());
    for bad in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        huge.to_vec(),
        vec![SEQUENCE, 0x80, 0, 0],
        vec![SEQUENCE, 0x85, 0, 0, 0, 0, 0],
        part(SEQUENCE, b""),
        part(SEQUENCE, &part(INTEGER, &[1])),
        message(&part(0x64, &deep)),
        message(&part(0x61, b"")),
        message(&part(0x61, &part(ENUMERATED, &[0; 9]))),
        message(&part(0x7e, b"")),
        message(&[result(0x65), part(CONTROLS, &part(SEQUENCE, b""))].concat()),
        message(&[result(0x65), part(OCTET_STRING, b"x")].concat()),
        notice,
    ] {
        assert!(read(&bad).is_err(), "{:?}", &bad[..bad.len().min(40)]);
    }
    let good = message(&result(0x61));
    for cut in 1..good.len() {
        assert!(read(&good[..cut]).is_err(), "{cut}");
    }
}

proptest! {
    #[test]
    fn what_passes_is_what_the_library_parses(
        change in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        dn in proptest::collection::vec(any::<u8>(), 0..40),
        code in any::<u8>(),
    ) {
        let entry = part(0x64, &[part(OCTET_STRING, &dn), part(SEQUENCE, &part(SEQUENCE, &dn))].concat());
        let referral = part(0xa3, &part(OCTET_STRING, b"ldap://x"));
        let texts = [part(ENUMERATED, &[code]), part(OCTET_STRING, b""), part(OCTET_STRING, b""), referral].concat();
        for mut bytes in [message(&entry), message(&part(0x65, &texts))] {
            for (place, byte) in &change {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            if let Ok(Some(passed)) = read(&bytes) {
                let parsed = ldap3::asn1::parse_tag(&passed);
                prop_assert!(parsed.is_ok_and(|(rest, _)| rest.is_empty()));
            }
        }
    }
}
