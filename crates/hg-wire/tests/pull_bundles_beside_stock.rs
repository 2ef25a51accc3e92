//! Pull bundles over SSH, beside stock: the same file for the same request, or none.

use hg_wire::ssh;
use hg_wire::standalone::StandaloneHost;
use std::fs;
use std::path::Path;
use support::Hg;

#[allow(dead_code, reason = "other tests use all of it")]
mod support;

fn ours(root: &Path, input: &[u8]) -> Vec<u8> {
    let mut host = StandaloneHost::open(root, |_| ()).expect("opened");
    let (mut output, mut messages) = (Vec::new(), Vec::new());
    ssh::serve(input, &mut output, &mut messages, &mut host).expect("served");
    output
}

fn request(caps: &str, heads: &[&str], common: &[&str]) -> Vec<u8> {
    let argument = |name: &str, value: &str| format!("{name} {}\n{value}", value.len());
    let bundlecaps = argument("bundlecaps", "HG20,bundle2=HG20%0Achangegroup%3D01%2C02");
    let (heads, common) = (argument("heads", &heads.join(" ")), argument("common", &common.join(" ")));
    format!("protocaps\n{}getbundle\n* 3\n{bundlecaps}{heads}{common}", argument("caps", caps)).into_bytes()
}

#[test]
fn who_pulls_gets_the_bundle_that_stock_would_send() {
    let Some(hg) = Hg::find() else { return };
    let scratch = tempfile::tempdir().expect("a folder");
    let root = scratch.path().join("r");
    hg.run(scratch.path(), &["init", "r"]);
    for number in 0..4 {
        fs::write(root.join("file"), format!("{number}\n")).expect("written");
        hg.run(&root, &["commit", "-A", "-m", "one"]);
    }
    let nodes: Vec<String> =
        (0..4).map(|number| hg.run(&root, &["log", "-r", &number.to_string(), "-T", "{node}"])).collect();
    let hg_folder = root.join(".hg");
    hg.run(&root, &["bundle", "--base", "null", "-r", "0", "-t", "gzip-v2", ".hg/0.hg"]);
    hg.run(&root, &["bundle", "--base", "0", "-r", "2", "-t", "none-v2", ".hg/1-2.hg"]);
    fs::write(hg_folder.join("no-bundle"), "[paths]\n").expect("written");
    let manifest = format!(
        "absent.hg BUNDLESPEC=none-v2 heads={0}\n\
         no-xz.hg BUNDLESPEC=xz-v2\n\
         1-2.hg BUNDLESPEC=none-v2 heads={1} bases={0}\n\
         0.hg BUNDLESPEC=gzip-v2 heads={0}\n",
        nodes[0], nodes[2]
    );
    fs::write(hg_folder.join("pullbundles.manifest"), manifest).expect("written");
    fs::write(hg_folder.join("hgrc"), "[server]\npullbundle = yes\n").expect("written");
    let null = "0".repeat(40);
    let partial = "comp=zstd,zlib,none partial-pull";
    let [zero, one, two, three] = [0, 1, 2, 3].map(|number| nodes[number].as_str());
    let (first, second) =
        (fs::read(hg_folder.join("0.hg")).expect("read"), fs::read(hg_folder.join("1-2.hg")).expect("read"));
    for (caps, heads, common, expected) in [
        // A clone in three steps: the first bundle, the second, and the rest as it is made.
        (partial, vec![three], null.as_str(), Some(&first)),
        (partial, vec![three], zero, Some(&second)),
        (partial, vec![three], two, None),
        (partial, vec![zero], null.as_str(), Some(&first)),
        // More than is wanted is in the second one.
        (partial, vec![one], zero, None),
        (partial, vec![two], zero, Some(&second)),
        // Who does not say so gets all at once, and who can't unpack it gets another.
        ("comp=zstd,zlib,none", vec![three], null.as_str(), None),
        ("comp=none partial-pull", vec![three], null.as_str(), None),
    ] {
        let input = request(caps, &heads, &[common]);
        let (stock, ours) = (hg.answers(&root, &input), ours(&root, &input));
        let whole = expected.map(|bundle| [b"2\nOK", bundle.as_slice()].concat());
        let what = format!("{caps} {heads:?} {common}");
        assert_eq!(stock == whole.clone().unwrap_or_default(), expected.is_some(), "stock: {what}");
        assert_eq!(ours == whole.unwrap_or_default(), expected.is_some(), "{what}");
        assert!(ours.starts_with(b"2\nOKHG20"), "{what}");
    }
    // Nothing that is no bundle goes out, whatever the manifest says; and nothing without the setting.
    fs::write(hg_folder.join("pullbundles.manifest"), "no-bundle\n../r/.hg/0.hg\n").expect("written");
    assert!(ours(&root, &request(partial, &[three], &[&null])).starts_with(b"2\nOKHG20\0\0\0\0"));
    fs::write(hg_folder.join("pullbundles.manifest"), "0.hg\n").expect("written");
    fs::write(hg_folder.join("hgrc"), "").expect("written");
    assert!(ours(&root, &request(partial, &[three], &[&null])).starts_with(b"2\nOKHG20\0\0\0\0"));
}
