use super::*;

fn parsed(method: &str, below: &str, headers: &[(&str, &str)]) -> Option<Result<LfsRequest, u16>> {
    let mut request = http::Request::builder().method(method).uri("/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).expect("a request").into_parts();
    let below: Vec<String> = below.split('/').map(str::to_owned).collect();
    parse_lfs(&head, &below).map(|parsed| parsed.map_err(|refused| refused.status))
}

#[test]
fn requests_are_told_apart() {
    let json = [("content-type", MEDIA_TYPE), ("accept", MEDIA_TYPE)];
    let batch = ".git/info/lfs/objects/batch";
    let asked = |authorization| Some(Ok(LfsRequest::Question(LfsQuestion::Batch { authorization })));
    assert_eq!(parsed("POST", batch, &json), asked(None));
    let signed = [json[0], json[1], ("authorization", "Basic eDp5")];
    assert_eq!(parsed("POST", batch, &signed), asked(Some("Basic eDp5".to_owned())));
    assert_eq!(parsed("GET", batch, &json), Some(Err(405)));
    assert_eq!(parsed("POST", batch, &json[1..]), Some(Err(415)));
    assert_eq!(parsed("POST", batch, &json[..1]), Some(Err(406)));
    let oid = "0123456789abcdef".repeat(4);
    let object = LfsOid::from_hex(oid.as_bytes()).expect("64 digits");
    let content = LfsRequest::Question(LfsQuestion::Object(object));
    assert_eq!(parsed("GET", &format!(".hg/lfs/objects/{oid}"), &[]), Some(Ok(content)));
    assert_eq!(parsed("DELETE", &format!(".hg/lfs/objects/{oid}"), &[]), Some(Err(405)));
    let put = |value| parsed("PUT", &format!(".hg/lfs/objects/{oid}"), &[("content-length", value)]);
    assert_eq!(put("12"), Some(Ok(LfsRequest::Upload { oid: object, bytes: 12 })));
    for (wrong, status) in [("", 400), ("-1", 400), ("1e3", 400), ("99999999999999999999", 400)] {
        assert_eq!(put(wrong), Some(Err(status)), "{wrong}");
    }
    let upload = format!(".hg/lfs/objects/{oid}");
    assert_eq!(parsed("PUT", &upload, &[]), Some(Ok(LfsRequest::Upload { oid: object, bytes: 0 })));
    let chunked = [("transfer-encoding", "chunked")];
    assert_eq!(parsed("PUT", &upload, &chunked), Some(Err(411)));
    for odd in ["passwd", &oid[1..], &oid.to_uppercase(), &format!("{oid}0")] {
        for method in ["GET", "PUT"] {
            assert_eq!(parsed(method, &format!(".hg/lfs/objects/{odd}"), &[]), Some(Err(404)), "{odd}");
        }
    }
    for other in ["", ".hg/store", ".hg/lfs/objects", ".git/info/lfs/objects/batch/x"] {
        assert_eq!(parsed("GET", other, &[]), None, "{other}");
    }
}
