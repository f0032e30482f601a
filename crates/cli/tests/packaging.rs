//! What is shipped beside the binary.

use std::{collections::HashSet, path::Path, process::Command};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn the_bill_of_materials_lists_what_is_linked_and_nothing_of_the_tests() {
    let told = Command::new("python3").arg(root().join("packaging/sbom")).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let bom: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&bom["bomFormat"], &bom["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bom["components"].as_array().unwrap();
    let names: HashSet<&str> = components.iter().map(|part| part["name"].as_str().unwrap()).collect();
    for linked in ["rustls", "aws-lc-rs", "redb", "server", "prometheus-client"] {
        assert!(names.contains(linked), "{linked}");
    }
    for only_tests in ["proptest", "insta", "tempfile", "opentelemetry-proto"] {
        assert!(!names.contains(only_tests), "{only_tests}");
    }
    for part in components {
        let ours = part["purl"].as_str().unwrap().starts_with("pkg:generic/");
        assert_eq!(part["hashes"][0]["content"].as_str().map(str::len), (!ours).then_some(64), "{part}");
        assert!(part["licenses"][0]["expression"].as_str().is_some(), "{part}");
    }
    let refs: HashSet<&str> = components
        .iter()
        .chain([&bom["metadata"]["component"]])
        .map(|part| part["bom-ref"].as_str().unwrap())
        .collect();
    for needs in bom["dependencies"].as_array().unwrap() {
        let all = needs["dependsOn"].as_array().unwrap().iter().chain([&needs["ref"]]);
        assert!(all.into_iter().all(|one| refs.contains(one.as_str().unwrap())), "{needs}");
    }
}

#[test]
fn the_service_unit_is_valid_and_lets_little_through() {
    let unit = root().join("packaging/systemd/keyferry.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    for line in [
        "LimitCORE=0",
        "LimitMEMLOCK=infinity",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "User=keyferry",
    ] {
        assert!(text.lines().any(|given| given == line), "{line}");
    }
    let Ok(judged) = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(&unit)
        .output()
    else {
        println!("left out: systemd-analyze is not there");
        return;
    };
    // Its scale goes to 100; 20 is what it calls "OK".
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    let faults = String::from_utf8_lossy(&verified.stderr).into_owned();
    let faults: Vec<&str> = faults
        .lines()
        .filter(|line| line.contains("keyferry.service") && !line.contains("is not executable"))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}
