use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";
const SK: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHAAAABHNzaDo=";

fn parse(options: &str) -> Result<AuthorizedKey, PublicKeyError> {
    AuthorizedKey::parse_line(format!("{options} {KEY} a comment, with \"signs\"").as_bytes())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn options_that_are_honoured_are_written_anew() {
    for (given, written) in [
        ("", "restrict"),
        ("restrict", "restrict"),
        ("no-pty,no-X11-forwarding,no-agent-forwarding,no-port-forwarding,no-user-rc", "restrict"),
        ("from=\"192.0.2.0/24,!192.0.2.7\"", "restrict,from=\"192.0.2.0/24,!192.0.2.7/32\""),
        ("FROM=\"10.*\",restrict", "restrict,from=\"10.*\""),
        ("expiry-time=\"20260102\"", "restrict,expiry-time=\"20260102000000Z\""),
        ("expiry-time=\"202601021530Z\",from=\"::1\"", "restrict,from=\"::1/128\",expiry-time=\"20260102153000Z\""),
        ("expiry-time=\"20260102153001\"", "restrict,expiry-time=\"20260102153001Z\""),
    ] {
        let key = parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(key.to_string(), format!("{written} {KEY}"), "{given}");
        assert_eq!(AuthorizedKey::parse_line(key.to_string().as_bytes()).unwrap(), key, "{given}");
    }
    let touched = AuthorizedKey::parse_line(format!("verify-required {SK}").as_bytes()).unwrap();
    assert_eq!(touched.to_string(), format!("restrict,verify-required {SK}"));
}

/// Row L3: no option is passed over.
#[test]
fn any_other_option_makes_the_value_refused() {
    for (options, said) in [
        ("command=\"sh\"", "command"),
        ("command=\"sh -c \\\"id\\\"\"", "command"),
        ("cert-authority", "cert-authority"),
        ("cert-authority,principals=\"a@x\"", "cert-authority"),
        ("environment=\"A=b\"", "environment"),
        ("permitopen=\"host:1\"", "permitopen"),
        ("permitlisten=\"1\"", "permitlisten"),
        ("tunnel=\"1\"", "tunnel"),
        ("principals=\"x\"", "principals"),
        ("pty", "pty"),
        ("restrict,pty", "pty"),
        ("agent-forwarding", "agent-forwarding"),
        ("no-touch-required", "no-touch-required"),
        ("verify-required", "security keys"),
        ("from=\"host.example.com\"", "no names"),
        ("from=\"\"", "from"),
        ("from=\"10.0.0.1\",from=\"10.0.0.2\"", "twice"),
        ("from=10.0.0.1", "quotes"),
        ("from", "without a value"),
        ("from=\"10.0.0.1\"x", "no option"),
        ("expiry-time=\"2026\"", "UTC"),
        ("expiry-time=\"20261301\"", "UTC"),
        ("expiry-time=\"+2026010\"", "UTC"),
        ("expiry-time=\"19691231\"", "UTC"),
        ("restrict,", "is not honoured"),
        (",restrict", "is not honoured"),
        ("restrict=\"yes\"", "is not honoured"),
        ("unheard-of", "unheard-of"),
    ] {
        let error = parse(options).expect_err(options).to_string();
        assert!(error.contains(said), "{options}: {error}");
    }
    for line in ["", "# a comment", "from=\"10.0.0.1\"", "from=\"10.0.0.1 ", "\"", "restrict", "restrict ", "\\\""] {
        assert!(AuthorizedKey::parse_line(line.as_bytes()).is_err(), "{line:?}");
    }
    let two = format!("restrict {KEY}\ncommand=\"sh\" {KEY}");
    assert!(AuthorizedKey::parse_line(two.as_bytes()).is_err(), "row L4: two keys in one value");
    assert!(parse(&format!("from=\"{}\"", "10.0.0.1,".repeat(2000))).is_err());
}

#[test]
fn conditions_are_judged_by_address_and_time() {
    let key = parse("from=\"192.0.2.0/24\",expiry-time=\"20260102\"").unwrap();
    let inside = Some("192.0.2.1".parse().unwrap());
    assert_eq!(key.options.check(inside, at(1_767_311_999)), Ok(()));
    assert_eq!(key.options.check(inside, at(1_767_312_000)), Err(KeyConditionError::Expired));
    let outside = Some("192.0.3.1".parse().unwrap());
    assert_eq!(key.options.check(outside, at(0)), Err(KeyConditionError::Address));
    assert_eq!(key.options.check(None, at(0)), Err(KeyConditionError::AddressUnknown));
    assert_eq!(parse("restrict").unwrap().options.check(None, at(0)), Ok(()));
}

proptest::proptest! {
    #[test]
    fn what_is_accepted_is_written_so_that_it_means_the_same(options in "[a-z=\",*!0-9/-]{0,30}") {
        if let Ok(key) = parse(&options) {
            proptest::prop_assert_eq!(AuthorizedKey::parse_line(key.to_string().as_bytes()).unwrap(), key);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = AuthorizedKey::parse_line(&line);
    }
}
